/* SPDX-License-Identifier: MIT */
/* What lies in a root file system: directories, files, links, devices.
 */
#include "step.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "sys.h"
#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static long change_mode(struct carton_context *ctx, int fd, uint32_t mode)
{
	char name[24];
	long r = sys_call(SYS_fchmodat2, fd, "", mode, AT_EMPTY_PATH);
	int directory;

	if (r != -ENOSYS)
		return carton_fail(ctx, CARTON_CALL_CHMOD, r);
	/* before Linux 6.6: by the magic link of the descriptor */
	directory = carton_proc_open(ctx, "self/fd", O_PATH | O_DIRECTORY);
	if (directory < 0)
		return directory;
	*put_number(name, (uint64_t)fd) = '\0';
	r = sys_call(SYS_fchmodat, directory, name, mode);
	sys_close(directory);
	return carton_fail(ctx, CARTON_CALL_CHMOD, r);
}

/* Give a file exactly this mode, or fail. mkdirat(2) drops set-user-ID and set-group-ID; the parent
 * directory may add set-group-ID, or change the mode by a default ACL; write(2) clears set-user-ID;
 * and chmod(2) silently clears set-group-ID when the caller is not in the group. */
static int hold_mode(struct carton_context *ctx, int fd, uint32_t mode)
{
	struct stat st;
	long r = sys_fstat(fd, &st);

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_FSTAT, r);
	if ((st.st_mode & 07777) == mode)
		return 0;
	r = change_mode(ctx, fd, mode);
	if (r < 0)
		return (int)r;
	r = sys_fstat(fd, &st);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_FSTAT, r);
	return (st.st_mode & 07777) == mode ? 0 : carton_fail(ctx, CARTON_CALL_CHECK_MODE, -EPERM);
}

static bool has_mode(int fd, uint32_t mode)
{
	struct stat st;

	return mode == CARTON_NO_MODE || (sys_fstat(fd, &st) == 0 && (st.st_mode & 07777) == mode);
}

