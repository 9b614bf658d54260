/* SPDX-License-Identifier: MIT */
/* The program: one Lua state with the core and all modules inside, one protected call, exit status.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include <lauxlib.h>
#include <lualib.h>

#include "carton.h"
#include "modules.h"
#include "step.h"

/* package.searchers: the modules of lua/, compiled ahead. */
static int search_module(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);

	for (const struct carton_module *m = carton_modules; m->name; m++) {
		if (strcmp(m->name, name) != 0)
			continue;
		lua_pushfstring(L, "=%s", name);
		if (luaL_loadbufferx(L, (const char *)m->data, m->size, lua_tostring(L, -1), "b") !=
		    LUA_OK)
			return lua_error(L);
		lua_pushliteral(L, ":carton:");
		return 2;
	}
	lua_pushfstring(L, "no module '%s' in carton", name);
	return 1;
}

/* After package.preload, before the files: our own modules come from the program and nowhere else.
 */
static void add_searcher(lua_State *L)
{
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "searchers");
	for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 2; i--) {
		lua_rawgeti(L, -1, i);
		lua_rawseti(L, -2, i + 1);
	}
	lua_pushcfunction(L, search_module);
	lua_rawseti(L, -2, 2);
	lua_pop(L, 2);
}

static int protected_main(lua_State *L)
{
	int argc = (int)lua_tointeger(L, 1);
	char **argv = lua_touserdata(L, 2);

	luaL_openlibs(L);
	add_searcher(L);
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	lua_pushcfunction(L, luaopen_carton_core);
	lua_setfield(L, -2, "carton.core");
	lua_createtable(L, argc, 1);
	for (int i = 0; i < argc; i++) {
		lua_pushstring(L, argv[i]);
		lua_rawseti(L, -2, i);
	}
	lua_setglobal(L, "arg");
	lua_getglobal(L, "require");
	lua_pushliteral(L, "carton.command");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "main");
	lua_getglobal(L, "arg");
	lua_call(L, 1, 1);
	return 1;
}

int main(int argc, char *argv[])
{
	lua_State *L;
	int status = CARTON_EXIT_SETUP;

	if (getauxval(AT_SECURE)) { /* whoever names the recipe would be who owns the program */
		fprintf(stderr, "carton: does not run with set-user-ID or file capabilities\n");
		return status;
	}
	L = luaL_newstate();
	if (!L) {
		fprintf(stderr, "carton: not enough memory\n");
		return status;
	}
	/* The short path lives too briefly for the collector to earn anything. */
	lua_gc(L, LUA_GCGEN, 0, 0);
	lua_pushcfunction(L, protected_main);
	lua_pushinteger(L, argc);
	lua_pushlightuserdata(L, argv);
	if (lua_pcall(L, 2, 1, 0) == LUA_OK) {
		status = (int)lua_tointeger(L, -1);
	} else {
		luaL_tolstring(L, -1, NULL);
		fprintf(stderr, "carton: %s\n", lua_tostring(L, -1));
	}
	lua_close(L);
	if (fflush(stdout) != 0 && status == 0)
		status = CARTON_EXIT_SETUP;
	return status;
}
