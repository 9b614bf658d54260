/* SPDX-License-Identifier: MIT */
/***
System calls that wait for an answer, and a look into who makes them. What an answer says of a call
whose caller was killed or interrupted is nil or false: that is no error.
@module carton.listener
*/
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>

#include "error.h"
#include "handle.h"
#include "listener.h"
#include "sys.h"

#define HEAD_MAX     4096
#define LOOKUP_TRIES 64

struct look {
	struct stat st;
	uint64_t mount; /* 0 where the kernel does not tell */
	char path[PATH_MAX];
	ssize_t path_length;
	char head[HEAD_MAX];
	ssize_t head_length;
};

/* In the caller's own root, and nowhere else; nothing is opened that could block or do something.
 */
static long open_inside(pid_t pid, const char *path, bool nofollow)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | (nofollow ? O_NOFOLLOW : 0),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	char name[64];
	long fd = -EAGAIN;
	int root;

	snprintf(name, sizeof(name), "/proc/%d/root", (int)pid);
	root = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return errno == EACCES ? -EPERM : -ESRCH;
	for (int tries = 0; fd == -EAGAIN && tries < LOOKUP_TRIES; tries++)
		fd = sys_openat2(root, path, &how);
	close(root);
	return fd;
}

/* The kernel's mark of a file without a name, which is also how a name may end. */
static void cut_deleted(struct look *look)
{
	static const char mark[] = " (deleted)";
	size_t length = (size_t)look->path_length, end = sizeof(mark) - 1;

	if (look->st.st_nlink == 0 && length > end &&
	    memcmp(look->path + length - end, mark, end) == 0)
		look->path_length = (ssize_t)(length - end);
}

/* 0 or -errno. */
static int look_at(int fd, struct look *look, size_t head)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (fstat(fd, &look->st) < 0)
		return -errno;
	if (sys_mount_id(fd, "", AT_EMPTY_PATH, &look->mount) < 0)
		look->mount = 0;
	look->path_length = readlink(name, look->path, sizeof(look->path));
	if (look->path_length < 0)
		return -errno;
	cut_deleted(look);
	if (head && S_ISLNK(look->st.st_mode)) {
		look->head_length = readlinkat(fd, "", look->head, head);
	} else if (head && S_ISREG(look->st.st_mode)) {
		int file = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

		if (file >= 0) {
			look->head_length = pread(file, look->head, head, 0);
			close(file);
		}
	}
	return 0;
}

static void push(lua_State *L, const struct look *look)
{
	static const struct {
		mode_t mode;
		const char *name;
	} types[] = {{S_IFREG, "file"},   {S_IFDIR, "directory"}, {S_IFLNK, "link"},
	             {S_IFCHR, "char"},   {S_IFBLK, "block"},     {S_IFIFO, "fifo"},
	             {S_IFSOCK, "socket"}};

	lua_createtable(L, 0, 8);
	lua_pushlstring(L, look->path, (size_t)look->path_length);
	lua_setfield(L, -2, "path");
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if ((look->st.st_mode & S_IFMT) == types[i].mode) {
			lua_pushstring(L, types[i].name);
			lua_setfield(L, -2, "type");
		}
	}
	lua_pushinteger(L, look->st.st_mode & 07777);
	lua_setfield(L, -2, "mode");
	lua_pushinteger(L, look->st.st_uid);
	lua_setfield(L, -2, "uid");
	lua_pushinteger(L, look->st.st_gid);
	lua_setfield(L, -2, "gid");
	if (look->mount) {
		lua_pushinteger(L, (lua_Integer)look->mount);
		lua_setfield(L, -2, "mount");
	}
	if (look->head_length > 0) {
		lua_pushlstring(L, look->head, (size_t)look->head_length);
		lua_setfield(L, -2, "head");
	}
}

/***
Look at a file as the caller sees it, without opening it.
@function listener:look
@tparam int id
@tparam int pid
@tparam string path from the caller's root
@tparam[opt=false] boolean nofollow do not follow a link that it ends in
@tparam[opt=0] int head so many of a regular file's first bytes, or of what a link holds, are read,
up to 4096
@treturn ?table nil when it can't be; `{ path = (without links, from the root of its mount
namespace), type =, mode = (a number), uid =, gid =, mount = (the mount's id, from Linux 5.8),
head = }`; ids are as the recipe's user namespace has them
@treturn ?string why: `ENOENT` there is none, `EACCES`, ..., `EPERM` the caller may
not be looked at, `ESRCH` nobody waits any more
@see openat2(2) RESOLVE_IN_ROOT
*/
int carton_listener_look(lua_State *L)
{
	int listener = carton_checkfd(L, 1, CARTON_LISTENER), r;
	uint64_t id = (uint64_t)luaL_checkinteger(L, 2);
	pid_t pid = (pid_t)luaL_checkinteger(L, 3);
	const char *path = luaL_checkstring(L, 4);
	bool nofollow = lua_toboolean(L, 5);
	lua_Integer head = luaL_optinteger(L, 6, 0);
	struct look *look = lua_newuserdatauv(L, sizeof(*look), 0);
	long fd;

	luaL_argcheck(L, head >= 0 && head <= HEAD_MAX, 6, "out of range");
	look->head_length = 0;
	fd = open_inside(pid, path, nofollow);
	r = fd < 0 ? (int)fd : look_at((int)fd, look, (size_t)head);
	if (fd >= 0)
		close((int)fd);
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) < 0)
		r = -ESRCH; /* it may have been somebody else's */
	if (r < 0) {
		lua_pushnil(L);
		lua_pushstring(L, carton_errno_name(-r));
		return 2;
	}
	push(L, look);
	return 1;
}
