/* SPDX-License-Identifier: MIT */
/* luaopen_carton_core: the tables of functions and types, nothing else. */
#include "carton.h"

#include <lauxlib.h>

#include "apart.h"
#include "error.h"
#include "listener.h"
#include "plan_lua.h"
#include "primitive.h"
#include "process.h"
#include "tables.h"

#if defined(__x86_64__)
#define ARCHITECTURE "x86_64"
#elif defined(__aarch64__)
#define ARCHITECTURE "aarch64"
#else
#define ARCHITECTURE "other"
#endif

/* Of a size that need not grow while it is filled. */
static void new_table(lua_State *L, const char *name, int size, void (*open)(lua_State *L))
{
	lua_createtable(L, 0, size);
	carton_set_primitives(L, name);
	open(L);
	lua_setfield(L, -2, name);
}

static void open_cgroup(lua_State *L)
{
	carton_open_cgroup(L);
	carton_open_device(L);
}

static void open_exec(lua_State *L)
{
	carton_open_spawn(L);
	carton_open_apart(L);
	carton_open_process(L);
	carton_open_descriptor(L);
	carton_open_listener(L);
	carton_open_socket(L);
	lua_getfield(L, -1, "exec"); /* exec here: replace the calling program */
	lua_setfield(L, -2, "replace");
}

CARTON_API int luaopen_carton_core(lua_State *L)
{
	lua_createtable(L, 0, 16);
	carton_open_error(L);
	new_table(L, "namespace", 16, carton_open_namespace);
	new_table(L, "cgroup", 8, open_cgroup);
	new_table(L, "mount", 32, carton_open_mount);
	new_table(L, "exec", 32, open_exec);
	new_table(L, "privilege", 32, carton_open_privilege);
	new_table(L, "host", 16, carton_open_host);
	new_table(L, "bounded", 2, carton_open_bounded);
	lua_pushcfunction(L, carton_validate);
	lua_setfield(L, -2, "validate");
	lua_pushliteral(L, ARCHITECTURE);
	lua_setfield(L, -2, "architecture");
	lua_pushliteral(L, CARTON_VERSION);
	lua_setfield(L, -2, "version");
	return 1;
}
