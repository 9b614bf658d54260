/* SPDX-License-Identifier: MIT */
/* Namespaces as handles.
 * @module carton.namespace */
#include "tables.h"

#include <errno.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <lauxlib.h>

#include "error.h"
#include "handle.h"
#include "names.h"
#include "process.h"
#include "sys.h"

static const char *check_kind(lua_State *L, int arg)
{
	const char *kind = luaL_checkstring(L, arg);

	for (const struct carton_choice *c = carton_namespace_names; c->name; c++)
		if (strcmp(c->name, kind) == 0)
			return c->name;
	luaL_argerror(L, arg, "not a kind of namespace");
	return NULL;
}

/***
Open a namespace of a process, or one that is pinned to a path.
@function open
@tparam int|process|string of process id as the caller's pid namespace numbers it, 0 for the caller; a process; or a path
@tparam string kind `cgroup`, `ipc`, `mnt`, `net`, `pid`, `time`, `user` or `uts`
@treturn namespace a handle; the namespace stays alive until it is closed
@raise `carton.error`: `ENOENT` no such process or path, `EACCES` not ours to inspect, `EINVAL` a path to something else
@see namespaces(7)
@usage local net <close> = carton.namespace.open(0, "net")
*/
static int namespace_open(lua_State *L)
{
	const char *kind = check_kind(L, 2);
	struct carton_handle *h = carton_newhandle(L, CARTON_NAMESPACE);
	const struct carton_choice *c = carton_namespace_names;
	const char *path;
	int type;

	if (lua_type(L, 1) == LUA_TSTRING) {
		path = lua_tostring(L, 1);
	} else {
		lua_Integer pid = luaL_testudata(L, 1, CARTON_PROCESS)
					  ? carton_checkprocess(L, 1)->pid
					  : luaL_checkinteger(L, 1);

		path = pid == 0 ? lua_pushfstring(L, "/proc/self/ns/%s", kind)
				: lua_pushfstring(L, "/proc/%I/ns/%s", (LUAI_UACINT)pid, kind);
	}
	h->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (h->fd < 0)
		return carton_raise(L, "open", path, errno);
	while (strcmp(c->name, kind) != 0)
		c++;
	type = ioctl(h->fd, NS_GET_NSTYPE); /* a path may lead to anything */
	if (type < 0 || (unsigned long)type != c->value)
		return carton_raise(L, "open", path, EINVAL);
	lua_settop(L, 3);
	return 1;
}

/***
Tell the kind of a namespace.
@function namespace:kind
@treturn string as in /proc/PID/ns
@see ioctl_ns(2) NS_GET_NSTYPE
*/
static int namespace_kind(lua_State *L)
{
	int type = ioctl(carton_checkfd(L, 1, CARTON_NAMESPACE), NS_GET_NSTYPE);

	if (type < 0)
		return carton_raise(L, "kind", NULL, errno);
	lua_pushstring(L, carton_name_of(carton_namespace_names, (unsigned long)type));
	return 1;
}

/***
Tell the number of a namespace, by which two handles can be compared.
@function namespace:id
@treturn int inode, as in the link `net:[4026531840]`
@see namespaces(7)
*/
static int namespace_id(lua_State *L)
{
	struct stat st;

	if (fstat(carton_checkfd(L, 1, CARTON_NAMESPACE), &st) < 0)
		return carton_raise(L, "id", NULL, errno);
	lua_pushinteger(L, (lua_Integer)st.st_ino);
	return 1;
}

/***
Keep a namespace alive at a path, until that is unmounted.
@function namespace:pin
@tparam string path a file, made when missing
@raise `carton.error`: `EPERM` not allowed, `EEXIST` not a file
@see namespaces(7)
@usage net:pin("/run/netns/lab")
*/
static int namespace_pin(lua_State *L)
{
	int fd = carton_checkfd(L, 1, CARTON_NAMESPACE);
	const char *path = luaL_checkstring(L, 2);
	long tree, r;
	int to = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);

	if (to < 0 && errno == ENOENT) {
		to = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
		if (to < 0)
			return carton_raise(L, "pin", path, errno);
	}
	if (to < 0)
		return carton_raise(L, "pin", path, errno);
	tree = sys_open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	r = tree < 0 ? tree : sys_move_mount((int)tree, to);
	if (tree >= 0)
		close((int)tree);
	close(to);
	if (r == -EINVAL) { /* before Linux 6.? open_tree(2) took no namespace file */
		char source[40];

		snprintf(source, sizeof(source), "/proc/self/fd/%d", fd);
		r = mount(source, path, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
	}
	return r < 0 ? carton_raise(L, "pin", path, (int)-r) : 0;
}

static int relative(lua_State *L, unsigned long request, const char *op)
{
	int fd = carton_checkfd(L, 1, CARTON_NAMESPACE);
	struct carton_handle *h = carton_newhandle(L, CARTON_NAMESPACE);

	h->fd = ioctl(fd, request);
	if (h->fd < 0)
		return carton_raise(L, op, NULL, errno);
	return 1;
}

/***
Open the user namespace that owns this one.
@function namespace:owner
@treturn namespace
@raise `carton.error`: `EPERM` it is above ours
@see ioctl_ns(2) NS_GET_USERNS
*/
static int namespace_owner(lua_State *L)
{
	return relative(L, NS_GET_USERNS, "owner");
}

/***
Open the parent of a user or pid namespace.
@function namespace:parent
@treturn namespace
@raise `carton.error`: `EPERM` it is above ours, `EINVAL` of another kind
@see ioctl_ns(2) NS_GET_PARENT
*/
static int namespace_parent(lua_State *L)
{
	return relative(L, NS_GET_PARENT, "parent");
}

void carton_open_namespace(lua_State *L)
{
	static const luaL_Reg methods[] = {{"kind", namespace_kind},   {"id", namespace_id},
					   {"pin", namespace_pin},     {"owner", namespace_owner},
					   {"parent", namespace_parent}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"open", namespace_open}, {NULL, NULL}};

	carton_newhandletype(L, CARTON_NAMESPACE, methods);
	luaL_setfuncs(L, functions, 0);
}
