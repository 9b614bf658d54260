/* SPDX-License-Identifier: MIT */
/* Option tables: fields described as data, read into a C struct, unknown ones refused by name. */
#include "args.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>

#include <lauxlib.h>

#include "apart.h"
#include "error.h"
#include "handle.h"
#include "names.h"
#include "step.h"
#include "sys.h"
#include "util.h"

#define LIST_LIMIT    65536
#define ARGS_LIMIT    (1024 * 1024) /* more than execve(2) takes */
#define STRINGS_LIMIT (8 * 1024 * 1024)

#ifdef __SANITIZE_ADDRESS__
#define CHUNK 0 /* each block is one of its own, whose end the sanitizer sees */
#else
#define CHUNK 4096
#endif

void carton_newarena(lua_State *L, struct carton_arena *arena)
{
	memset(arena, 0, sizeof(*arena));
	lua_newtable(L);
	arena->L = L;
	arena->anchor = lua_gettop(L);
}

static void *new_chunk(struct carton_arena *arena, size_t size)
{
	void *block;

	if (arena->apart)
		return carton_new_apart(arena->L, arena->apart, size);
	block = lua_newuserdatauv(arena->L, size, 0);
	lua_rawseti(arena->L, arena->anchor, (lua_Integer)lua_rawlen(arena->L, arena->anchor) + 1);
	return block;
}

void *carton_alloc(struct carton_arena *arena, size_t size)
{
	void *block;

	size = (size + 15) & ~(size_t)15;
	if (size > arena->left) {
		size_t chunk = size > CHUNK / 2 ? size : CHUNK;

		block = new_chunk(arena, chunk);
		if (chunk == size) { /* a block of its own; the present chunk goes on */
			memset(block, 0, size);
			return block;
		}
		arena->at = block;
		arena->left = chunk;
	}
	block = arena->at;
	arena->at += size;
	arena->left -= size;
	memset(block, 0, size);
	return block;
}

int carton_badfield(struct carton_arena *arena, const char *format, ...)
{
	lua_State *L = arena->L;
	va_list list;

	if (arena->index > 0)
		lua_pushfstring(L, "step %I, %s: ", (LUAI_UACINT)arena->index, arena->step);
	else
		lua_pushfstring(L, "%s: ", arena->step);
	if (arena->field)
		lua_pushfstring(L, "field '%s': ", arena->field);
	else
		lua_pushliteral(L, "");
	va_start(list, format);
	lua_pushvfstring(L, format, list);
	va_end(list);
	lua_concat(L, 3);
	return carton_misuse(L, "%s", lua_tostring(L, -1));
}

void carton_expect(struct carton_arena *arena, bool holds, const char *what)
{
	if (!holds)
		carton_badfield(arena, "%s expected, got %s", what, luaL_typename(arena->L, -1));
}

static void push_fallback(lua_State *L, const char *fallback)
{
	if (strcmp(fallback, "true") == 0)
		lua_pushboolean(L, 1);
	else if (fallback[0] == '#')
		lua_stringtonumber(L, fallback + 1);
	else
		lua_pushstring(L, fallback);
}

static const char *nearest(const struct carton_field *fields, const char *name)
{
	const char *best = NULL;
	size_t most = 2;

	for (; fields->name; fields++) { /* the longest common run of the two from either end */
		size_t a = strlen(fields->name), b = strlen(name), head = 0, tail = 0;

		while (head < a && head < b && fields->name[head] == name[head])
			head++;
		while (tail < a && tail < b && fields->name[a - 1 - tail] == name[b - 1 - tail])
			tail++;
		if (head + tail > most) {
			most = head + tail;
			best = fields->name;
		}
	}
	return best;
}

