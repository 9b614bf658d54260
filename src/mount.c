/* SPDX-License-Identifier: MIT */
/* Mount trees: bind, attach, attributes, propagation, move, unmount. */
#include "step.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>

#include "sys.h"
#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State

static bool is_root(const char *target)
{
	while (*target == '/')
		target++;
	return *target == '\0';
}

int carton_place_flags(bool create, bool directory, bool nofollow)
{
	int flags = nofollow ? CARTON_OPEN_NOFOLLOW : 0;

	if (create)
		flags |= directory ? CARTON_OPEN_CREATE_DIR : CARTON_OPEN_CREATE_FILE;
	return flags;
}

static bool is_directory(int fd)
{
	struct stat st;

	return sys_fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The first tree on "/" goes on a stage where one is wanted, or it covers the caller's root;
 * further ones cover the one before them. pivot_root(2) changes the roots of all processes of a
 * mount namespace, so there is no stage in one that others are in. */
static int attach_root(struct carton_context *ctx, int tree)
{
	int to = ctx->root;
	long r;

	if (ctx->wants_stage && ctx->own_mounts && ctx->stage < 0)
		to = carton_stage(ctx);
	else if (to < 0)
		to = (int)sys_openat(AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
	if (to < 0)
		return ctx->report.call ? to : carton_fail(ctx, CARTON_CALL_OPEN, to);
	r = sys_move_mount(tree, to);
	if (to != ctx->root)
		sys_close(to);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_MOVE_MOUNT, r);
	carton_root_set(ctx, tree);
	return 0;
}

static long place_of(int fd, struct carton_place *place)
{
	struct statx stx = {0};
	long r = sys_call(SYS_statx, fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT,
	                  STATX_INO | STATX_MNT_ID, &stx);

	place->mount = stx.stx_mnt_id;
	place->inode = stx.stx_ino;
	place->major = stx.stx_dev_major;
	place->minor = stx.stx_dev_minor;
	place->known = r == 0;
	return r;
}

/* Open what a mount is to lie on. The root by another name ("/.", or a link of the image) it would
 * cover without becoming the root: pivot_root would take it off again. */
static int open_place(struct carton_context *ctx, const char *target, int flags)
{
	struct carton_place place = {0}, *root = &ctx->root_place;
	int fd = carton_root_open(ctx, target, flags);
	long r;

	if (fd < 0 || ctx->root == AT_FDCWD)
		return fd;
	r = root->known ? 0 : place_of(ctx->root, root);
	if (r == 0)
		r = place_of(fd, &place);
	if (r < 0)
		carton_fail(ctx, CARTON_CALL_FSTAT, r);
	else if (root->mount == place.mount && root->inode == place.inode &&
	         root->major == place.major && root->minor == place.minor)
		r = carton_fail(ctx, CARTON_CALL_CHECK_ROOT, -EBUSY);
	if (r < 0)
		sys_close(fd);
	return r < 0 ? (int)r : fd;
}

int carton_attach(struct carton_context *ctx, int tree, const char *target, int flags)
{
	long r;
	int to;

	if (is_root(target)) {
		if (!is_directory(tree)) /* of which the kernel says EINVAL */
			return carton_fail(ctx, CARTON_CALL_MOVE_MOUNT, -ENOTDIR);
		return attach_root(ctx, tree);
	}
	to = open_place(ctx, target, flags);
	if (to < 0)
		return to;
	r = sys_move_mount(tree, to);
	sys_close(to);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_MOVE_MOUNT, r) : 0;
}

int carton_attach_close(struct carton_context *ctx, int tree, const char *target, int flags)
{
	int r = carton_attach(ctx, tree, target, flags);

	if (ctx->root != tree)
		sys_close(tree);
	return r;
}

static int set_attributes(struct carton_context *ctx, int tree, bool recursive,
                          const struct carton_attributes *options, uint64_t propagation, int idmap)
{
	struct mount_attr attr = {.attr_set = options->set,
	                          .attr_clr = options->clear,
	                          .propagation = propagation & ~(uint64_t)MS_REC};
	bool all = propagation & MS_REC;
	long r;

	if (attr.propagation && recursive != all) { /* of other mounts than the attributes are */
		struct mount_attr alone = {.propagation = attr.propagation};

		r = sys_mount_setattr(tree, all ? AT_RECURSIVE : 0, &alone);
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_MOUNT_SETATTR, r);
		attr.propagation = 0;
	}
	if (idmap >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)idmap;
	}
	if (!attr.attr_set && !attr.attr_clr && !attr.propagation)
		return 0;
	r = sys_mount_setattr(tree, recursive ? AT_RECURSIVE : 0, &attr);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_MOUNT_SETATTR, r) : 0;
}

