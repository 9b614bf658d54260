/* SPDX-License-Identifier: MIT */
/***
Lua that comes to an end: functions in time, and data in bounded memory. For modules of Carton only.
@module carton.bounded
*/
#include "tables.h"

#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include <lauxlib.h>
#include <lualib.h>

#define BOUNDED_DATA "carton.bounded.data"
#define CALL_EVERY   10000 /* instructions between two looks at the clock */
#define DATA_EVERY   100   /* the same, where each may copy all memory there is */
#define CLOSINGS     16
#define CLOSING_TIME 1.0 /* seconds */

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct limit {
	double deadline;
	const char *message;
	bool is_over; /* every function of Lua that is called, or goes on for long, raises now */
	bool was_over;
	int closings; /* variables whose __close may still take its time */
};

static _Thread_local struct limit *in_force;

/* How coroutines are entered: coroutine.resume, and what coroutine.wrap returns. */
static lua_CFunction resume_function, wrapped_function;

static void on_event(lua_State *L, lua_Debug *ar);

static void hook_thread(lua_State *L)
{
	lua_sethook(L, on_event, LUA_MASKCALL | LUA_MASKCOUNT, CALL_EVERY);
}

/* A coroutine inherits the hook of the thread that makes it. One that is older gets it when it is
 * entered, unless it has another. */
static void hook_entered(lua_State *L, lua_Debug *ar)
{
	int top = lua_gettop(L);
	lua_CFunction called;
	lua_State *entered = NULL;

	lua_getinfo(L, "f", ar);
	called = lua_tocfunction(L, -1);
	if (called && called == resume_function && lua_getlocal(L, ar, 1))
		entered = lua_tothread(L, -1);
	else if (called && called == wrapped_function && lua_getupvalue(L, -1, 1))
		entered = lua_tothread(L, -1);
	if (entered && !lua_gethook(entered))
		hook_thread(entered);
	lua_settop(L, top);
}

/* What is called: a function of Lua; for a variable that goes out of scope, its __close. */
static bool is_lua(lua_State *L, lua_Debug *ar)
{
	bool is;

	lua_getinfo(L, "f", ar);
	is = !lua_iscfunction(L, -1);
	lua_pop(L, 1);
	return is;
}

static bool is_closing(lua_State *L, lua_Debug *ar)
{
	int top = lua_gettop(L);
	bool is;

	lua_getinfo(L, "f", ar);
	is = lua_getlocal(L, ar, 1) && luaL_getmetafield(L, -1, "__close") != LUA_TNIL &&
	     lua_rawequal(L, -1, top + 1);
	lua_settop(L, top);
	return is;
}

static void on_event(lua_State *L, lua_Debug *ar)
{
	struct limit *limit = in_force;

	if (!limit) { /* a coroutine that outlives the function that made it */
		lua_sethook(L, NULL, 0, 0);
		return;
	}
	if (ar->event == LUA_HOOKCOUNT && seconds_now() > limit->deadline)
		limit->is_over = limit->was_over = true;
	if (limit->is_over && ar->event != LUA_HOOKCOUNT && limit->closings > 0 &&
	    is_closing(L, ar)) {
		limit->closings--;
		limit->is_over = false;
		limit->deadline = seconds_now() + CLOSING_TIME;
	}
	if (limit->is_over && (ar->event == LUA_HOOKCOUNT || is_lua(L, ar))) {
		lua_pushstring(L, limit->message);
		lua_error(L);
	}
	if (ar->event != LUA_HOOKCOUNT)
		hook_entered(L, ar);
}

/***
Call a function that has to return before a deadline. Coroutines count, whoever made them; an error
that the function catches is raised again, while what goes out of scope is closed. A system call
that waits is not interrupted, and neither is the message handler of xpcall: Lua calls it where no
hook is. The function can't yield.
@function call
@tparam number deadline as of `carton.host.monotonic`
@tparam string message what is raised after it
@tparam function f
@param ... its arguments
@treturn boolean whether it returned, in time
@return what it returned, or what it raised
*/
static int bounded_call(lua_State *L)
{
	struct limit limit = {.deadline = luaL_checknumber(L, 1),
	                      .message = luaL_checkstring(L, 2),
	                      .closings = CLOSINGS};
	struct limit *outer = in_force;
	lua_Hook hook = lua_gethook(L);
	int mask = lua_gethookmask(L), count = lua_gethookcount(L), r;

	luaL_checkany(L, 3);
	in_force = &limit;
	hook_thread(L);
	r = lua_pcall(L, lua_gettop(L) - 3, LUA_MULTRET, 0);
	lua_sethook(L, hook, mask, count);
	in_force = outer;
	if (limit.was_over) {
		lua_pushboolean(L, 0);
		lua_pushvalue(L, 2);
		return 2;
	}
	lua_pushboolean(L, r == LUA_OK);
	lua_replace(L, 2);
	return lua_gettop(L) - 1;
}

/* A state of its own, which allocates up to `most` bytes. */
struct data {
	lua_State *D;
	size_t used, most, left; /* `left`: of what is copied out of it */
	lua_Integer instructions;
	double deadline;
	const char *text, *name;
	size_t length;
	int depth;
};

static void *allocate(void *ud, void *block, size_t old, size_t wanted)
{
	struct data *d = ud;
	void *made;

	if (!block)
		old = 0; /* it is a kind of value */
	if (wanted == 0) {
		free(block);
		d->used -= old;
		return NULL;
	}
	if (wanted > old && wanted - old > d->most - d->used)
		return NULL;
	made = realloc(block, wanted);
	if (made)
		d->used += wanted - old;
	return made;
}