static void refuse_unknown(struct carton_arena *arena, int index, const struct carton_field *fields,
                           const char *skip)
{
	lua_State *L = arena->L;
	const struct carton_field *f;

	lua_pushnil(L);
	while (lua_next(L, index)) {
		lua_pop(L, 1);
		if (lua_type(L, -1) != LUA_TSTRING) {
			if (lua_isinteger(L, -1) && lua_tointeger(L, -1) == 1 && arena->index > 0)
				continue; /* the step's name */
			lua_pushvalue(L, -1);
			carton_badfield(arena, "unknown field '%s'", luaL_tolstring(L, -1, NULL));
		}
		for (f = fields; f->name && strcmp(f->name, lua_tostring(L, -1)) != 0; f++)
			;
		if (!f->name && !(skip && strcmp(skip, lua_tostring(L, -1)) == 0)) {
			const char *meant = nearest(fields, lua_tostring(L, -1));

			carton_badfield(arena, "unknown field '%s'%s%s%s", lua_tostring(L, -1),
			                meant ? " (did you mean '" : "", meant ? meant : "",
			                meant ? "'?)" : "");
		}
	}
}

void carton_decode(struct carton_arena *arena, int index, const struct carton_field *fields,
                   void *out, const char *skip)
{
	lua_State *L = arena->L;

	index = lua_absindex(L, index);
	luaL_checkstack(L, 20, NULL);
	arena->field = NULL;
	refuse_unknown(arena, index, fields,
	               skip); /* first: a misspelt field is also a missing one */
	for (; fields->name; fields++) {
		const struct carton_field *f = fields;

		lua_pushstring(L, f->name);
		lua_rawget(L, index);
		arena->field = f->name;
		arena->absent = lua_isnil(L, -1) && f->fallback;
		if (arena->absent) {
			lua_pop(L, 1);
			push_fallback(L, f->fallback);
		}
		if (!lua_isnil(L, -1))
			f->decode(arena, f, (char *)out + f->offset);
		else if (f->required)
			carton_badfield(arena, "is missing");
		lua_pop(L, 1);
	}
	arena->field = NULL;
	if (fields->decode)
		fields->decode(arena, fields, out);
}

const char *carton_copy_bytes(struct carton_arena *arena, const char *s, size_t length)
{
	char *copy = carton_alloc(arena, length + 1);

	memcpy(copy, s, length);
	return copy;
}

/* The string on top, copied; no NUL inside, no number in its place. */
const char *carton_copy_string(struct carton_arena *arena)
{
	size_t length;
	const char *s;

	carton_expect(arena, lua_type(arena->L, -1) == LUA_TSTRING, "string");
	s = lua_tolstring(arena->L, -1, &length);
	if (strlen(s) != length)
		carton_badfield(arena, "string holds a NUL byte");
	return carton_copy_bytes(arena, s, length);
}

void carton_decode_string(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	(void)field;
	*(const char **)out = carton_copy_string(arena);
}

void carton_decode_bytes(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	struct {
		const char *content;
		uint64_t length;
	} *bytes = out;
	size_t length;
	const char *s;

	(void)field;
	carton_expect(arena, lua_type(arena->L, -1) == LUA_TSTRING, "string");
	s = lua_tolstring(arena->L, -1, &length);
	bytes->content = carton_copy_bytes(arena, s, length);
	bytes->length = length;
}

/* Length of the list on top of the stack; raises when it is none or too long. A name or an item
 * behind a hole would be left out. Items below 1 are the script's name and options, in `arg`. */
static uint32_t list_length(struct carton_arena *arena, const char *beside, int limit)
{
	lua_State *L = arena->L;
	lua_Unsigned n, found = 0;

	carton_expect(arena, lua_istable(L, -1), "list");
	n = lua_rawlen(L, -1);
	if (n > (lua_Unsigned)limit)
		carton_badfield(arena, "list of more than %d entries", limit);
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		if (lua_isinteger(L, -2)) {
			if (lua_tointeger(L, -2) > (lua_Integer)n)
				carton_badfield(arena, "the list has a hole before item %I",
				                (LUAI_UACINT)lua_tointeger(L, -2));
			found += lua_tointeger(L, -2) > 0;
		} else if (lua_type(L, -2) != LUA_TSTRING || !beside ||
		           strcmp(lua_tostring(L, -2), beside) != 0) {
			lua_pushvalue(L, -2);
			carton_badfield(arena,
			                beside ? "unknown field '%s'"
			                       : "list expected, got the key '%s'",
			                luaL_tolstring(L, -1, NULL));
		}
	}
	if (found < n)
		carton_badfield(arena, "the list has a hole");
	return (uint32_t)n;
}

