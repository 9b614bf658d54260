/* SPDX-License-Identifier: MIT */
/* luaopen_carton_core: the tables of functions and types, nothing else. */
#include "carton.h"

#include <signal.h>
#include <stdbool.h>
#include <string.h>

#include <lauxlib.h>

#include "apart.h"
#include "error.h"
#include "listener.h"
#include "plan_lua.h"
#include "primitive.h"
#include "process.h"
#include "tables.h"
#include "util.h"

#if defined(__x86_64__)
#define ARCHITECTURE "x86_64"
#else
#define ARCHITECTURE "aarch64"
#endif

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

/* The tables, each of a size that need not grow while it is filled. Those that a launch does not
 * need are made when somebody asks for them. */
static const struct table {
	const char *name;
	int size;
	bool late;
	void (*open)(lua_State *L);
} tables[] = {
	{"exec", 32, false, open_exec},
	{"privilege", 32, false, carton_open_privilege},
	{"host", 16, false, carton_open_host},
	{"namespace", 16, true, carton_open_namespace},
	{"cgroup", 8, true, open_cgroup},
	{"mount", 32, true, carton_open_mount},
	{"bounded", 2, true, carton_open_bounded},
	{"errno", 256, true, carton_open_errno},
};

/* A table as a field of the core's, which is at `core`. */
static void new_table(lua_State *L, int core, const struct table *t)
{
	lua_createtable(L, 0, t->size);
	carton_set_primitives(L, t->name);
	t->open(L);
	lua_pushvalue(L, -1);
	lua_setfield(L, core, t->name);
}

static int core_index(lua_State *L)
{
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";

	lua_settop(L, 2);
	for (size_t i = 0; i < countof(tables); i++) {
		if (tables[i].late && strcmp(tables[i].name, name) == 0) {
			new_table(L, 1, &tables[i]);
			return 1;
		}
	}
	return 0;
}

/* Whoever started us may ignore SIGCHLD, which exec(2) hands down: the kernel would reap our
 * children, and how a container ended would be lost. wait(2) */
static void keep_children(void)
{
	struct sigaction action;

	if (sigaction(SIGCHLD, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
		signal(SIGCHLD, SIG_DFL);
}

CARTON_API int luaopen_carton_core(lua_State *L)
{
	keep_children();
	lua_createtable(L, 0, 16);
	carton_open_error(L);
	for (size_t i = 0; i < countof(tables); i++) {
		if (!tables[i].late) {
			new_table(L, lua_absindex(L, -1), &tables[i]);
			lua_pop(L, 1);
		}
	}
	lua_pushcfunction(L, carton_validate);
	lua_setfield(L, -2, "validate");
	lua_pushliteral(L, ARCHITECTURE);
	lua_setfield(L, -2, "architecture");
	lua_pushliteral(L, CARTON_VERSION);
	lua_setfield(L, -2, "version");
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, core_index);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
	return 1;
}
