/* SPDX-License-Identifier: MIT */
/* Steps of every primitive with fields of every kind, checked and packed as exec.spawn does, and
 * never performed. */
#include <stdbool.h>

#include "args.h"
#include "handle.h"
#include "names.h"
#include "plan_lua.h"
#include "primitive.h"
#include "values.h"

static const struct carton_choice *const choices[] = {
	carton_namespace_names, carton_capability_names, carton_rlimit_names, carton_persona_names,
	carton_policy_names,    carton_ioprio_names,     carton_device_names};

static unsigned int favourite; /* of a step: a list of names is read from one of these */

void push_word(lua_State *L, struct bytes *b)
{
	static const char *const words[] = {
		"ro",   "rw",           "nosuid",  "soft",   "hard", "unlimited",
		"0755", "0-3,8",        "path",    "access", "bind", "name",
		"size", "container_id", "host_id", "/",      "..",   "/proc/self"};
	const struct carton_choice *list = choices[favourite];
	uint8_t which = draw(b);

	if (which < 80) {
		lua_pushstring(L, words[which % (sizeof(words) / sizeof(*words))]);
		return;
	}
	while (list[1].name && which-- > 80)
		list++;
	lua_pushstring(L, list->name);
}

static void push_choice(lua_State *L, struct bytes *b, const struct carton_choice *list)
{
	for (uint8_t which = draw(b); list[1].name && which % 64; which--)
		list++;
	lua_pushstring(L, list->name);
}

/* Digits and a unit, or neither. */
static void push_amount(lua_State *L, struct bytes *b)
{
	static const char *const units[] = {"", "k", "T", "e", "%", "mb"};

	push_number(L, b);
	lua_pushstring(L, units[draw(b) % (sizeof(units) / sizeof(*units))]);
	lua_concat(L, 2);
}

/* What the decoder of a field takes, more or less. */
static void push_fitting(lua_State *L, struct bytes *b, const struct carton_field *f)
{
	static const char *const map[] = {"container_id", "host_id", "size"};
	unsigned int n = draw(b) % 5;

	if (f->decode == carton_decode_choice || f->decode == carton_decode_choices_one) {
		push_choice(L, b, f->aux);
	} else if (f->decode == carton_decode_bool) {
		lua_pushboolean(L, n & 1);
	} else if (f->decode == carton_decode_mode || f->decode == carton_decode_mask ||
	           f->decode == carton_decode_mode_parameter) {
		lua_pushstring(L, n & 1 ? "0755" : "7777");
	} else if (f->decode == carton_decode_size || f->decode == carton_decode_size_parameter ||
	           f->decode == carton_decode_count_parameter) {
		push_amount(L, b);
	} else if (f->decode == carton_decode_integer || f->decode == carton_decode_id ||
	           f->decode == carton_decode_seconds) {
		push_number(L, b);
	} else if (f->decode == carton_decode_string || f->decode == carton_decode_filter) {
		push_text(L, b);
	} else if (f->decode == carton_decode_rlimits) {
		lua_newtable(L);
		for (; n; n--) {
			push_choice(L, b, carton_rlimit_names);
			lua_pushinteger(L, draw(b));
			lua_rawset(L, -3);
		}
	} else {
		lua_newtable(L);
		for (unsigned int i = 1; i <= n; i++) {
			if (f->decode == carton_decode_choices)
				push_choice(L, b, f->aux);
			else if (f->decode == carton_decode_capabilities)
				push_choice(L, b, carton_capability_names);
			else if (f->decode == carton_decode_cpus)
				push_number(L, b);
			else
				lua_newtable(L);
			for (int k = 0; f->decode == carton_decode_idmap && k < 3; k++) {
				lua_pushinteger(L, draw(b));
				lua_setfield(L, -2, map[k]);
			}
			if (lua_istable(L, -1) && f->decode != carton_decode_idmap) {
				lua_pop(L, 1);
				push_word(L, b);
			}
			lua_rawseti(L, -2, i);
		}
	}
}

/* Of one primitive, with some of its fields. */
static void push_step(lua_State *L, struct bytes *b)
{
	const struct carton_primitive *p = carton_primitives;
	uint8_t which = draw(b) % 64;

	while (p[1].name && which--)
		p++;
	favourite = draw(b) % (sizeof(choices) / sizeof(*choices));
	lua_newtable(L);
	lua_pushstring(L, p->name);
	lua_rawseti(L, -2, 1);
	for (const struct carton_field *f = p->fields; f->name; f++) {
		if (draw(b) % 2 && !f->required)
			continue;
		if (draw(b) % 8 == 0)
			push_value(L, b, DEPTH);
		else
			push_fitting(L, b, f);
		lua_setfield(L, -2, f->name);
	}
}

/* Handles that are closed. */
static void push_handle(lua_State *L, struct bytes *b)
{
	static const char *const types[] = {CARTON_NAMESPACE, CARTON_DIRECTORY, CARTON_DESCRIPTOR};

	carton_newhandle(L, types[draw(b) % 3]);
}

static int pack(lua_State *L)
{
	struct bytes *b = lua_touserdata(L, 1);
	struct carton_plan plan = {0};
	struct carton_needs needs = {0};
	struct carton_arena arena;
	uint8_t n = draw(b) % 8;

	lua_newtable(L);
	for (uint8_t i = 1; i <= n; i++) {
		if (draw(b) < 8)
			push_value(L, b, DEPTH);
		else
			push_step(L, b);
		if (draw(b) < 8 && lua_istable(L, -1)) {
			push_word(L, b);
			push_handle(L, b);
			lua_rawset(L, -3);
		}
		lua_rawseti(L, 2, i);
	}
	carton_newarena(L, &arena);
	arena.lazy = true;
	carton_pack(&arena, 2, &plan, &needs);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = {data, size};
	lua_State *L = fuzz_state();

	lua_pushcfunction(L, pack);
	lua_pushlightuserdata(L, &b);
	if (lua_pcall(L, 1, 0, 0) != LUA_OK)
		check_message(L);
	return 0;
}