uint32_t carton_list_length(struct carton_arena *arena)
{
	return list_length(arena, NULL, LIST_LIMIT);
}

void carton_decode_strings(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	struct carton_strings *list = out;
	size_t all = 0;

	(void)field;
	if (lua_type(arena->L, -1) == LUA_TSTRING) {
		list->count = 1;
		list->items = carton_alloc(arena, 2 * sizeof(char *));
		list->items[0] = carton_copy_string(arena);
		return;
	}
	list->count = list_length(arena, NULL, ARGS_LIMIT);
	list->items = carton_alloc(arena, (list->count + 1) * sizeof(char *));
	for (uint32_t i = 0; i < list->count; i++) {
		lua_rawgeti(arena->L, -1, i + 1);
		list->items[i] = carton_copy_string(arena);
		all += strlen(list->items[i]) + 1;
		if (all > STRINGS_LIMIT)
			carton_badfield(arena, "list of more than %d bytes", STRINGS_LIMIT);
		lua_pop(arena->L, 1);
	}
}

void carton_decode_args(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	struct carton_strings *list = out;
	const char **items;

	carton_expect(arena, lua_istable(arena->L, -1), "list of strings");
	carton_decode_strings(arena, field, out);
	if (list->count == 0)
		carton_badfield(arena, "is empty");
	items = carton_alloc(arena, (list->count + 1 + CARTON_ARGS_SPARE) * sizeof(char *));
	memcpy(items + CARTON_ARGS_SPARE, list->items, (list->count + 1) * sizeof(char *));
	list->items = items + CARTON_ARGS_SPARE;
}

void carton_decode_groups(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;
	struct carton_strings *list = out;

	list->count = carton_list_length(arena);
	list->items = carton_alloc(arena, (list->count + 1) * sizeof(char *));
	for (uint32_t i = 0; i < list->count; i++) {
		lua_rawgeti(L, -1, i + 1);
		if (lua_isinteger(L, -1)) {
			lua_pushfstring(L, "%I", (LUAI_UACINT)lua_tointeger(L, -1));
			lua_replace(L, -2);
		}
		list->items[i] = carton_copy_string(arena);
		lua_pop(L, 1);
	}
	*(bool *)((char *)out - field->offset + (size_t)field->aux) = true;
}

/* Sorted by name, so that a plan is the same at each run. */
void carton_sort_strings(const char **items, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++) {
		const char *item = items[i];
		uint32_t at = i;

		for (; at > 0 && strcmp(items[at - 1], item) > 0; at--)
			items[at] = items[at - 1];
		items[at] = item;
	}
}

void carton_decode_env(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;
	struct carton_strings *list = out;
	uint32_t count = 0;

	carton_expect(arena, lua_istable(L, -1), "table");
	if (lua_rawlen(L, -1) > 0) {
		carton_decode_strings(arena, field, out);
		for (uint32_t i = 0; i < list->count; i++)
			if (!strchr(list->items[i], '=') || list->items[i][0] == '=')
				carton_badfield(arena, "'%s' is not NAME=VALUE", list->items[i]);
		return;
	}
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
		count++;
	if (count > LIST_LIMIT)
		carton_badfield(arena, "more than %d entries", LIST_LIMIT);
	list->items = carton_alloc(arena, (count + 1) * sizeof(char *));
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING ||
		    (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER))
			carton_badfield(arena, "names and values are strings");
		if (lua_rawlen(L, -2) == 0 || strchr(lua_tostring(L, -2), '='))
			carton_badfield(arena, "'%s' is not a variable's name",
			                lua_tostring(L, -2));
		lua_pushvalue(L, -2);
		lua_pushliteral(L, "=");
		lua_pushvalue(L, -3);
		lua_concat(L, 3);
		list->items[list->count++] = carton_copy_string(arena);
		lua_pop(L, 1);
	}
	carton_sort_strings(list->items, list->count);
}

