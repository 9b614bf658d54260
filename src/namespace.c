/* SPDX-License-Identifier: MIT */
/* Making, entering and setting up namespaces: the perform side of `namespace.*`. */
#include "sys.h"

#include "step.h"

#include <linux/errno.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>

#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State errno

#ifndef NS_GET_NSTYPE
#define NS_GET_NSTYPE _IO(0xb7, 0x3)
#endif

/* A map is one write(2) of less than a page: user_namespaces(7). */
#define IDMAP_SIZE 4096
#define IDMAP_LINE 34 /* three numbers, two spaces, newline */
#define IDMAP_MAX  340

static bool is_process_root(int root)
{
	struct stat ours, given;
	long fd = sys_openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	bool same;

	if (fd < 0)
		return false;
	same = sys_fstat((int)fd, &ours) == 0 && sys_fstat(root, &given) == 0 &&
	       ours.st_dev == given.st_dev && ours.st_ino == given.st_ino;
	sys_close((int)fd);
	return same;
}

/* A descriptor keeps pointing into the mount namespace that was left, where nothing can be mounted
 * any more; the process's own root was moved along by the kernel. */
static int renew_root(struct carton_context *ctx)
{
	long fd = sys_openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);

	if (fd < 0)
		return carton_fail(ctx, CARTON_CALL_OPEN, fd);
	carton_root_set(ctx, (int)fd);
	return 0;
}

int carton_namespace_unshare(struct carton_context *ctx, const void *fields)
{
	const struct step_unshare *f = fields;
	bool renew = ctx->fresh && f->kinds & CLONE_NEWNS && ctx->root >= 0 &&
	             is_process_root(ctx->root);
	long r = sys_call(SYS_unshare, f->kinds);

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_UNSHARE, r);
	if (ctx->fresh && f->kinds & CLONE_NEWNS)
		ctx->own_mounts = true;
	return renew ? renew_root(ctx) : 0;
}

/* Enter what handles stand for. Whoever gives up privilege by entering the user namespace has to do
 * so last, whoever gains it first: so it comes last, or at the first EPERM. */
static int enter_handles(struct carton_context *ctx, const struct carton_fds *fds,
                         uint64_t *entered)
{
	int user = -1;
	long r;

	for (uint32_t i = 0; i < fds->count; i++) {
		r = sys_ioctl(fds->items[i], NS_GET_NSTYPE, NULL);
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_IOCTL, r);
		if (r == CLONE_NEWUSER)
			user = fds->items[i];
		*entered |= (uint64_t)r;
	}
	for (uint32_t i = 0; i < fds->count; i++) {
		long kind = sys_ioctl(fds->items[i], NS_GET_NSTYPE, NULL);

		if (kind == CLONE_NEWUSER)
			continue;
		r = sys_call(SYS_setns, fds->items[i], kind);
		if (r == -EPERM && user >= 0) {
			r = sys_call(SYS_setns, user, CLONE_NEWUSER);
			user = -1;
			if (r == 0)
				r = sys_call(SYS_setns, fds->items[i], kind);
		}
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_SETNS, r);
	}
	if (user >= 0) {
		r = sys_call(SYS_setns, user, CLONE_NEWUSER);
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_SETNS, r);
	}
	return 0;
}

int carton_namespace_enter(struct carton_context *ctx, const void *fields)
{
	const struct step_enter *f = fields;
	uint64_t entered = 0;
	long r;

	if (f->process != CARTON_UNSET) {
		r = sys_call(SYS_setns, f->process, f->kinds); /* all or none: setns(2) */
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_SETNS, r);
		entered = f->kinds;
	}
	r = enter_handles(ctx, &f->namespaces, &entered);
	if (r < 0)
		return (int)r;
	if (ctx->fresh && entered & (CLONE_NEWPID | CLONE_NEWUSER)) {
		r = sys_hide(); /* those inside may be as mighty as we are now */
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_PRCTL, r);
	}
	if (entered & CLONE_NEWNS)
		ctx->own_mounts = false;
	return ctx->fresh && entered & CLONE_NEWNS && ctx->root >= 0 ? renew_root(ctx) : 0;
}

/* "PID/file" or "self/file" */
static void proc_path(char *to, int64_t pid, const char *file)
{
	to = pid == 0 ? put_text(to, "self") : put_number(to, (uint64_t)pid);
	*to++ = '/';
	*put_text(to, file) = '\0';
}

