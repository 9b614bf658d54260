/* SPDX-License-Identifier: MIT */
/***
Userdata that own one descriptor.
@module carton.core
*/
#include "handle.h"

#include <string.h>
#include <unistd.h>

#include "util.h"

void *carton_newbox(lua_State *L, const char *tname, size_t size, int uservalues)
{
	struct carton_handle *h = lua_newuserdatauv(L, size, uservalues);

	memset(h, 0, size);
	h->fd = -1;
	if (luaL_getmetatable(L, tname) != LUA_TTABLE) /* it would never be closed */
		luaL_error(L, "the type '%s' is not made yet", tname);
	lua_setmetatable(L, -2);
	return h;
}

struct carton_handle *carton_newhandle(lua_State *L, const char *tname)
{
	return carton_newbox(L, tname, sizeof(struct carton_handle), 0);
}

static int handle_close(lua_State *L) /* close, __close and __gc */
{
	struct carton_handle *h = luaL_checkudata(L, 1, lua_tostring(L, lua_upvalueindex(1)));
	int fd = h->fd;

	h->fd = -1; /* first: closing twice is harmless */
	if (fd >= 0)
		close(fd);
	return 0;
}

static int handle_tostring(lua_State *L)
{
	const char *tname = lua_tostring(L, lua_upvalueindex(1));
	struct carton_handle *h = luaL_checkudata(L, 1, tname);

	if (h->fd < 0)
		lua_pushfstring(L, "%s (closed)", tname);
	else
		lua_pushfstring(L, "%s (%d)", tname, h->fd);
	return 1;
}

/***
Tell the number of the descriptor, which stays the handle's own.
@function handle:fileno
@treturn int descriptor
@raise a closed handle
*/
static int handle_fileno(lua_State *L)
{
	lua_pushinteger(L, carton_checkfd(L, 1, lua_tostring(L, lua_upvalueindex(1))));
	return 1;
}

void carton_newhandletype(lua_State *L, const char *tname, const luaL_Reg *methods)
{
	static const luaL_Reg meta[] = {{"__close", handle_close},
	                                {"__gc", handle_close},
	                                {"__tostring", handle_tostring},
	                                {NULL, NULL}};
	static const luaL_Reg common[] = {
		{"close", handle_close}, {"fileno", handle_fileno}, {NULL, NULL}};

	int count = countof(common) - 1;

	luaL_newmetatable(L, tname);
	lua_pushstring(L, tname);
	luaL_setfuncs(L, meta, 1);
	for (const luaL_Reg *m = methods; m && m->name; m++)
		count++;
	lua_createtable(L, 0, count);
	lua_pushstring(L, tname);
	luaL_setfuncs(L, common, 1);
	if (methods)
		luaL_setfuncs(L, methods, 0);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
}

int carton_checkfd(lua_State *L, int arg, const char *tname)
{
	struct carton_handle *h = luaL_checkudata(L, arg, tname);

	if (h->fd < 0)
		luaL_error(L, "closed %s", strchr(tname, '.') + 1);
	return h->fd;
}

struct carton_handle *carton_tohandle(lua_State *L, int index)
{
	static const char *const types[] = {CARTON_DESCRIPTOR, CARTON_PROCESS,   CARTON_NAMESPACE,
	                                    CARTON_TREE,       CARTON_DIRECTORY, CARTON_CGROUP,
	                                    CARTON_LISTENER};
	struct carton_handle *h = NULL;

	for (size_t i = 0; i < countof(types) && !h; i++)
		h = luaL_testudata(L, index, types[i]);
	return h;
}