void carton_decode_bool(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	(void)field;
	carton_expect(arena, lua_isboolean(arena->L, -1), "boolean");
	*(bool *)out = lua_toboolean(arena->L, -1);
}

void carton_decode_integer(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	const struct carton_range *range = field->aux;
	lua_Integer n;

	carton_expect(arena, lua_isinteger(arena->L, -1), "integer");
	n = lua_tointeger(arena->L, -1);
	if (range && !arena->absent && (n < range->least || n > range->most))
		carton_badfield(arena, "an integer from %I to %I expected",
		                (LUAI_UACINT)range->least, (LUAI_UACINT)range->most);
	*(int64_t *)out = n;
}

void carton_decode_id(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	carton_decode_integer(arena, field, out);
	if (!arena->absent && (*(int64_t *)out < 0 || *(int64_t *)out >= UINT32_MAX))
		carton_badfield(arena, "an id is from 0 to 4294967294");
}

void carton_decode_mode(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	const char *s;
	uint32_t mode = 0;

	(void)field;
	if (arena->absent && lua_isinteger(arena->L, -1)) {
		*(uint32_t *)out = CARTON_NO_MODE;
		return;
	}
	carton_expect(arena, lua_type(arena->L, -1) == LUA_TSTRING,
	              "mode as a string such as \"0755\"");
	s = lua_tostring(arena->L, -1);
	for (const char *c = s; *c; c++) {
		if (*c < '0' || *c > '7' || mode > 0777)
			carton_badfield(arena, "'%s' is not an octal mode", s);
		mode = mode * 8 + (uint32_t)(*c - '0');
	}
	if (!*s || mode > 07777)
		carton_badfield(arena, "'%s' is not an octal mode", s);
	*(uint32_t *)out = mode;
}

void carton_decode_mask(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	uint32_t mode;

	carton_decode_mode(arena, field, &mode);
	if (mode > 0777)
		carton_badfield(arena, "'%s' is not a mask", lua_tostring(arena->L, -1));
	*(int64_t *)out = mode;
}

unsigned long carton_tochoice(struct carton_arena *arena, const struct carton_choice *choices)
{
	lua_State *L = arena->L;
	int parts = 0;

	carton_expect(arena, lua_type(L, -1) == LUA_TSTRING, "name");
	for (const struct carton_choice *c = choices; c->name; c++)
		if (strcmp(c->name, lua_tostring(L, -1)) == 0)
			return c->value;
	lua_pushvalue(L, -1);
	lua_pushliteral(L, "");
	for (; parts < 64 && choices[parts].name; parts++) {
		lua_pushfstring(L, " %s", choices[parts].name);
		lua_concat(L, 2);
	}
	return (unsigned long)carton_badfield(arena, "unknown name '%s', known are%s",
	                                      lua_tostring(L, -2), lua_tostring(L, -1));
}

void carton_decode_choice(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	*(unsigned int *)out = (unsigned int)carton_tochoice(arena, field->aux);
}

void carton_join_choices(struct carton_arena *arena, const struct carton_choice *choices,
                         const char *beside, uint64_t *out)
{
	uint32_t n = list_length(arena, beside, LIST_LIMIT);

	for (uint32_t i = 0; i < n; i++) {
		lua_rawgeti(arena->L, -1, i + 1);
		*out |= carton_tochoice(arena, choices);
		lua_pop(arena->L, 1);
	}
}

void carton_decode_choices(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	carton_join_choices(arena, field->aux, NULL, out);
}

void carton_decode_choices_one(struct carton_arena *arena, const struct carton_field *field,
                               void *out)
{
	*(uint64_t *)out = carton_tochoice(arena, field->aux);
}

void carton_decode_constant(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	if (strcmp(carton_copy_string(arena), field->aux) != 0)
		carton_badfield(arena, "is '%s' here", (const char *)field->aux);
	*(const char **)out = field->aux;
}