static int write_map(struct carton_context *ctx, int64_t pid, const char *file,
                     const struct carton_idmap *map)
{
	char text[IDMAP_SIZE], path[64];
	char *end = text;

	for (uint32_t i = 0; i < map->count; i++) {
		if (i == IDMAP_MAX || (size_t)(end - text) + IDMAP_LINE >= sizeof(text)) {
			carton_tell(ctx, file);
			return carton_fail(ctx, CARTON_CALL_WRITE, -E2BIG);
		}
		end = put_number(end, map->items[i].container_id);
		*end++ = ' ';
		end = put_number(end, map->items[i].host_id);
		*end++ = ' ';
		end = put_number(end, map->items[i].size);
		*end++ = '\n';
	}
	proc_path(path, pid, file);
	return carton_proc_write(ctx, path, text, (size_t)(end - text));
}

int carton_namespace_idmap(struct carton_context *ctx, const void *fields)
{
	const struct step_idmap *f = fields;
	char path[64];
	int r = 0;

	if (f->pid < 0)
		return carton_fail(ctx, CARTON_CALL_WRITE, -EINVAL);
	if (!f->setgroups) {
		/* Before gid_map, and a must for whoever has no CAP_SETGID outside. */
		proc_path(path, f->pid, "setgroups");
		r = carton_proc_write(ctx, path, "deny", strlen("deny"));
		ctx->denied = r == 0 && f->pid == 0;
	}
	if (r == 0)
		r = write_map(ctx, f->pid, "gid_map", &f->gids);
	if (r == 0)
		r = write_map(ctx, f->pid, "uid_map", &f->uids);
	return r;
}

static char *put_offset(char *to, const char *clock, int64_t seconds)
{
	to = put_text(to, clock);
	*to++ = ' ';
	if (seconds < 0)
		*to++ = '-';
	to = put_number(to, seconds < 0 ? -(uint64_t)seconds : (uint64_t)seconds);
	return put_text(to, " 0\n");
}

/* Offsets can be set only while nobody is inside, so the namespace is made, set and then entered:
 * time_namespaces(7). The kernel lets nobody enter whose memory is shared: -EUSERS. */
int carton_namespace_time_offsets(struct carton_context *ctx, const void *fields)
{
	const struct step_time_offsets *f = fields;
	char text[96];
	char *end = text;
	long r = sys_call(SYS_unshare, CLONE_NEWTIME);
	int fd;

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_UNSHARE, r);
	end = put_offset(end, "monotonic", f->monotonic);
	end = put_offset(end, "boottime", f->boottime);
	r = carton_proc_write(ctx, "self/timens_offsets", text, (size_t)(end - text));
	if (r < 0)
		return (int)r;
	/* The link itself is a magic one: opened without RESOLVE_NO_MAGICLINKS, below self/ns. */
	fd = carton_proc_open(ctx, "self/ns", O_PATH | O_DIRECTORY);
	if (fd < 0)
		return fd;
	r = sys_openat(fd, "time_for_children", O_RDONLY | O_CLOEXEC, 0);
	sys_close(fd);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_OPEN, r);
	fd = (int)r;
	r = sys_call(SYS_setns, fd, CLONE_NEWTIME);
	sys_close(fd);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_SETNS, r) : 0;
}

int carton_namespace_hostname(struct carton_context *ctx, const void *fields)
{
	const struct step_hostname *f = fields;
	long r = sys_call(SYS_sethostname, f->name, strlen(f->name));

	return r < 0 ? carton_fail(ctx, CARTON_CALL_SETHOSTNAME, r) : 0;
}

int carton_namespace_domainname(struct carton_context *ctx, const void *fields)
{
	const struct step_hostname *f = fields;
	long r = sys_call(SYS_setdomainname, f->name, strlen(f->name));

	return r < 0 ? carton_fail(ctx, CARTON_CALL_SETDOMAINNAME, r) : 0;
}

int carton_namespace_network_up(struct carton_context *ctx, const void *fields)
{
	const struct step_network_up *f = fields;
	struct ifreq request = {0};
	size_t length = strlen(f->interface);
	long fd, r;

	if (length == 0 || length >= sizeof(request.ifr_name))
		return carton_fail(ctx, CARTON_CALL_IOCTL, -ENODEV);
	memcpy(request.ifr_name, f->interface, length);
	fd = sys_call(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return carton_fail(ctx, CARTON_CALL_SOCKET, fd);
	r = sys_ioctl((int)fd, SIOCGIFFLAGS, &request);
	if (r == 0) {
		request.ifr_flags |= IFF_UP;
		r = sys_ioctl((int)fd, SIOCSIFFLAGS, &request);
	}
	sys_close((int)fd);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_IOCTL, r) : 0;
}
