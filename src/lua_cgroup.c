/* SPDX-License-Identifier: MIT */
/***
Directories of a cgroup file system as handles: create, read, write, list, remove.
@module carton.cgroup
*/
#include "tables.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <lauxlib.h>

#include "error.h"
#include "handle.h"
#include "sys.h"
#include "util.h"

struct cgroup {
	struct carton_handle handle;
	int parent; /* the directory above; -1 where the handle was opened by its path */
	char name[NAME_MAX + 1]; /* in there */
};

static struct cgroup *new_cgroup(lua_State *L, int parent, const char *name)
{
	struct cgroup *cg = carton_newbox(L, CARTON_CGROUP, sizeof(*cg), 0);

	cg->parent = parent < 0 ? -1 : fcntl(parent, F_DUPFD_CLOEXEC, 3);
	copy_text(cg->name, sizeof(cg->name), name);
	if (parent >= 0 && cg->parent < 0)
		carton_raise(L, "cgroup", name, errno);
	return cg;
}

static int cgroup_close(lua_State *L) /* close, __close and __gc */
{
	struct cgroup *cg = luaL_checkudata(L, 1, CARTON_CGROUP);
	int fds[] = {cg->handle.fd, cg->parent};

	cg->handle.fd = cg->parent = -1;
	for (size_t i = 0; i < countof(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return 0;
}

static struct cgroup *check_cgroup(lua_State *L, int arg)
{
	carton_checkfd(L, arg, CARTON_CGROUP);
	return lua_touserdata(L, arg);
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* One name in the directory: no path leads out of it. */
static const char *check_name(lua_State *L, int arg)
{
	size_t length;
	const char *name = luaL_checklstring(L, arg, &length);

	luaL_argcheck(L, length > 0 && length <= NAME_MAX && strlen(name) == length, arg,
	              "name is empty, too long or holds NUL");
	luaL_argcheck(L, !strchr(name, '/') && !is_dots(name), arg, "a single name expected");
	return name;
}

/* "web/memory.max", for messages */
static const char *subject(lua_State *L, const struct cgroup *cg, const char *file)
{
	return lua_pushfstring(L, "%s/%s", cg->name, file);
}

static int version_of(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return 0;
	if (fs.f_type == CGROUP2_SUPER_MAGIC)
		return 2;
	return fs.f_type == CGROUP_SUPER_MAGIC ? 1 : 0;
}

/***
Open a directory of a cgroup file system by its path.
@function open_directory
@tparam string path for example `/sys/fs/cgroup`
@treturn directory
@raise `carton.error`: `ENOENT`, `EACCES`, `EINVAL` no cgroup file system
@see cgroups(7)
*/
static int cgroup_open_directory(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	struct cgroup *cg = new_cgroup(L, -1, path);

	cg->handle.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cg->handle.fd < 0)
		return carton_raise(L, "open_directory", path, errno);
	if (version_of(cg->handle.fd) == 0)
		return carton_raise(L, "open_directory", path, EINVAL);
	return 1;
}

#define CHILD_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* Whoever made a cgroup holds a lock on it: one that can be locked was left behind. Between mkdir
and flock it looks like that, too, and may be taken for it and removed. */
static int open_made(const struct cgroup *cg, struct cgroup *child)
{
	struct stat ours, there;

	child->handle.fd = openat(cg->handle.fd, child->name, CHILD_FLAGS);
	if (child->handle.fd < 0)
		return errno == ENOENT ? -EEXIST : -errno;
	if (flock(child->handle.fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EEXIST : -errno;
	if (fstat(child->handle.fd, &ours) < 0)
		return -errno;
	if (fstatat(cg->handle.fd, child->name, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? -EEXIST : -errno;
	return ours.st_ino == there.st_ino ? 0 : -EEXIST;
}

/***
Make a cgroup below this one, and hold its lock.
@function directory:create
@tparam string name
@treturn directory
@raise `carton.error`: `EEXIST` there is one, or it was taken for left behind before it was locked;
`EACCES` not delegated to us, `EAGAIN` cgroup.max.descendants
@see cgroups(7), flock(2)
*/
static int directory_create(lua_State *L)
{
	struct cgroup *cg = check_cgroup(L, 1);
	const char *name = check_name(L, 2);
	struct cgroup *child = new_cgroup(L, cg->handle.fd, name);
	int r;

	if (mkdirat(cg->handle.fd, name, 0755) < 0)
		return carton_raise(L, "create", subject(L, cg, name), errno);
	r = open_made(cg, child);
	if (r == 0)
		return 1;
	if (r != -EEXIST)
		unlinkat(cg->handle.fd, name, AT_REMOVEDIR);
	return carton_raise(L, "create", subject(L, cg, name), -r);
}

/***
Open a cgroup below this one.
@function directory:open
@tparam string name
@treturn directory
@raise `carton.error`: `ENOENT` there is none
*/
static int directory_open(lua_State *L)
{
	struct cgroup *cg = check_cgroup(L, 1);
	const char *name = check_name(L, 2);
	struct cgroup *child = new_cgroup(L, cg->handle.fd, name);

	child->handle.fd = openat(cg->handle.fd, name, CHILD_FLAGS);
	if (child->handle.fd < 0)
		return carton_raise(L, "open", subject(L, cg, name), errno);
	return 1;
}

/***
Open the cgroup above this one. There is no way out through it: nothing moves between the
directories of a cgroup file system.
@function directory:above
@tparam string name of the cgroup above, in the one above that
@treturn directory
@raise `carton.error`: `ENOENT` it is gone
*/
static int directory_above(lua_State *L)
{
	struct cgroup *cg = check_cgroup(L, 1);
	const char *name = check_name(L, 2);
	struct cgroup *above = new_cgroup(L, -1, name);

	above->handle.fd = openat(cg->handle.fd, "..", CHILD_FLAGS);
	if (above->handle.fd >= 0)
		above->parent = openat(above->handle.fd, "..", CHILD_FLAGS);
	if (above->handle.fd < 0 || above->parent < 0)
		return carton_raise(L, "open", name, errno);
	return 1;
}

/***
Take the lock that who made it holds.
@function directory:lock
@treturn boolean false when somebody holds it
@see flock(2)
*/
static int directory_lock(lua_State *L)
{
	struct cgroup *cg = check_cgroup(L, 1);

	lua_pushboolean(L, flock(cg->handle.fd, LOCK_EX | LOCK_NB) == 0);
	return 1;
}

/***
Read an extended attribute, which is how a manager marks a cgroup.
@function directory:attribute
@tparam string name for example `trusted.delegate`
@treturn ?string its value; nil when there is none, or only others may read it
@raise `carton.error`: any other failure
@see xattr(7)
*/
static int directory_attribute(lua_State *L)
{
	struct cgroup *cg = check_cgroup(L, 1);
	const char *name = luaL_checkstring(L, 2);
	char value[256];
	ssize_t n = fgetxattr(cg->handle.fd, name, value, sizeof(value));

	if (n >= 0)
		lua_pushlstring(L, value, (size_t)n);
	else if (errno == ENODATA || errno == EOPNOTSUPP)
		lua_pushnil(L);
	else
		return carton_raise(L, "attribute", subject(L, cg, name), errno);
	return 1;
}

static int read_all(lua_State *L, int fd)
{
	luaL_Buffer all;
	ssize_t n;

	luaL_buffinit(L, &all);
	do {
		char *space = luaL_prepbuffsize(&all, 4096);

		n = read(fd, space, 4096);
		if (n > 0)
			luaL_addsize(&all, (size_t)n);
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (n < 0)
		return -errno;
	luaL_pushresult(&all);
	return 0;
}

/***
Read a file of the cgroup.
@function directory:read
@tparam string file for example `memory.max`
@treturn ?string its content; nil when there is no such file
@raise `carton.error`: any other failure
*/
static int directory_read(lua_State *L)
{
	struct cgroup *cg = check_cgroup(L, 1);
	const char *file = check_name(L, 2);
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);
	int r;

	h->fd = openat(cg->handle.fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (h->fd < 0 && errno == ENOENT) {
		lua_pushnil(L);
		return 1;
	}
	if (h->fd < 0)
		return carton_raise(L, "read", subject(L, cg, file), errno);
	r = read_all(L, h->fd);
	if (r < 0)
		return carton_raise(L, "read", subject(L, cg, file), -r);
	close(h->fd);
	h->fd = -1;
	return 1;
}

static int write_value(int fd, const char *value, size_t length)
{
	/* nothing written is nothing done: the kernel sees an empty value as an empty line */
	const char *line = length ? value : "\n";
	size_t size = length ? length : 1;
	ssize_t n;

	do
		n = write(fd, line, size);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno;
	return (size_t)n == size ? 0 : EIO;
}

/***
Write to a file of the cgroup, each value in one write.
@function directory:write
@tparam string file
@tparam string|int value
@tparam[opt] string|int ... further values; what follows one that fails is not written
@raise `carton.error`: `ENOENT` the controller is not there, `EINVAL` or `ERANGE` not a value for
it, `EBUSY`
*/
static int directory_write(lua_State *L)
{
	struct cgroup *cg = check_cgroup(L, 1);
	const char *file = check_name(L, 2);
	struct carton_failure failure = {.step = "write", .text = luaL_checkstring(L, 3)};
	int values = lua_gettop(L), fd;

	for (int i = 4; i <= values; i++)
		luaL_checkstring(L, i);
	fd = openat(cg->handle.fd, file, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		failure.errnum = errno;
	for (int i = 3; i <= values && !failure.errnum; i++) {
		failure.text = lua_tostring(L, i);
		failure.errnum = write_value(fd, failure.text, lua_rawlen(L, i));
	}
	if (fd >= 0)
		close(fd);
	if (failure.errnum) {
		failure.path = subject(L, cg, file);
		return carton_raise_failure(L, &failure);
	}
	return 0;
}

/***
Open a file of the cgroup, to be polled with the event `"p"`: it is ready when what it says has
changed.
@function directory:watch
@tparam string file `cgroup.events`, `memory.events`, or a pressure file together with
@tparam[opt] string trigger for example `"some 150000 1000000"`: stall and window in microseconds
@treturn descriptor
@raise `carton.error`: `EOPNOTSUPP` or `EINVAL` no such trigger, `ENOENT`
@see cgroups(7)
*/
static int directory_watch(lua_State *L)
{
	struct cgroup *cg = check_cgroup(L, 1);
	const char *file = check_name(L, 2);
	size_t length = 0;
	const char *trigger = luaL_optlstring(L, 3, NULL, &length);
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);

	h->fd = openat(cg->handle.fd, file,
	               (trigger ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (h->fd < 0 || (trigger && write(h->fd, trigger, length + 1) < 0))
		return carton_raise(L, "watch", subject(L, cg, file), errno);
	return 1;
}

/***
List the cgroups below this one.
@function directory:children
@treturn {string,...} names, sorted by nothing
*/
static int directory_children(lua_State *L)
{
	struct cgroup *cg = check_cgroup(L, 1);
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);
	_Alignas(uint64_t) char entries[4096];
	lua_Integer count = 0;
	long n;

	lua_newtable(L);
	h->fd = openat(cg->handle.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	n = h->fd < 0 ? -errno : 1;
	while (n > 0) {
		n = sys_call(SYS_getdents64, h->fd, entries, sizeof(entries));
		for (long at = 0; at < n;) {
			const struct dirent64 *entry = (const void *)(entries + at);

			at += entry->d_reclen;
			if (entry->d_type != DT_DIR || is_dots(entry->d_name))
				continue;
			lua_pushstring(L, entry->d_name);
			lua_rawseti(L, -2, ++count);
		}
	}
	if (n < 0) /* a list that lacks some is none */
		return carton_raise(L, "children", cg->name, (int)-n);
	close(h->fd);
	h->fd = -1;
	return 1;
}

/***
Give the files that manage the cgroup to a user, so that it can divide it further: delegation.
@function directory:chown
@tparam int uid
@tparam int gid
@raise `carton.error`: `EPERM`
@see cgroups(7)
*/
static int directory_chown(lua_State *L)
{
	static const char *const files[] = {"cgroup.procs", "cgroup.threads",
	                                    "cgroup.subtree_control", "memory.oom.group"};
	struct cgroup *cg = check_cgroup(L, 1);
	uid_t uid = (uid_t)luaL_checkinteger(L, 2);
	gid_t gid = (gid_t)luaL_checkinteger(L, 3);

	if (fchown(cg->handle.fd, uid, gid) < 0)
		return carton_raise(L, "chown", cg->name, errno);
	for (size_t i = 0; i < countof(files); i++)
		if (fchownat(cg->handle.fd, files[i], uid, gid, AT_SYMLINK_NOFOLLOW) < 0 &&
		    errno != ENOENT)
			return carton_raise(L, "chown", subject(L, cg, files[i]), errno);
	return 0;
}

/***
Remove the cgroup, which has to be empty.
@function directory:remove
@treturn boolean false when it is gone already
@raise `carton.error`: `EBUSY` processes or cgroups in it
@see rmdir(2)
*/
static int directory_remove(lua_State *L)
{
	struct cgroup *cg = check_cgroup(L, 1);

	luaL_argcheck(L, cg->parent >= 0, 1, "not opened through the directory above");
	if (unlinkat(cg->parent, cg->name, AT_REMOVEDIR) == 0) {
		lua_pushboolean(L, 1);
		return 1;
	}
	if (errno != ENOENT)
		return carton_raise(L, "remove", cg->name, errno);
	lua_pushboolean(L, 0);
	return 1;
}

/***
Tell whether it is of cgroup v1 or v2.
@function directory:version
@treturn int 1 or 2
*/
static int directory_version(lua_State *L)
{
	lua_pushinteger(L, version_of(check_cgroup(L, 1)->handle.fd));
	return 1;
}

/***
Tell its name in the directory above, or its path.
@function directory:name
@treturn string
*/
static int directory_name(lua_State *L)
{
	lua_pushstring(L, check_cgroup(L, 1)->name);
	return 1;
}

void carton_open_cgroup(lua_State *L)
{
	static const luaL_Reg methods[] = {{"create", directory_create},
	                                   {"open", directory_open},
	                                   {"above", directory_above},
	                                   {"attribute", directory_attribute},
	                                   {"lock", directory_lock},
	                                   {"read", directory_read},
	                                   {"write", directory_write},
	                                   {"watch", directory_watch},
	                                   {"chown", directory_chown},
	                                   {"children", directory_children},
	                                   {"remove", directory_remove},
	                                   {"version", directory_version},
	                                   {"name", directory_name},
	                                   {"close", cgroup_close},
	                                   {NULL, NULL}};
	static const luaL_Reg functions[] = {{"open_directory", cgroup_open_directory},
	                                     {NULL, NULL}};

	carton_newhandletype(L, CARTON_CGROUP, methods);
	luaL_getmetatable(L, CARTON_CGROUP);
	lua_pushcfunction(L, cgroup_close);
	lua_setfield(L, -2, "__gc");
	lua_pushcfunction(L, cgroup_close);
	lua_setfield(L, -2, "__close");
	lua_pop(L, 1);
	luaL_setfuncs(L, functions, 0);
}