int carton_mount_mkdir(struct carton_context *ctx, const void *fields)
{
	const struct step_mkdir *f = fields;
	const char *last;
	uint32_t mode = f->mode == CARTON_NO_MODE ? 0755 : f->mode;
	int parent = carton_root_parent(ctx, f->target, f->parents, &last);
	long r, fd;

	if (parent < 0)
		return parent;
	r = carton_create(ctx, SYS_mkdirat, parent, (long)last, mode, 0);
	if (r == 0) {
		fd = sys_openat(parent, last, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
		r = fd < 0 ? carton_fail(ctx, CARTON_CALL_OPEN, fd) : hold_mode(ctx, (int)fd, mode);
	} else if (r == -EEXIST && f->optional) {
		fd = r = carton_root_openat(ctx, f->target, O_PATH | O_DIRECTORY, 0);
		if (fd >= 0)
			r = has_mode((int)fd, f->mode)
			            ? 0
			            : carton_fail(ctx, CARTON_CALL_CHECK_MODE, -EEXIST);
	} else {
		fd = carton_fail(ctx, CARTON_CALL_MKDIR, r);
	}
	if (fd >= 0)
		sys_close((int)fd);
	return (int)r;
}

/* An existing file is looked at before it is opened for writing: a FIFO would block, a device act.
 */
static int open_regular(struct carton_context *ctx, const struct step_write *f, uint32_t *mode)
{
	struct stat seen, st;
	const char *last;
	int fd = carton_root_open(ctx, f->target, 0);
	long r;

	if (fd == -ENOENT && f->create) {
		int parent = carton_root_parent(ctx, f->target, true, &last);

		if (parent < 0)
			return parent;
		*mode = f->mode == CARTON_NO_MODE ? 0644 : f->mode;
		r = carton_create(ctx, SYS_openat, parent, (long)last,
		                  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, *mode);
		return r < 0 ? carton_fail(ctx, CARTON_CALL_OPEN, r) : (int)r;
	}
	if (fd < 0)
		return fd;
	r = sys_fstat(fd, &seen);
	if (r == 0 && !carton_is_regular(fd, &seen))
		r = carton_fail(ctx, CARTON_CALL_CHECK_PASSWD, -EINVAL);
	else if (r < 0)
		carton_fail(ctx, CARTON_CALL_FSTAT, r);
	sys_close(fd);
	if (r < 0)
		return (int)r;
	fd = carton_root_openat(ctx, f->target,
	                        O_WRONLY | O_NONBLOCK | O_NOCTTY | (f->append ? O_APPEND : 0), 0);
	if (fd < 0)
		return fd;
	r = sys_fstat(fd, &st);
	if (r == 0 && (st.st_ino != seen.st_ino || st.st_dev != seen.st_dev))
		r = carton_fail(ctx, CARTON_CALL_CHECK_PASSWD, -EINVAL);
	else if (r == 0 && f->mode != CARTON_NO_MODE) /* before there is anything to read */
		r = hold_mode(ctx, fd, f->mode);
	if (r == 0 && !f->append)
		r = sys_call(SYS_ftruncate, fd, 0);
	if (r < 0) {
		sys_close(fd);
		return (int)r;
	}
	return fd;
}

int carton_mount_write(struct carton_context *ctx, const void *fields)
{
	const struct step_write *f = fields;
	uint32_t mode = f->mode;
	uint64_t done = 0;
	long r = 0;
	int fd = open_regular(ctx, f, &mode);

	if (fd < 0)
		return fd;
	while (done < f->length) {
		r = sys_write(fd, f->content + done, f->length - done);
		if (r == -EINTR)
			continue;
		if (r <= 0)
			break;
		done += (uint64_t)r;
	}
	if (done < f->length)
		r = carton_fail(ctx, CARTON_CALL_WRITE, r < 0 ? r : -EIO);
	else
		r = mode == CARTON_NO_MODE ? 0 : hold_mode(ctx, fd, mode);
	sys_close(fd);
	return (int)r;
}

static bool holds(int parent, const char *name, const char *target)
{
	char held[4096];
	long n = sys_call(SYS_readlinkat, parent, name, held, sizeof(held));

	return n >= 0 && (size_t)n == strlen(target) && memcmp(held, target, (size_t)n) == 0;
}

int carton_mount_symlink(struct carton_context *ctx, const void *fields)
{
	const struct step_symlink *f = fields;
	const char *last;
	int parent = carton_root_parent(ctx, f->path, true, &last);
	long r;

	if (parent < 0)
		return parent;
	r = sys_call(SYS_symlinkat, f->target, parent, last);
	if (r == -EEXIST && f->optional && holds(parent, last, f->target))
		r = 0;
	return r < 0 ? carton_fail(ctx, CARTON_CALL_SYMLINK, r) : 0;
}

/* A host's device node, by descriptor, proved to be the device it is taken for. */
static int open_device(struct carton_context *ctx, const char *path, const struct step_device *f)
{
	struct stat st;
	long fd = sys_openat(AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
	long r;

	if (fd < 0) {
		carton_tell(ctx, path);
		return carton_fail(ctx, CARTON_CALL_OPEN, fd);
	}
	r = sys_fstat((int)fd, &st);
	if (r == 0 && (!(S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) ||
	               (f->type && (st.st_mode & S_IFMT) != f->type) ||
	               (f->major >= 0 && major(st.st_rdev) != (unsigned long)f->major) ||
	               (f->minor >= 0 && minor(st.st_rdev) != (unsigned long)f->minor)))
		r = carton_fail(ctx, CARTON_CALL_CHECK_DEVICE, -ENODEV);
	if (r < 0) {
		carton_tell(ctx, path);
		sys_close((int)fd);
		return (int)r;
	}
	return (int)fd;
}

/* A device is written to all the same; but owner, mode and times of the host's node stay. */
#define DEVICE_ATTRIBUTES MOUNT_ATTR_RDONLY

int carton_bind_at(struct carton_context *ctx, int source, int target, bool recursive,
                   uint64_t attributes)
{
	/* one alone follows nothing that the host mounts there */
	struct mount_attr attr = {.attr_set = attributes,
	                          .propagation = recursive ? 0 : MS_PRIVATE};
	long tree = sys_open_tree(source, "",
	                          OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
	                                  (recursive ? AT_RECURSIVE : 0));
	long r = 0;

	if (tree < 0)
		return carton_fail(ctx, CARTON_CALL_OPEN_TREE, tree);
	if (attributes)
		r = sys_mount_setattr((int)tree, recursive ? AT_RECURSIVE : 0, &attr);
	if (r < 0) {
		carton_fail(ctx, CARTON_CALL_MOUNT_SETATTR, r);
	} else {
		r = sys_move_mount((int)tree, target);
		if (r < 0)
			carton_fail(ctx, CARTON_CALL_MOVE_MOUNT, r);
	}
	sys_close((int)tree);
	return (int)r;
}

#define ST_NODEV_FLAG 4 /* statfs(2): ST_NODEV */

static bool is_nodev(int fd)
{
	struct statfs fs;

	return sys_fstatfs(fd, &fs) < 0 || fs.f_flags & ST_NODEV_FLAG;
}

static int bind_device(struct carton_context *ctx, const struct step_device *f)
{
	int r = 0, to, fd = open_device(ctx, f->source ? f->source : f->path, f);

	if (fd < 0)
		return fd;
	if (is_nodev(fd))
		r = carton_fail(ctx, CARTON_CALL_CHECK_NODEV, -EACCES);
	else if (!has_mode(fd, f->mode))
		r = carton_fail(ctx, CARTON_CALL_CHECK_MODE, -EPERM);
	if (r < 0) {
		carton_tell(ctx, f->source ? f->source : f->path);
		sys_close(fd);
		return r;
	}
	to = carton_root_open(ctx, f->path, CARTON_OPEN_CREATE_FILE);
	r = to < 0 ? to : carton_bind_at(ctx, fd, to, false, DEVICE_ATTRIBUTES);
	sys_close(fd);
	if (to >= 0)
		sys_close(to);
	return r;
}

int carton_open_null(struct carton_context *ctx)
{
	static const struct step_device null = {.type = S_IFCHR, .major = 1, .minor = 3};
	struct mount_attr attr = {.attr_set = DEVICE_ATTRIBUTES, .propagation = MS_PRIVATE};
	int fd = open_device(ctx, "/dev/null", &null);
	long tree, r;

	if (fd < 0)
		return fd;
	tree = sys_open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	sys_close(fd);
	if (tree < 0)
		return carton_fail(ctx, CARTON_CALL_OPEN_TREE, tree);
	r = sys_mount_setattr((int)tree, 0, &attr);
	if (r < 0) {
		sys_close((int)tree);
		return carton_fail(ctx, CARTON_CALL_MOUNT_SETATTR, r);
	}
	ctx->null = (int)tree;
	return 0;
}

/* The first time the mount itself, then clones of it: of a detached one there are none. */
int carton_bind_null(struct carton_context *ctx, int target)
{
	int opened = ctx->null < 0 ? carton_open_null(ctx) : 0;
	long r;

	if (opened < 0)
		return opened;
	if (ctx->null_used)
		return carton_bind_at(ctx, ctx->null, target, false, 0);
	r = sys_move_mount(ctx->null, target);
	ctx->null_used = r == 0;
	return r < 0 ? carton_fail(ctx, CARTON_CALL_MOVE_MOUNT, r) : 0;
}

static bool is_device(const struct stat *st, uint32_t type, int64_t major_number,
                      int64_t minor_number)
{
	return (st->st_mode & S_IFMT) == type && (int64_t)major(st->st_rdev) == major_number &&
	       (int64_t)minor(st->st_rdev) == minor_number;
}

/* Give a node that was just made its mode: a default ACL of the directory may have changed it. */
static int hold_device(struct carton_context *ctx, int parent, const char *name, uint32_t mode,
                       const struct stat *made)
{
	long fd = sys_openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	struct stat st;
	long r;

	if (fd < 0)
		return carton_fail(ctx, CARTON_CALL_OPEN, fd);
	r = sys_fstat((int)fd, &st);
	if (r < 0)
		carton_fail(ctx, CARTON_CALL_FSTAT, r);
	else if (st.st_dev != made->st_dev || st.st_ino != made->st_ino)
		r = carton_fail(ctx, CARTON_CALL_CHECK_DEVICE, -ENODEV);
	else
		r = hold_mode(ctx, (int)fd, mode);
	sys_close((int)fd);
	return (int)r;
}

int carton_mount_device(struct carton_context *ctx, const void *fields)
{
	const struct step_device *f = fields;
	struct stat st;
	const char *last;
	int64_t wanted_major = f->major, wanted_minor = f->minor;
	uint32_t type = f->type, mode = f->mode == CARTON_NO_MODE ? 0666 : f->mode;
	int parent;
	long r;

	if (f->bind)
		return bind_device(ctx, f);
	if (!type || wanted_major < 0 || wanted_minor < 0 ||
	    f->source) { /* as the host's node has it */
		int source = open_device(ctx, f->source ? f->source : f->path, f);

		if (source < 0)
			return source;
		r = sys_fstat(source, &st);
		sys_close(source);
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_FSTAT, r);
		wanted_major = major(st.st_rdev);
		wanted_minor = minor(st.st_rdev);
		type = st.st_mode & S_IFMT;
	}
	if (wanted_major >= 1 << 12 || wanted_minor >= 1 << 20)
		return carton_fail(ctx, CARTON_CALL_MKNOD, -EINVAL);
	parent = carton_root_parent(ctx, f->path, true, &last);
	if (parent < 0)
		return parent;
	if (!ctx->dir_usable && is_nodev(parent))
		return carton_fail(ctx, CARTON_CALL_CHECK_NODEV, -EACCES);
	ctx->dir_usable = true;
	r = carton_create(ctx, SYS_mknodat, parent, (long)last, type | mode,
	                  (long)makedev((unsigned int)wanted_major, (unsigned int)wanted_minor));
	if (r == -EEXIST && sys_fstatat(parent, last, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    is_device(&st, type, wanted_major, wanted_minor) &&
	    (f->mode == CARTON_NO_MODE || (st.st_mode & 07777) == f->mode))
		return 0; /* /dev/null, that every container has */
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_MKNOD, r);
	/* what was made may have been swapped for something else since */
	r = sys_fstatat(parent, last, &st, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_FSTAT, r);
	if (!is_device(&st, type, wanted_major, wanted_minor))
		return carton_fail(ctx, CARTON_CALL_CHECK_DEVICE, -ENODEV);
	return (st.st_mode & 07777) == mode ? 0 : hold_device(ctx, parent, last, mode, &st);
}

int carton_mount_chown(struct carton_context *ctx, const void *fields)
{
	const struct step_chown *f = fields;
	int fd = carton_root_open(ctx, f->target, 0);
	long r;

	if (fd < 0)
		return fd;
	r = sys_call(SYS_fchownat, fd, "", f->uid, f->gid, AT_EMPTY_PATH);
	sys_close(fd);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_CHOWN, r) : 0;
}

int carton_mount_chmod(struct carton_context *ctx, const void *fields)
{
	const struct step_chmod *f = fields;
	int fd = carton_root_open(ctx, f->target, 0);
	int r;

	if (fd < 0)
		return fd;
	r = hold_mode(ctx, fd, f->mode);
	sys_close(fd);
	return r;
}
