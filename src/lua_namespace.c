/* SPDX-License-Identifier: MIT */
/***
Namespaces as handles.
@module carton.namespace
*/
#include "tables.h"

#include <errno.h>
#include <linux/nsfs.h>
#include <stdbool.h>
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
@tparam int|process|string of process id as the caller's pid namespace numbers it, 0 for the caller;
a process; or a path
@tparam string kind `cgroup`, `ipc`, `mnt`, `net`, `pid`, `time`, `user` or `uts`
@treturn namespace a handle; the namespace stays alive until it is closed
@raise `carton.error`: `ENOENT` no such process or path, `EACCES` not ours to inspect, `EINVAL` a
path to something else
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

/* The sync function of namespace_create: upvalues are the kinds and the table for the handles. */
static int take_namespaces(lua_State *L)
{
	lua_Integer n = (lua_Integer)lua_rawlen(L, lua_upvalueindex(1));

	for (lua_Integer i = 1; i <= n; i++) {
		lua_pushcfunction(L, namespace_open);
		lua_pushvalue(L, 1);
		lua_rawgeti(L, lua_upvalueindex(1), i);
		lua_call(L, 2, 1);
		lua_rawgeti(L, lua_upvalueindex(1), i);
		lua_insert(L, -2);
		lua_rawset(L, lua_upvalueindex(2));
	}
	return 0;
}

/* Push a step of that name with the fields of the table at `fields`, and append it. */
static void add_step(lua_State *L, int steps, const char *name, int fields,
                     const char *const *known)
{
	lua_newtable(L);
	lua_pushstring(L, name);
	lua_rawseti(L, -2, 1);
	for (; fields && *known; known++) {
		lua_getfield(L, fields, *known);
		lua_setfield(L, -2, *known);
	}
	lua_rawseti(L, steps, (lua_Integer)lua_rawlen(L, steps) + 1);
}

static void check_create_fields(lua_State *L, int arg)
{
	static const char *const known[] = {"uids", "gids", "monotonic", "boottime", NULL};

	luaL_checktype(L, arg, LUA_TTABLE);
	for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) {
		const char *const *k = known;

		while (*k &&
		       (lua_type(L, -2) != LUA_TSTRING || strcmp(*k, lua_tostring(L, -2)) != 0))
			k++;
		if (!*k)
			carton_misuse(L, "namespace.create: unknown field '%s'",
			              luaL_tolstring(L, -2, NULL));
	}
}

/***
Make namespaces without entering them.
@function create
@tparam string|{string,...} kinds one kind, or several: with `user` among them, the others belong to
it. Not `pid`, which lives only as long as its first process
@tparam[opt] table fields `uids` and `gids`, the maps of the user namespace, as of `idmap`;
`monotonic` and `boottime`, the offsets of the time namespace in seconds
@treturn namespace|table a handle, or for a list a table of them by kind
@raise `carton.error` as of `exec.spawn`
@see namespaces(7)
@usage local net <close> = carton.namespace.create("net")
*/
static int namespace_create(lua_State *L)
{
	static const char *const maps[] = {"uids", "gids", NULL};
	static const char *const offsets[] = {"monotonic", "boottime", NULL};
	bool list = lua_istable(L, 1);
	int fields = lua_isnoneornil(L, 2) ? 0 : 2;
	int kinds, result, steps, namespaces;

	lua_settop(L, 2);
	if (fields)
		check_create_fields(L, fields);
	if (!list) {
		lua_createtable(L, 1, 0);
		lua_pushvalue(L, 1);
		lua_rawseti(L, -2, 1);
		lua_replace(L, 1);
	}
	kinds = 1;
	lua_newtable(L);
	result = lua_gettop(L);
	lua_newtable(L);
	steps = lua_gettop(L);
	lua_newtable(L);
	namespaces = lua_gettop(L);
	for (lua_Integer i = 1; lua_rawgeti(L, kinds, i) != LUA_TNIL;
	     i++, lua_settop(L, namespaces)) {
		const char *kind = check_kind(L, -1);

		luaL_argcheck(L, strcmp(kind, "pid") != 0, 1,
		              "a pid namespace lives only as long as its first process");
		if (strcmp(kind, "time") == 0) { /* after the user namespace is mapped */
			add_step(L, steps, "namespace.time_offsets", fields, offsets);
			continue;
		}
		if (strcmp(kind, "user") == 0 && fields &&
		    lua_getfield(L, fields, "uids") != LUA_TNIL)
			add_step(L, steps, "namespace.idmap", fields, maps);
		lua_pushstring(L, kind);
		lua_rawseti(L, namespaces, (lua_Integer)lua_rawlen(L, namespaces) + 1);
	}
	lua_settop(L, namespaces);
	lua_createtable(L, 0, 2); /* { "sync", name = "open" } */
	lua_pushliteral(L, "sync");
	lua_rawseti(L, -2, 1);
	lua_pushliteral(L, "open");
	lua_setfield(L, -2, "name");
	lua_rawseti(L, steps, (lua_Integer)lua_rawlen(L, steps) + 1);

	lua_pushcfunction(L, carton_spawn);
	lua_createtable(L, 0, 3);
	lua_pushvalue(L, steps);
	lua_setfield(L, -2, "steps");
	lua_pushvalue(L, namespaces);
	lua_setfield(L, -2, "namespaces");
	lua_createtable(L, 0, 1);
	lua_pushvalue(L, kinds);
	lua_pushvalue(L, result);
	lua_pushcclosure(L, take_namespaces, 2);
	lua_setfield(L, -2, "open");
	lua_setfield(L, -2, "sync");
	lua_call(L, 1, 1);
	carton_reap(carton_checkprocess(L, -1), true);
	close(carton_checkprocess(L, -1)->handle.fd);
	carton_checkprocess(L, -1)->handle.fd = -1;
	lua_settop(L, result);
	if (!list) {
		lua_rawgeti(L, kinds, 1);
		lua_rawget(L, result);
	}
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
	bool made = false;
	long tree, r;
	int to = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);

	if (to < 0 && errno == ENOENT) {
		to = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
		made = to >= 0;
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
	if (r < 0 && made)
		unlink(path);
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
	static const luaL_Reg methods[] = {{"kind", namespace_kind},     {"id", namespace_id},
	                                   {"pin", namespace_pin},       {"owner", namespace_owner},
	                                   {"parent", namespace_parent}, {NULL, NULL}};
	static const luaL_Reg functions[] = {
		{"open", namespace_open}, {"create", namespace_create}, {NULL, NULL}};

	carton_newhandletype(L, CARTON_NAMESPACE, methods);
	luaL_setfuncs(L, functions, 0);
}