static void on_count(lua_State *D, lua_Debug *ar)
{
	void *ud;
	struct data *d;

	(void)ar;
	lua_getallocf(D, &ud);
	d = ud;
	d->instructions -= DATA_EVERY;
	if (d->instructions < 0 || seconds_now() > d->deadline) {
		lua_pushliteral(D, "it does not come to an end");
		lua_error(D);
	}
}

/* The chunk has no library, no globals, and so nothing to call or to catch an error with. */
static int evaluate(lua_State *D)
{
	struct data *d = lua_touserdata(D, 1);

	lua_sethook(D, on_count, LUA_MASKCOUNT, DATA_EVERY);
	if (luaL_loadbufferx(D, d->text, d->length, d->name, "t") != LUA_OK)
		return lua_error(D);
	lua_newtable(D);
	lua_setupvalue(D, -2, 1);
	lua_call(D, 0, 1);
	return 1;
}

static bool spend(struct data *d, size_t bytes)
{
	if (bytes > d->left)
		return false;
	d->left -= bytes;
	return true;
}

/* Push what is on top of the other state; NULL, or what in it is no data. */
static const char *copy(lua_State *L, struct data *d, int depth)
{
	lua_State *D = d->D;
	const char *other = NULL, *text;
	size_t length;

	switch (lua_type(D, -1)) {
	case LUA_TBOOLEAN:
		lua_pushboolean(L, lua_toboolean(D, -1));
		return NULL;
	case LUA_TNUMBER:
		if (lua_isinteger(D, -1))
			lua_pushinteger(L, lua_tointeger(D, -1));
		else
			lua_pushnumber(L, lua_tonumber(D, -1));
		return NULL;
	case LUA_TSTRING:
		text = lua_tolstring(D, -1, &length);
		if (!spend(d, length))
			return "too much text";
		lua_pushlstring(L, text, length);
		return NULL;
	case LUA_TTABLE:
		break;
	default:
		return "a function"; /* without libraries there is nothing else */
	}
	if (depth > d->depth || !lua_checkstack(D, 4))
		return "tables nested too deeply";
	luaL_checkstack(L, 4, "data");
	lua_newtable(L);
	lua_pushnil(D);
	while (!other && lua_next(D, -2)) {
		if (lua_type(D, -2) != LUA_TSTRING && !lua_isinteger(D, -2)) {
			other = "a key that is neither a name nor a place";
		} else if (!spend(d, 64)) {
			other = "too many entries";
		} else {
			lua_pushvalue(D, -2);
			other = copy(L, d, depth + 1); /* its key */
			lua_pop(D, 1);
		}
		if (!other)
			other = copy(L, d, depth + 1);
		if (!other)
			lua_rawset(L, -3);
		lua_pop(D, 1);
	}
	return other;
}

/***
Evaluate Lua that is data, in a state of its own.
@function data
@tparam string text source
@tparam string name of the chunk, for messages
@tparam table most `memory` (bytes, of the state and of the copy each), `instructions`, `seconds`,
`depth` of tables
@treturn ?table a copy of what it returns; nil when that is no data
@treturn ?string why
*/
static int bounded_data(lua_State *L)
{
	struct data *d = lua_newuserdatauv(L, sizeof(*d), 0);
	const char *other;
	size_t length;

	*d = (struct data){.text = luaL_checklstring(L, 1, &length),
	                   .name = luaL_checkstring(L, 2)};
	luaL_setmetatable(L, BOUNDED_DATA);
	d->length = length;
	lua_getfield(L, 3, "memory");
	lua_getfield(L, 3, "instructions");
	lua_getfield(L, 3, "seconds");
	lua_getfield(L, 3, "depth");
	d->most = d->left = (size_t)luaL_checkinteger(L, -4);
	d->instructions = luaL_checkinteger(L, -3);
	d->deadline = seconds_now() + luaL_checknumber(L, -2);
	d->depth = (int)luaL_checkinteger(L, -1);
	d->D = lua_newstate(allocate, d);
	if (!d->D)
		return luaL_error(L, "not enough memory");
	lua_pushcfunction(d->D, evaluate);
	lua_pushlightuserdata(d->D, d);
	if (lua_pcall(d->D, 1, 1, 0) != LUA_OK) {
		lua_pushnil(L);
		lua_pushstring(L, lua_tostring(d->D, -1));
		return 2;
	}
	if (!lua_istable(d->D, -1)) {
		lua_pushnil(L);
		lua_pushfstring(L, "it is a %s", luaL_typename(d->D, -1));
		return 2;
	}
	other = copy(L, d, 1);
	if (other) {
		lua_pushnil(L);
		lua_pushfstring(L, "it holds %s, which is not data", other);
		return 2;
	}
	return 1;
}

static int data_close(lua_State *L)
{
	struct data *d = luaL_checkudata(L, 1, BOUNDED_DATA);

	if (d->D)
		lua_close(d->D);
	d->D = NULL;
	return 0;
}

/* Lua's own, whatever a recipe has put into its table. */
static void find_entries(lua_State *L)
{
	lua_pushcfunction(L, luaopen_coroutine);
	lua_call(L, 0, 1);
	lua_getfield(L, -1, "resume");
	resume_function = lua_tocfunction(L, -1);
	lua_getfield(L, -2, "wrap");
	lua_pushcfunction(L, data_close); /* any function */
	lua_call(L, 1, 1);
	wrapped_function = lua_tocfunction(L, -1);
	lua_pop(L, 3);
}

void carton_open_bounded(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{"call", bounded_call}, {"data", bounded_data}, {NULL, NULL}};

	luaL_newmetatable(L, BOUNDED_DATA);
	lua_pushcfunction(L, data_close);
	lua_setfield(L, -2, "__gc");
	lua_pop(L, 1);
	find_entries(L);
	luaL_setfuncs(L, functions, 0);
}
