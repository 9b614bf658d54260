/* SPDX-License-Identifier: MIT */
/* Lua values out of bytes: of every type, nested, with words that mean something, and with tables
 * that lie about themselves. */
#ifndef CARTON_FUZZ_VALUES_H
#define CARTON_FUZZ_VALUES_H

#include "fuzz.h"

#define DEPTH 6

/* Push one of the words that the decoders look for. */
void push_word(lua_State *L, struct bytes *b);

static inline int refuse(lua_State *L)
{
	return luaL_error(L, "a metamethod was called");
}

static inline void push_value(lua_State *L, struct bytes *b, int depth);

static inline void push_table(lua_State *L, struct bytes *b, int depth, bool list)
{
	unsigned int n = draw(b) % 9;

	lua_newtable(L);
	for (unsigned int i = 1; i <= n && b->left; i++) {
		if (!list)
			push_word(L, b);
		push_value(L, b, depth - 1);
		if (list)
			lua_rawseti(L, -2, i);
		else
			lua_rawset(L, -3);
	}
}

/* A list of one value, very often. */
static inline void push_long_list(lua_State *L, struct bytes *b)
{
	lua_Integer n = 1 << (8 + draw(b) % 10);

	push_value(L, b, 0);
	lua_newtable(L);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_pushvalue(L, -2);
		lua_rawseti(L, -2, i);
	}
	lua_remove(L, -2);
}

static inline void push_liar(lua_State *L, struct bytes *b, int depth)
{
	static const luaL_Reg meta[] = {
		{"__index", refuse}, {"__newindex", refuse}, {"__len", refuse}, {"__pairs", refuse},
		{"__eq", refuse},    {"__concat", refuse},   {NULL, NULL}};

	push_table(L, b, depth, draw(b) & 1);
	luaL_newlib(L, meta);
	lua_setmetatable(L, -2);
}

static inline void push_number(lua_State *L, struct bytes *b)
{
	static const lua_Integer edges[] = {-1,         0,         1,         255,
	                                    256,        65535,     65536,     INT32_MAX,
	                                    UINT32_MAX, 1LL << 32, INT64_MAX, INT64_MIN};
	uint8_t kind = draw(b);
	union {
		uint64_t bits;
		double number;
	} u;

	if (kind < 100) {
		lua_pushinteger(L, draw(b));
	} else if (kind < 180) {
		lua_pushinteger(L, edges[draw(b) % (sizeof(edges) / sizeof(edges[0]))]);
	} else if (kind < 220) {
		lua_pushinteger(L, (lua_Integer)draw_number(b, 8));
	} else {
		u.bits = draw_number(b, 8);
		lua_pushnumber(L, u.number);
	}
}

static inline void push_text(lua_State *L, struct bytes *b)
{
	size_t length, most = draw(b) % 32;
	char *text = draw_text(b, most, &length);

	lua_pushlstring(L, text, length);
	free(text);
}

static inline void push_value(lua_State *L, struct bytes *b, int depth)
{
	luaL_checkstack(L, 20, NULL);
	switch (draw(b) % (depth > 0 ? 14 : 7)) {
	case 0:
		lua_pushboolean(L, draw(b) & 1);
		break;
	case 1:
	case 2:
		push_number(L, b);
		break;
	case 3:
	case 4:
		push_word(L, b);
		break;
	case 5:
		push_text(L, b);
		break;
	case 6:
		lua_pushcfunction(L, refuse);
		break;
	case 7:
		push_liar(L, b, depth);
		break;
	case 8:
		push_long_list(L, b);
		break;
	case 9:
	case 10:
	case 11:
		push_table(L, b, depth, true);
		break;
	default:
		push_table(L, b, depth, false);
	}
}

#endif
