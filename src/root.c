/* SPDX-License-Identifier: MIT */
/* Lookups inside a root file system and inside procfs: by descriptor, and never out of either. */
#include "sys.h"

#include "step.h"

#include <limits.h>
#include <linux/errno.h>
#include <linux/magic.h>
#include <string.h>

#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State errno

#define PROC_ROOT_INODE 1  /* no other inode of a procfs has this number */
#define LINKS_MAX       40 /* to nowhere, one after the other: path_resolution(7) */
#define LOOKUP_TRIES    64

void carton_tell(struct carton_context *ctx, const char *text)
{
	ctx->report.text[0] = '\0';
	if (text)
		copy_text(ctx->report.text, sizeof(ctx->report.text), text);
}

long carton_create(struct carton_context *ctx, long nr, long a, long b, long c, long d)
{
	long r;

	if (!ctx->umask_saved) {
		r = sys_call(SYS_umask, 0);
		if (r < 0) /* a filter forbids it */
			return r;
		ctx->umask = r;
	}
	ctx->umask_saved = ctx->fresh; /* in a new process there is time until it executes */
	r = sys_call(nr, a, b, c, d);
	if (!ctx->umask_saved)
		sys_call(SYS_umask, ctx->umask);
	return r;
}

int carton_restore_umask(struct carton_context *ctx)
{
	long r = ctx->umask_saved ? sys_call(SYS_umask, ctx->umask) : 0;

	ctx->umask_saved = false;
	return r < 0 ? carton_fail(ctx, CARTON_CALL_UMASK, r) : 0;
}

void carton_root_set(struct carton_context *ctx, int fd)
{
	if (ctx->root >= 0)
		sys_close(ctx->root);
	ctx->root = fd;
	ctx->root_place.known = false;
}

void carton_root_forget(struct carton_context *ctx)
{
	if (ctx->dir >= 0)
		sys_close(ctx->dir);
	ctx->dir = -1;
}

/* All lookups below end here. AT_FDCWD as the root is the caller's own view of the file system. */
static int lookup(struct carton_context *ctx, const char *path, int flags, unsigned int mode,
                  uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = resolve | RESOLVE_NO_MAGICLINKS,
	};
	long fd = -EAGAIN;

	if (ctx->root != AT_FDCWD)
		how.resolve |= RESOLVE_IN_ROOT;
	/* EAGAIN: something was renamed while ".." was looked up; whoever does so forever loses */
	for (int tries = 0; fd == -EAGAIN && tries < LOOKUP_TRIES; tries++)
		fd = sys_openat2(ctx->root, *path ? path : ".", &how);
	return (int)fd;
}

/* Make what is missing of a directory. Each prefix is looked up from the root, so that links and
 * ".." count from there; only a single name is ever made, in a directory that is open. */
static int make_directories(struct carton_context *ctx, const char *path, uint64_t resolve)
{
	char prefix[PATH_MAX];
	size_t end = 0;
	int dir;

	if (strlen(path) >= sizeof(prefix))
		return carton_fail(ctx, CARTON_CALL_OPENAT2, -ENAMETOOLONG);
	dir = lookup(ctx, *path == '/' ? "/" : ".", O_PATH | O_DIRECTORY, 0, resolve);
	if (dir < 0)
		return carton_fail(ctx, CARTON_CALL_OPENAT2, dir);
	for (;;) {
		size_t begin;
		long made = 0;
		int next;

		while (path[end] == '/')
			end++;
		if (!path[end])
			return dir;
		begin = end;
		while (path[end] && path[end] != '/')
			end++;
		memcpy(prefix, path, end);
		prefix[end] = '\0';

		next = lookup(ctx, prefix, O_PATH, 0, resolve);
		if (next == -ENOENT) {
			/* EEXIST: somebody else made it, or it is a link to nowhere. mkdirat(2)
			 * follows none, and the second lookup fails then. */
			made = carton_create(ctx, SYS_mkdirat, dir, (long)(prefix + begin), 0755,
			                     0);
			if (made == 0 || made == -EEXIST)
				next = lookup(ctx, prefix, O_PATH, 0, resolve);
		}
		sys_close(dir);
		if (next < 0) {
			carton_tell(ctx, prefix);
			if (made < 0 && made != -EEXIST)
				return carton_fail(ctx, CARTON_CALL_MKDIR, made);
			return carton_fail(ctx, CARTON_CALL_OPENAT2, next);
		}
		dir = next;
	}
}

