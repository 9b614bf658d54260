/* SPDX-License-Identifier: MIT */
/* The program, whose allocator fails when it is told to: with the variable STARVE=N at the Nth
 * request for memory, and with the Lua function starve(N) at the Nth from there on. Lua asks once
 * more after it has collected what nobody needs; that fails, too. starve() tells whether it did. */
#include <stdlib.h>

#include <lua.h>

static lua_State *starved_state(lua_Alloc usual, void *ud);

#define lua_newstate(usual, ud) starved_state(usual, ud)
#include "../../src/main.c"
#undef lua_newstate

static struct {
	lua_Alloc allocate;
	unsigned long left; /* requests until one fails, 0: none will */
	bool done;
	void *block; /* of the one that failed, until it is asked for again */
	size_t old, size;
} hunger;

static void *fail_in_turn(void *ud, void *block, size_t old, size_t size)
{
	bool more = size > 0 && (!block || size > old);

	bool again = more && hunger.size == size && hunger.block == block && hunger.old == old;

	if (more)
		hunger.size = 0;
	if (again)
		return NULL;
	if (more && hunger.left && --hunger.left == 0) {
		hunger.done = true;
		hunger.block = block;
		hunger.old = old;
		hunger.size = size;
		return NULL;
	}
	return hunger.allocate(ud, block, old, size);
}

static int starve(lua_State *L)
{
	bool was = hunger.done;

	hunger.left = (unsigned long)luaL_optinteger(L, 1, 0);
	hunger.size = 0;
	hunger.done = false;
	lua_pushboolean(L, was);
	return 1;
}

static lua_State *starved_state(lua_Alloc usual, void *ud)
{
	const char *number = getenv("STARVE");
	lua_State *L;

	hunger.allocate = usual;
	hunger.left = number ? strtoul(number, NULL, 10) : 0;
	L = lua_newstate(fail_in_turn, ud);
	if (L && !number)
		lua_register(L, "starve", starve);
	return L;
}
