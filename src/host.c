/* SPDX-License-Identifier: MIT */
/***
Facts of the host that the vocabulary needs at once, without loading luaposix.
@module carton.host
*/
#include "tables.h"

#include <errno.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <lauxlib.h>

#include "error.h"
#include "sys.h"
#include "util.h"

/* nil, message, errno: an everyday answer. */
static int answer(lua_State *L, const char *path, int errnum)
{
	lua_pushnil(L);
	lua_pushfstring(L, "%s: %s", path, strerror(errnum));
	lua_pushinteger(L, errnum);
	return 3;
}

/***
Tell the effective user id of the caller.
@function euid
@treturn int
@see geteuid(2)
*/
static int host_euid(lua_State *L)
{
	lua_pushinteger(L, geteuid());
	return 1;
}

/***
Tell the effective group id of the caller.
@function egid
@treturn int
@see getegid(2)
*/
static int host_egid(lua_State *L)
{
	lua_pushinteger(L, getegid());
	return 1;
}

/***
Tell the process id of the caller, as its own pid namespace numbers it.
@function pid
@treturn int
@see getpid(2)
*/
static int host_pid(lua_State *L)
{
	lua_pushinteger(L, getpid());
	return 1;
}

/***
Tell the process id of the caller's parent.
@function ppid
@treturn int 0 when it is outside of the caller's pid namespace
@see getppid(2)
*/
static int host_ppid(lua_State *L)
{
	lua_pushinteger(L, getppid());
	return 1;
}

/***
Tell the login name of the caller.
@function user_name
@treturn ?string nil when its id has none
*/
static int host_user_name(lua_State *L)
{
	struct passwd *entry = getpwuid(geteuid());

	lua_pushstring(L, entry ? entry->pw_name : NULL);
	return 1;
}

/***
Read a variable of the caller's environment.
@function getenv
@tparam string name
@treturn ?string nil when it is not set
@see getenv(3)
*/
static int host_getenv(lua_State *L)
{
	lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
	return 1;
}

/***
Tell the time since some point in the past, which nobody sets.
@function monotonic
@treturn number seconds
@see clock_gettime(2)
*/
static int host_monotonic(lua_State *L)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
	return 1;
}

/***
Do nothing for a while; a signal does not shorten it.
@function sleep
@tparam number seconds
@see nanosleep(2)
@see carton.loop
*/
static int host_sleep(lua_State *L)
{
	lua_Number seconds = luaL_checknumber(L, 1);
	struct timespec t;

	luaL_argcheck(L, seconds >= 0 && seconds < 1e9, 1, "out of range");
	t.tv_sec = (time_t)seconds;
	t.tv_nsec = (long)((seconds - (lua_Number)t.tv_sec) * 1e9);
	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
	return 0;
}

static const char *type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "link";
	case S_IFCHR:
		return "char";
	case S_IFBLK:
		return "block";
	case S_IFIFO:
		return "fifo";
	default:
		return "socket";
	}
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
	lua_pushinteger(L, value);
	lua_setfield(L, -2, name);
}

/***
Look at a file.
@function stat
@tparam string path
@tparam[opt=false] boolean link look at a link itself
@treturn ?table `{ type = "file" | "directory" | "link" | "char" | "block" | "fifo" | "socket", mode
= "0755", uid =, gid =, size =, dev =, ino =, links =, major =, minor = }`, or nil, message, errno
@see stat(2)
*/
static int host_stat(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	bool link = lua_toboolean(L, 2);
	char mode[8];
	struct stat st;

	if (fstatat(AT_FDCWD, path, &st, link ? AT_SYMLINK_NOFOLLOW : 0) < 0)
		return answer(L, path, errno);
	lua_createtable(L, 0, 10);
	set_integer(L, "uid", st.st_uid);
	set_integer(L, "gid", st.st_gid);
	set_integer(L, "size", st.st_size);
	set_integer(L, "dev", (lua_Integer)st.st_dev);
	set_integer(L, "ino", (lua_Integer)st.st_ino);
	set_integer(L, "links", (lua_Integer)st.st_nlink);
	set_integer(L, "major", major(st.st_rdev));
	set_integer(L, "minor", minor(st.st_rdev));
	lua_pushstring(L, type_of(st.st_mode));
	lua_setfield(L, -2, "type");
	snprintf(mode, sizeof(mode), "%04o", st.st_mode & 07777);
	lua_pushstring(L, mode);
	lua_setfield(L, -2, "mode");
	return 1;
}

