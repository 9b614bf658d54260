/* SPDX-License-Identifier: MIT */
/* Lines of /proc/PID/mountinfo and /proc/PID/status, of which others choose parts. */
#include "fuzz.h"

#include "../../src/lua_mount.c"
#include "../../src/lua_privilege.c"

static int take(lua_State *L)
{
	struct bytes *b = lua_touserdata(L, 1);
	uint8_t kind = draw(b);
	size_t length;
	char *line = draw_text(b, 4096, &length);

	lua_pushstring(L, line);
	free(line);
	if (kind & 1) {
		push_mount(L, lua_tostring(L, 2));
	} else {
		lua_newtable(L);
		take_line(L, lua_tostring(L, 2));
	}
	luaL_checktype(L, 3, LUA_TTABLE);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = {data, size};
	lua_State *L = fuzz_state();

	lua_pushcfunction(L, take);
	lua_pushlightuserdata(L, &b);
	if (lua_pcall(L, 1, 0, 0) != LUA_OK)
		check_message(L);
	return 0;
}
