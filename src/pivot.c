/* SPDX-License-Identifier: MIT */
/* From the first mount on "/" to pivot_root(2): the new root, and the end of the old one. */
#include "step.h"

#include <errno.h>
#include <sys/mount.h>

#include "sys.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State

static int open_directory(struct carton_context *ctx, int at, const char *path)
{
	long fd = sys_openat(at, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);

	return fd < 0 ? carton_fail(ctx, CARTON_CALL_OPEN, fd) : (int)fd;
}

static int change_root(struct carton_context *ctx, int fd)
{
	long r = sys_fchdir(fd);

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_CHDIR, r);
	r = sys_call(SYS_chroot, ".");
	return r < 0 ? carton_fail(ctx, CARTON_CALL_CHROOT, r) : 0;
}

/* Exchange the root for the mount that `fd` refers to; `put_old` is relative to it. */
static int pivot(struct carton_context *ctx, int fd, const char *put_old)
{
	long r = sys_fchdir(fd);

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_CHDIR, r);
	r = sys_call(SYS_pivot_root, ".", put_old);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_PIVOT_ROOT, r) : 0;
}

/* Make `stage` the root of the mount namespace, with the caller's root on "old", and stay in that.
 */
static int enter_stage(struct carton_context *ctx, int stage)
{
	int host = open_directory(ctx, AT_FDCWD, "/"), r = 0;
	long call;

	if (host < 0)
		return host;
	call = sys_mkdirat(stage, "old", 0700);
	if (call == 0)
		call = sys_mkdirat(stage, "new", 0700);
	if (call < 0)
		r = carton_fail(ctx, CARTON_CALL_MKDIR, call);
	if (r == 0) {
		call = sys_move_mount(stage, host);
		if (call < 0)
			r = carton_fail(ctx, CARTON_CALL_MOVE_MOUNT, call);
	}
	if (r == 0)
		r = pivot(ctx, stage, "old");
	if (r == 0)
		r = change_root(ctx, host);
	sys_close(host);
	return r;
}

/* While the container's root covers the caller's, ".." of the caller's /tmp leads into it, and a
 * recursive bind of "/" holds it. Where host paths are still to be looked up, both lie side by side
 * instead, below a root of their own, and the process is chroot(2)ed to the caller's until
 * pivot_root. An O_PATH descriptor of the place for the container's root, or -errno. */
int carton_stage(struct carton_context *ctx)
{
	struct step_filesystem ramfs = {.type = "ramfs"};
	int here = open_directory(ctx, AT_FDCWD, "."), r;
	long call;

	if (here < 0)
		return here;
	ctx->stage = carton_filesystem_create(ctx, &ramfs);
	r = ctx->stage < 0 ? ctx->stage : enter_stage(ctx, ctx->stage);
	if (r == 0) { /* relative paths mean what they meant */
		call = sys_fchdir(here);
		if (call < 0)
			r = carton_fail(ctx, CARTON_CALL_CHDIR, call);
	}
	sys_close(here);
	return r < 0 ? r : open_directory(ctx, ctx->stage, "new");
}

/* Leave the stage for the new root. The old one is on "old" of what lies on the new root then. */
static int leave_stage(struct carton_context *ctx, int fd, const char *put_old)
{
	int host = open_directory(ctx, AT_FDCWD, "/"), to = -1, r = host < 0 ? host : 0;
	long call;

	if (r == 0 && put_old)
		r = to = open_directory(ctx, fd, put_old);
	if (r >= 0)
		r = change_root(ctx, ctx->stage);
	if (r == 0)
		r = pivot(ctx, fd, ".");
	if (r == 0 && put_old) {
		call = sys_move_mount(host, to);
		if (call < 0)
			r = carton_fail(ctx, CARTON_CALL_MOVE_MOUNT, call);
	}
	if (host >= 0)
		sys_close(host);
	if (to >= 0)
		sys_close(to);
	sys_close(ctx->stage);
	ctx->stage = -1;
	return r;
}

/* Take off all that lies on the root: the old one, and whatever was mounted on that. "/" is the
 * root itself, "/.." the uppermost mount on it. One too many would take off the root. */
static int uncover_root(struct carton_context *ctx)
{
	uint64_t root, above;
	long r = sys_mount_id(AT_FDCWD, "/", AT_NO_AUTOMOUNT, &root);

	for (;;) {
		if (r == 0)
			r = sys_mount_id(AT_FDCWD, "/..", AT_NO_AUTOMOUNT, &above);
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_FSTAT, r);
		if (root == above)
			return 0;
		r = sys_call(SYS_umount2, "/..", MNT_DETACH);
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_UMOUNT, r);
	}
}

static int exchange_root(struct carton_context *ctx, const struct step_pivot_root *f)
{
	int fd = ctx->root, r;
	bool staged = ctx->stage >= 0;

	if (f->new_root)
		fd = open_directory(ctx, AT_FDCWD, f->new_root);
	else if (fd < 0)
		return carton_fail(ctx, CARTON_CALL_OPEN, -EINVAL);
	if (fd < 0)
		return fd;
	/* "." on ".": the old root comes to lie on the new one, and is taken off: pivot_root(2) */
	r = staged ? leave_stage(ctx, fd, f->put_old)
	           : pivot(ctx, fd, f->put_old ? f->put_old : ".");
	if (f->new_root)
		sys_close(fd);
	return r;
}

int carton_mount_pivot_root(struct carton_context *ctx, const void *fields)
{
	const struct step_pivot_root *f = fields;
	bool staged = ctx->stage >= 0;
	int fd, r = ctx->wants_null ? carton_open_null(ctx) : 0;

	if (ctx->wants_null) /* there is a look at what is mounted, too: carton_mount_protect */
		carton_proc(ctx);
	if (r == 0)
		r = exchange_root(ctx, f);
	if (r == 0 && (staged || !f->put_old))
		r = uncover_root(ctx);
	if (r < 0)
		return r;
	if (ctx->fresh) { /* from here on, "/" is the new root, with a procfs of its own or none */
		if (ctx->old_proc >= 0)
			sys_close(ctx->old_proc);
		ctx->old_proc = ctx->proc;
		ctx->proc = -1;
		fd = f->new_root ? open_directory(ctx, AT_FDCWD, "/") : ctx->root;
		if (fd < 0)
			return fd;
		if (fd != ctx->root)
			carton_root_set(ctx, fd);
	}
	return 0;
}