/***
Read where a symbolic link leads to.
@function readlink
@tparam string path
@treturn ?string what it holds, at most 4096 bytes, or nil, message, errno
@see readlink(2)
*/
static int host_readlink(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	char target[4096];
	ssize_t n = readlink(path, target, sizeof(target));

	if (n < 0)
		return answer(L, path, errno);
	lua_pushlstring(L, target, (size_t)n);
	return 1;
}

/***
Look whether a file can be used, with the effective ids.
@function access
@tparam string path
@tparam[opt=""] string how any of `r`, `w`, `x`
@treturn boolean
@treturn ?string why not, `?int` errno
@see faccessat(2)
*/
static int host_access(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	const char *how = luaL_optstring(L, 2, "");
	int mode = (strchr(how, 'r') ? R_OK : 0) | (strchr(how, 'w') ? W_OK : 0) |
	           (strchr(how, 'x') ? X_OK : 0);
	int en;

	if (faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0) {
		lua_pushboolean(L, 1);
		return 1;
	}
	en = errno;
	lua_pushboolean(L, 0);
	lua_pushstring(L, strerror(en));
	lua_pushinteger(L, en);
	return 3;
}

/***
Tell the file system that a file is on.
@function statfs
@tparam string path
@treturn ?table `{ type = name or number, ro =, nosuid =, nodev =, noexec =, free = bytes, size =
bytes }`, or nil, message, errno
@see statfs(2)
*/
static int host_statfs(lua_State *L)
{
	static const struct {
		long magic;
		const char *name;
	} types[] = {{TMPFS_MAGIC, "tmpfs"},
	             {PROC_SUPER_MAGIC, "proc"},
	             {OVERLAYFS_SUPER_MAGIC, "overlay"},
	             {SYSFS_MAGIC, "sysfs"},
	             {EXT4_SUPER_MAGIC, "ext4"},
	             {BTRFS_SUPER_MAGIC, "btrfs"},
	             {XFS_SUPER_MAGIC, "xfs"},
	             {CGROUP2_SUPER_MAGIC, "cgroup2"},
	             {CGROUP_SUPER_MAGIC, "cgroup"},
	             {DEVPTS_SUPER_MAGIC, "devpts"},
	             {NFS_SUPER_MAGIC, "nfs"},
	             {FUSE_SUPER_MAGIC, "fuse"}};
	static const struct {
		long flag;
		const char *name;
	} flags[] = {{1, "ro"}, {2, "nosuid"}, {4, "nodev"}, {8, "noexec"}};
	const char *path = luaL_checkstring(L, 1);
	const char *name = NULL;
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return answer(L, path, errno);
	lua_createtable(L, 0, 8);
	for (size_t i = 0; i < countof(types); i++)
		if (types[i].magic == (long)fs.f_type)
			name = types[i].name;
	if (name)
		lua_pushstring(L, name);
	else
		lua_pushinteger(L, (lua_Integer)fs.f_type);
	lua_setfield(L, -2, "type");
	for (size_t i = 0; i < countof(flags); i++) {
		lua_pushboolean(L, (fs.f_flags & flags[i].flag) != 0);
		lua_setfield(L, -2, flags[i].name);
	}
	set_integer(L, "free", (lua_Integer)fs.f_bavail * fs.f_bsize);
	set_integer(L, "size", (lua_Integer)fs.f_blocks * fs.f_bsize);
	return 1;
}