static int open_parent(struct carton_context *ctx, const char *path, bool create, uint64_t resolve)
{
	char parent[PATH_MAX];
	size_t end = strlen(path), begin;
	int dir;

	while (end > 0 && path[end - 1] == '/')
		end--;
	begin = end;
	while (begin > 0 && path[begin - 1] != '/')
		begin--;
	if (begin >= sizeof(parent) || end - begin >= sizeof(ctx->last))
		return carton_fail(ctx, CARTON_CALL_OPENAT2, -ENAMETOOLONG);
	/* A copy, for a trailing slash would have the kernel follow a link after all. */
	memcpy(ctx->last, path + begin, end - begin);
	ctx->last[end - begin] = '\0';
	memcpy(parent, path, begin);
	parent[begin] = '\0';
	/* ".." below a descriptor would climb out of the root. */
	if (!ctx->last[0] || strcmp(ctx->last, ".") == 0 || strcmp(ctx->last, "..") == 0)
		return carton_fail(ctx, CARTON_CALL_OPENAT2, -EEXIST);

	if (ctx->dir >= 0 && ctx->dir_known && ctx->dir_resolve == resolve &&
	    strcmp(parent, ctx->dir_path) == 0)
		return ctx->dir;
	carton_root_forget(ctx);
	dir = lookup(ctx, parent, O_PATH | O_DIRECTORY, 0, resolve);
	if (dir == -ENOENT && create) {
		dir = make_directories(ctx, parent, resolve);
		if (dir < 0)
			return dir;
	} else if (dir < 0) {
		return carton_fail(ctx, CARTON_CALL_OPENAT2, dir);
	}
	ctx->dir = dir;
	ctx->dir_resolve = resolve;
	ctx->dir_usable = false;
	ctx->dir_known = begin < sizeof(ctx->dir_path);
	if (ctx->dir_known)
		memcpy(ctx->dir_path, parent, begin + 1);
	return dir;
}