int carton_mount_bind(struct carton_context *ctx, const void *fields)
{
	const struct step_bind *f = fields;
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
	long tree;
	int r;

	if (f->recursive)
		flags |= AT_RECURSIVE;
	if (f->tree >= 0)
		tree = sys_fcntl(f->tree, F_DUPFD_CLOEXEC, 3); /* a copy already */
	else
		tree = sys_open_tree(AT_FDCWD, f->source, flags);
	if (f->optional && (tree == -ENOENT || tree == -ENOTDIR))
		return 0;
	if (tree < 0) {
		if (f->source)
			carton_tell(ctx, f->source);
		return carton_fail(ctx, CARTON_CALL_OPEN_TREE, tree);
	}
	r = set_attributes(ctx, (int)tree, f->recursive, &f->options, f->propagation, f->idmap);
	if (r < 0) {
		sys_close((int)tree);
		return r;
	}
	return carton_attach_close(
		ctx, (int)tree, f->target,
		carton_place_flags(f->create, f->create && is_directory((int)tree), f->nofollow));
}

int carton_mount_attach(struct carton_context *ctx, const void *fields)
{
	const struct step_attach *f = fields;
	long tree = sys_fcntl(f->tree, F_DUPFD_CLOEXEC, 3); /* the handle stays its owner's */

	if (tree < 0)
		return carton_fail(ctx, CARTON_CALL_DUP, tree);
	return carton_attach_close(
		ctx, (int)tree, f->target,
		carton_place_flags(f->create, is_directory((int)tree), f->nofollow));
}

int carton_mount_filesystem(struct carton_context *ctx, const void *fields)
{
	const struct step_filesystem *f = fields;
	int tree = carton_filesystem_create(ctx, f);

	if (tree < 0)
		return tree;
	return carton_attach_close(ctx, tree, f->target,
	                           carton_place_flags(f->create, true, f->nofollow));
}

/* Recursive, and then off the target again, where they were not set before. A mount has the same
 * bits in statfs(2). */
static int set_below(struct carton_context *ctx, int fd, const struct carton_attributes *options)
{
	const uint64_t known =
		MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	struct carton_attributes back = {0};
	struct statfs fs;
	long r = options->clear || options->set & ~known ? -EINVAL : sys_fstatfs(fd, &fs);

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_MOUNT_SETATTR, r);
	back.clear = options->set & ~(uint64_t)fs.f_flags;
	r = set_attributes(ctx, fd, true, options, 0, CARTON_UNSET);
	return r < 0 ? (int)r : set_attributes(ctx, fd, false, &back, 0, CARTON_UNSET);
}

int carton_mount_setattr(struct carton_context *ctx, const void *fields)
{
	const struct step_setattr *f = fields;
	int fd, r;

	if (f->below && (f->recursive || f->idmap != CARTON_UNSET))
		return carton_fail(ctx, CARTON_CALL_MOUNT_SETATTR, -EINVAL);
	fd = carton_root_open(ctx, f->target, 0);
	if (fd < 0)
		return f->optional && fd == -ENOENT ? 0 : fd;
	r = f->below ? set_below(ctx, fd, &f->options)
	             : set_attributes(ctx, fd, f->recursive, &f->options, 0, f->idmap);
	sys_close(fd);
	return r;
}

int carton_mount_propagation(struct carton_context *ctx, const void *fields)
{
	const struct step_propagation *f = fields;
	struct carton_attributes none = {0};
	int fd = carton_root_open(ctx, f->target, 0);
	int r;

	if (fd < 0)
		return fd;
	r = set_attributes(ctx, fd, f->recursive, &none, f->propagation, CARTON_UNSET);
	sys_close(fd);
	return r;
}

int carton_mount_move(struct carton_context *ctx, const void *fields)
{
	const struct step_move *f = fields;
	int from = carton_root_open(ctx, f->source, 0);
	int to;
	long r;

	if (from < 0)
		return from;
	to = open_place(ctx, f->target, 0);
	if (to < 0) {
		sys_close(from);
		return to;
	}
	r = sys_move_mount(from, to);
	sys_close(from);
	sys_close(to);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_MOVE_MOUNT, r) : 0;
}

/* umount2(2) takes no descriptor: it is given one name, relative to the directory above it. */
static long unmount_in(int directory, const char *name, int flags)
{
	long here = sys_openat(AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	long r;

	if (here < 0)
		return here;
	r = sys_fchdir(directory);
	if (r == 0) {
		r = sys_call(SYS_umount2, name, flags);
		sys_fchdir((int)here);
	}
	sys_close((int)here);
	return r;
}

int carton_mount_unmount(struct carton_context *ctx, const void *fields)
{
	const struct step_unmount *f = fields;
	int flags = UMOUNT_NOFOLLOW | (f->detach ? MNT_DETACH : 0) | (f->force ? MNT_FORCE : 0);
	const char *last = ".";
	int directory;
	long r;

	if (is_root(f->target))
		directory = carton_root_open(ctx, "/", 0);
	else
		directory = carton_root_parent(ctx, f->target, false, &last);
	if (directory < 0)
		return directory;
	r = unmount_in(directory, last, flags);
	if (directory != ctx->dir)
		sys_close(directory);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_UMOUNT, r) : 0;
}