/***
Look whether a path could be in a sysfs and is not: nothing is there, and what exists of the path is
in one.
@function sysfs_lacks
@tparam string path
@treturn boolean
@see sysfs(5)
*/
static int host_sysfs_lacks(lua_State *L)
{
	size_t length;
	const char *path = luaL_checklstring(L, 1, &length);
	bool lacks = faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) < 0 && errno == ENOENT;
	char above[4096];
	struct statfs fs = {0};

	lacks = lacks && length < sizeof(above);
	if (lacks)
		memcpy(above, path, length + 1);
	while (lacks) {
		char *end = strrchr(above, '/');

		lacks = end && end > above;
		if (!lacks)
			break;
		*end = '\0';
		if (statfs(above, &fs) == 0)
			break;
		lacks = errno == ENOENT;
	}
	lua_pushboolean(L, lacks && fs.f_type == SYSFS_MAGIC);
	return 1;
}

/***
Make a path absolute, without links and dots.
@function realpath
@tparam string path
@treturn ?string or nil, message, errno
@see realpath(3)
*/
static int host_realpath(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	char resolved[4096];

	if (!realpath(path, resolved))
		return answer(L, path, errno);
	lua_pushstring(L, resolved);
	return 1;
}

/***
Tell the kernel and the host's name.
@function uname
@treturn table `{ sysname =, release =, machine =, nodename = }`
@see uname(2)
*/
static int host_uname(lua_State *L)
{
	struct utsname u;

	uname(&u);
	lua_createtable(L, 0, 4);
	lua_pushstring(L, u.sysname);
	lua_setfield(L, -2, "sysname");
	lua_pushstring(L, u.release);
	lua_setfield(L, -2, "release");
	lua_pushstring(L, u.machine);
	lua_setfield(L, -2, "machine");
	lua_pushstring(L, u.nodename);
	lua_setfield(L, -2, "nodename");
	return 1;
}

/* A call with nonsense for arguments: an answer other than ENOSYS shows that the kernel has it. */
static long probe_call(const char *name)
{
	static const struct {
		const char *name;
		long number;
	} calls[] = {{"clone3", SYS_clone3},
	             {"openat2", SYS_openat2},
	             {"mount_setattr", SYS_mount_setattr},
	             {"fsopen", SYS_fsopen},
	             {"fsmount", SYS_fsmount},
	             {"open_tree", SYS_open_tree},
	             {"move_mount", SYS_move_mount},
	             {"pidfd_open", SYS_pidfd_open},
	             {"close_range", SYS_close_range},
	             {"landlock", 444 /* landlock_create_ruleset(2) */},
	             {"seccomp", SYS_seccomp}};

	for (size_t i = 0; i < countof(calls); i++)
		if (strcmp(calls[i].name, name) == 0)
			return sys_call(calls[i].number, -1, -1, -1, -1, -1);
	return 1;
}

/***
Look whether the kernel has a call.
@function probe
@tparam string name `clone3 openat2 mount_setattr fsopen fsmount open_tree move_mount pidfd_open
close_range landlock seccomp`
@treturn boolean
@treturn ?string why not
*/
static int host_probe(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	long r = probe_call(name);

	luaL_argcheck(L, r != 1, 1, "unknown call");
	lua_pushboolean(L, r != -ENOSYS);
	lua_pushstring(L, r == -ENOSYS ? strerror(ENOSYS) : NULL);
	return 2;
}

void carton_open_host(lua_State *L)
{
	static const luaL_Reg functions[] = {{"euid", host_euid},
	                                     {"egid", host_egid},
	                                     {"pid", host_pid},
	                                     {"ppid", host_ppid},
	                                     {"user_name", host_user_name},
	                                     {"getenv", host_getenv},
	                                     {"monotonic", host_monotonic},
	                                     {"sleep", host_sleep},
	                                     {"stat", host_stat},
	                                     {"readlink", host_readlink},
	                                     {"access", host_access},
	                                     {"statfs", host_statfs},
	                                     {"sysfs_lacks", host_sysfs_lacks},
	                                     {"realpath", host_realpath},
	                                     {"uname", host_uname},
	                                     {"probe", host_probe},
	                                     {NULL, NULL}};

	luaL_setfuncs(L, functions, 0);
}