static int make_file(struct carton_context *ctx, const char *path, uint64_t resolve)
{
	int dir = open_parent(ctx, path, true, resolve);
	long fd;

	if (dir < 0)
		return dir;
	fd = carton_create(ctx, SYS_openat, dir, (long)ctx->last,
	                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0644);
	if (fd >= 0) {
		sys_close((int)fd);
		fd = sys_openat(dir, ctx->last, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	} else if (fd == -EEXIST) {
		/* As above: somebody else made it, or a link to nowhere. */
		fd = lookup(ctx, path, O_PATH, 0, resolve);
	}
	return fd < 0 ? carton_fail(ctx, CARTON_CALL_OPEN, fd) : (int)fd;
}

/* A path with its first link to nowhere replaced by what that says, so that it is made where the
 * link leads, inside the root. False: it has none, or it becomes too long. */
static bool past_link(struct carton_context *ctx, const char *path, char to[PATH_MAX])
{
	char prefix[PATH_MAX];
	size_t begin, end = 0, length, rest;
	int link, fd = 0;
	long n;

	if (strlen(path) >= sizeof(prefix))
		return false;
	do {
		while (path[end] == '/')
			end++;
		begin = end;
		while (path[end] && path[end] != '/')
			end++;
		if (begin == end)
			return false;
		memcpy(prefix, path, end);
		prefix[end] = '\0';
		fd = lookup(ctx, prefix, O_PATH, 0, 0);
		if (fd >= 0)
			sys_close(fd);
	} while (fd >= 0);
	link = fd == -ENOENT ? lookup(ctx, prefix, O_PATH | O_NOFOLLOW, 0, 0) : -1;
	if (link < 0)
		return false;
	n = sys_call(SYS_readlinkat, link, "", to, PATH_MAX);
	sys_close(link);
	rest = strlen(path + end);
	length = n > 0 && to[0] == '/' ? 0 : begin;
	if (n <= 0 || length + (size_t)n + rest >= PATH_MAX)
		return false;
	memmove(to + length, to, (size_t)n);
	memcpy(to, path, length);
	memcpy(to + length + n, path + end, rest + 1);
	return true;
}

int carton_root_open(struct carton_context *ctx, const char *path, int flags)
{
	uint64_t resolve = flags & CARTON_OPEN_NOFOLLOW ? RESOLVE_NO_SYMLINKS : 0;
	int fd = lookup(ctx, path, O_PATH, 0, resolve);
	char paths[2][PATH_MAX];

	if (fd != -ENOENT || !(flags & (CARTON_OPEN_CREATE_DIR | CARTON_OPEN_CREATE_FILE)))
		return fd < 0 ? carton_fail(ctx, CARTON_CALL_OPENAT2, fd) : fd;
	for (int links = 0;; links++) {
		fd = flags & CARTON_OPEN_CREATE_DIR ? make_directories(ctx, path, resolve)
		                                    : make_file(ctx, path, resolve);
		if (fd != -ENOENT || resolve || links == LINKS_MAX ||
		    !past_link(ctx, path, paths[links % 2]))
			return fd;
		path = paths[links % 2];
	}
}

int carton_root_openat(struct carton_context *ctx, const char *path, int flags, unsigned int mode)
{
	int fd = lookup(ctx, path, flags, mode, 0);

	return fd < 0 ? carton_fail(ctx, CARTON_CALL_OPENAT2, fd) : fd;
}

int carton_root_parent(struct carton_context *ctx, const char *path, bool create, const char **last)
{
	*last = ctx->last;
	return open_parent(ctx, path, create, 0);
}

bool carton_is_regular(int fd, const struct stat *st)
{
	struct statfs fs;

	return S_ISREG(st->st_mode) && sys_fstatfs(fd, &fs) == 0 && fs.f_type != PROC_SUPER_MAGIC &&
	       fs.f_type != SYSFS_MAGIC;
}

static bool is_proc_root(int fd)
{
	struct statfs fs;
	struct stat st;

	return sys_fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC &&
	       sys_fstat(fd, &st) == 0 && st.st_ino == PROC_ROOT_INODE;
}

/* One of our own, attached nowhere. Without root the kernel makes none in the host's pid namespace,
 * nor where no other is to be seen: the old root's does then. */
static int private_proc(struct carton_context *ctx)
{
	enum carton_call call = CARTON_CALL_FSCONFIG;
	long fs = sys_fsopen("proc");
	long fd;

	if (fs < 0)
		return carton_fail(ctx, CARTON_CALL_FSOPEN, fs);
	fd = sys_fsconfig((int)fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (fd == 0) {
		call = CARTON_CALL_FSMOUNT;
		fd = sys_fsmount((int)fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	}
	sys_close((int)fs);
	if (fd == -EPERM && ctx->old_proc >= 0) {
		fd = ctx->old_proc;
		ctx->old_proc = -1;
	}
	return fd < 0 ? carton_fail(ctx, call, fd) : (int)fd;
}

int carton_proc(struct carton_context *ctx)
{
	long fd;

	if (ctx->proc >= 0)
		return ctx->proc;
	fd = sys_openat(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd >= 0 && !is_proc_root((int)fd)) { /* an impostor */
		sys_close((int)fd);
		fd = -ENOENT;
	}
	if (fd < 0)
		fd = private_proc(ctx);
	return fd < 0 ? (int)fd : (ctx->proc = (int)fd);
}

static long open_below(int proc, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
	};
	long fd = -EAGAIN;

	for (int tries = 0; fd == -EAGAIN && tries < LOOKUP_TRIES; tries++)
		fd = sys_openat2(proc, path, &how);
	return fd;
}

int carton_proc_open(struct carton_context *ctx, const char *path, int flags)
{
	long fd = ctx->old_proc < 0 ? -1 : open_below(ctx->old_proc, path, flags);
	int proc;

	if (fd >= 0) /* it knows this process already */
		return (int)fd;
	proc = carton_proc(ctx);
	if (proc < 0)
		return proc;
	fd = open_below(proc, path, flags);
	if (fd == -EXDEV || fd == -EROFS) { /* something is mounted over it, or it is read-only */
		int own = private_proc(ctx);

		if (own >= 0) {
			sys_close(proc);
			ctx->proc = own;
			fd = open_below(own, path, flags);
		}
	}
	if (fd < 0) {
		carton_tell(ctx, path);
		return carton_fail(ctx, CARTON_CALL_OPENAT2, fd);
	}
	return (int)fd;
}

int carton_proc_write(struct carton_context *ctx, const char *path, const char *value,
                      size_t length)
{
	int fd = carton_proc_open(ctx, path, O_WRONLY);
	long written;

	if (fd < 0)
		return fd;
	written = sys_write(fd, value, length);
	sys_close(fd);
	if (written == (long)length)
		return 0;
	carton_tell(ctx, path);
	return carton_fail(ctx, CARTON_CALL_WRITE, written < 0 ? written : -EIO);
}
