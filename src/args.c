/* SPDX-License-Identifier: MIT */
/* Option tables: fields described as data, read into a C struct, unknown ones refused by name. */
#include "args.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>

#include <lauxlib.h>

#include "error.h"
#include "handle.h"
#include "names.h"
#include "step.h"
#include "sys.h"
#include "util.h"

#define LIST_LIMIT    65536
#define STRINGS_LIMIT (8 * 1024 * 1024)

void carton_newarena(lua_State *L, struct carton_arena *arena)
{
	memset(arena, 0, sizeof(*arena));
	lua_newtable(L);
	arena->L = L;
	arena->anchor = lua_gettop(L);
}

void *carton_alloc(struct carton_arena *arena, size_t size)
{
	void *block;

	size = (size + 15) & ~(size_t)15;
	if (size > arena->left) {
		size_t chunk = size > 2048 ? size : 4096;

		block = lua_newuserdatauv(arena->L, chunk, 0);
		lua_rawseti(arena->L, arena->anchor, (lua_Integer)lua_rawlen(arena->L, arena->anchor) + 1);
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

/* Keep the value on top of the stack alive as long as the arena. */
static void anchor_value(struct carton_arena *arena)
{
	lua_pushvalue(arena->L, -1);
	lua_rawseti(arena->L, arena->anchor, (lua_Integer)lua_rawlen(arena->L, arena->anchor) + 1);
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

static void expect(struct carton_arena *arena, bool holds, const char *what)
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
	for (const struct carton_field *f = fields; f->name; f++) {
		lua_pushstring(L, f->name);
		lua_rawget(L, index);
		arena->field = f->name;
		if (lua_isnil(L, -1) && f->fallback) {
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
	refuse_unknown(arena, index, fields, skip);
}

static const char *copy_bytes(struct carton_arena *arena, const char *s, size_t length)
{
	char *copy = carton_alloc(arena, length + 1);

	memcpy(copy, s, length);
	return copy;
}

/* The string on top, copied; no NUL inside, no number in its place. */
static const char *copy_string(struct carton_arena *arena)
{
	size_t length;
	const char *s;

	expect(arena, lua_type(arena->L, -1) == LUA_TSTRING, "string");
	s = lua_tolstring(arena->L, -1, &length);
	if (strlen(s) != length)
		carton_badfield(arena, "string holds a NUL byte");
	return copy_bytes(arena, s, length);
}

void carton_decode_string(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	(void)field;
	*(const char **)out = copy_string(arena);
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
	expect(arena, lua_type(arena->L, -1) == LUA_TSTRING, "string");
	s = lua_tolstring(arena->L, -1, &length);
	bytes->content = copy_bytes(arena, s, length);
	bytes->length = length;
}

/* Length of the list on top of the stack; raises when it is none or too long. */
static uint32_t list_length(struct carton_arena *arena)
{
	lua_State *L = arena->L;
	lua_Unsigned n;

	expect(arena, lua_istable(L, -1), "list");
	n = lua_rawlen(L, -1);
	if (n > LIST_LIMIT)
		carton_badfield(arena, "list of more than %d entries", LIST_LIMIT);
	return (uint32_t)n;
}

void carton_decode_strings(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	struct carton_strings *list = out;
	size_t all = 0;

	(void)field;
	if (lua_type(arena->L, -1) == LUA_TSTRING) {
		list->count = 1;
		list->items = carton_alloc(arena, 2 * sizeof(char *));
		list->items[0] = copy_string(arena);
		return;
	}
	list->count = list_length(arena);
	list->items = carton_alloc(arena, (list->count + 1) * sizeof(char *));
	for (uint32_t i = 0; i < list->count; i++) {
		lua_rawgeti(arena->L, -1, i + 1);
		list->items[i] = copy_string(arena);
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

	expect(arena, lua_istable(arena->L, -1), "list of strings");
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

	list->count = list_length(arena);
	list->items = carton_alloc(arena, (list->count + 1) * sizeof(char *));
	for (uint32_t i = 0; i < list->count; i++) {
		lua_rawgeti(L, -1, i + 1);
		if (lua_isinteger(L, -1)) {
			lua_pushfstring(L, "%I", (LUAI_UACINT)lua_tointeger(L, -1));
			lua_replace(L, -2);
		}
		list->items[i] = copy_string(arena);
		lua_pop(L, 1);
	}
	*(bool *)((char *)out - field->offset + (size_t)field->aux) = true;
}

/* Sorted by name, so that a plan is the same at each run. */
static void sort_strings(const char **items, uint32_t count)
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

	expect(arena, lua_istable(L, -1), "table");
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
			carton_badfield(arena, "'%s' is not a variable's name", lua_tostring(L, -2));
		lua_pushvalue(L, -2);
		lua_pushliteral(L, "=");
		lua_pushvalue(L, -3);
		lua_concat(L, 3);
		list->items[list->count++] = copy_string(arena);
		lua_pop(L, 1);
	}
	sort_strings(list->items, list->count);
}

void carton_decode_bool(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	(void)field;
	expect(arena, lua_isboolean(arena->L, -1), "boolean");
	*(bool *)out = lua_toboolean(arena->L, -1);
}

void carton_decode_integer(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	(void)field;
	expect(arena, lua_isinteger(arena->L, -1), "integer");
	*(int64_t *)out = lua_tointeger(arena->L, -1);
}

void carton_decode_id(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	carton_decode_integer(arena, field, out);
	if (!(field->fallback && *(int64_t *)out == CARTON_UNSET) &&
	    (*(int64_t *)out < 0 || *(int64_t *)out >= UINT32_MAX))
		carton_badfield(arena, "an id is from 0 to 4294967294");
}

void carton_decode_mode(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	const char *s;
	uint32_t mode = 0;

	(void)field;
	expect(arena, lua_type(arena->L, -1) == LUA_TSTRING, "mode as a string such as \"0755\"");
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
	*(int64_t *)out = mode;
}

unsigned long carton_tochoice(struct carton_arena *arena, const struct carton_choice *choices)
{
	lua_State *L = arena->L;
	int parts = 0;

	expect(arena, lua_type(L, -1) == LUA_TSTRING, "name");
	for (const struct carton_choice *c = choices; c->name; c++)
		if (strcmp(c->name, lua_tostring(L, -1)) == 0)
			return c->value;
	lua_pushvalue(L, -1);
	lua_pushliteral(L, "");
	for (; choices[parts].name && parts < 64; parts++) {
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

void carton_decode_choices(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	uint32_t n = list_length(arena);

	for (uint32_t i = 0; i < n; i++) {
		lua_rawgeti(arena->L, -1, i + 1);
		*(uint64_t *)out |= carton_tochoice(arena, field->aux);
		lua_pop(arena->L, 1);
	}
}

void carton_decode_choices_one(struct carton_arena *arena, const struct carton_field *field,
			       void *out)
{
	*(uint64_t *)out = carton_tochoice(arena, field->aux);
}

void carton_decode_constant(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	if (strcmp(copy_string(arena), field->aux) != 0)
		carton_badfield(arena, "is '%s' here", (const char *)field->aux);
	*(const char **)out = field->aux;
}

void carton_decode_options(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	static const struct {
		const char *name;
		uint64_t set, clear;
	} known[] = {
		{"ro", MOUNT_ATTR_RDONLY, 0},
		{"rw", 0, MOUNT_ATTR_RDONLY},
		{"nosuid", MOUNT_ATTR_NOSUID, 0},
		{"suid", 0, MOUNT_ATTR_NOSUID},
		{"nodev", MOUNT_ATTR_NODEV, 0},
		{"dev", 0, MOUNT_ATTR_NODEV},
		{"noexec", MOUNT_ATTR_NOEXEC, 0},
		{"exec", 0, MOUNT_ATTR_NOEXEC},
		{"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
		{"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
		{"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
		{"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
		{"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
		{"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
		{"diratime", 0, MOUNT_ATTR_NODIRATIME},
	};
	struct carton_attributes *attributes = out;
	uint32_t n = list_length(arena);

	(void)field;
	for (uint32_t i = 0; i < n; i++) {
		size_t k = 0;

		lua_rawgeti(arena->L, -1, i + 1);
		expect(arena, lua_type(arena->L, -1) == LUA_TSTRING, "list of names");
		while (k < countof(known) && strcmp(known[k].name, lua_tostring(arena->L, -1)) != 0)
			k++;
		if (k == countof(known))
			carton_badfield(arena, "unknown mount option '%s'",
					lua_tostring(arena->L, -1));
		if ((known[k].set & attributes->clear & ~(uint64_t)MOUNT_ATTR__ATIME) ||
		    (known[k].clear & attributes->set & ~(uint64_t)MOUNT_ATTR__ATIME))
			carton_badfield(arena, "'%s' contradicts an earlier option",
					lua_tostring(arena->L, -1));
		attributes->set |= known[k].set;
		attributes->clear |= known[k].clear;
		lua_pop(arena->L, 1);
	}
}

static void add_option(struct carton_arena *arena, struct carton_options *options, const char *key,
		       const char *value)
{
	struct carton_option *items =
		carton_alloc(arena, (options->count + 1) * sizeof(struct carton_option));

	if (options->count)
		memcpy(items, options->items, options->count * sizeof(items[0]));
	items[options->count].key = key;
	items[options->count].value = value;
	options->items = items;
	options->count++;
}

void carton_decode_parameter(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;

	if (lua_isinteger(L, -1)) {
		lua_pushfstring(L, "%I", (LUAI_UACINT)lua_tointeger(L, -1));
		add_option(arena, out, field->aux, copy_string(arena));
		lua_pop(L, 1);
		return;
	}
	add_option(arena, out, field->aux, copy_string(arena));
}

/* Parameters in the order of their names: a table has none of its own. */
void carton_decode_data(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;
	const char *keys[64];
	uint32_t count = 0;

	(void)field;
	expect(arena, lua_istable(L, -1), "table of parameters");
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING || count == countof(keys))
			carton_badfield(arena, "at most %d parameters, by name",
					(int)countof(keys));
		keys[count++] = copy_bytes(arena, lua_tostring(L, -2), strlen(lua_tostring(L, -2)));
	}
	sort_strings(keys, count);
	for (uint32_t i = 0; i < count; i++) {
		lua_pushstring(L, keys[i]);
		lua_rawget(L, -2);
		if (lua_isboolean(L, -1)) {
			if (lua_toboolean(L, -1))
				add_option(arena, out, keys[i], NULL);
		} else {
			luaL_tolstring(L, -1, NULL);
			add_option(arena, out, keys[i], copy_string(arena));
			lua_pop(L, 1);
		}
		lua_pop(L, 1);
	}
}

static int to_descriptor(struct carton_arena *arena, const char *tname)
{
	lua_State *L = arena->L;
	struct carton_handle *h =
		tname ? luaL_testudata(L, -1, tname) : carton_tohandle(L, -1);

	if (!h)
		carton_badfield(arena, "%s expected, got %s", tname ? tname : "handle",
				luaL_typename(L, -1));
	if (h->fd < 0)
		carton_badfield(arena, "the handle is closed");
	anchor_value(arena);
	return h->fd;
}

void carton_decode_handle(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	if (field->fallback && lua_isinteger(arena->L, -1))
		*(int *)out = CARTON_UNSET;
	else
		*(int *)out = to_descriptor(arena, field->aux);
	if (lua_isinteger(arena->L, -1) && lua_tointeger(arena->L, -1) != CARTON_UNSET)
		carton_badfield(arena, "handle expected, got number");
}

void carton_decode_handles(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	struct carton_fds *fds = out;
	uint32_t n = list_length(arena);
	int *items = carton_alloc(arena, (n + 1) * sizeof(int));

	for (uint32_t i = 0; i < n; i++) {
		lua_rawgeti(arena->L, -1, i + 1);
		items[i] = to_descriptor(arena, field->aux);
		lua_pop(arena->L, 1);
	}
	fds->items = items;
	fds->count = n;
}

void carton_decode_fds(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;
	struct carton_fds *fds = out;
	uint32_t n = list_length(arena);
	int *items = carton_alloc(arena, (n + 1) * sizeof(int));

	(void)field;
	for (uint32_t i = 0; i < n; i++) {
		lua_rawgeti(L, -1, i + 1);
		if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) {
			items[i] = CARTON_UNSET;
		} else if (lua_isinteger(L, -1)) {
			if (lua_tointeger(L, -1) < 0 || lua_tointeger(L, -1) > INT32_MAX)
				carton_badfield(arena, "a descriptor is not negative");
			items[i] = (int)lua_tointeger(L, -1);
		} else {
			items[i] = to_descriptor(arena, NULL);
		}
		lua_pop(L, 1);
	}
	fds->items = items;
	fds->count = n;
}

static lua_Integer id_of(struct carton_arena *arena, const char *name, lua_Integer least)
{
	lua_State *L = arena->L;
	lua_Integer n;

	lua_pushstring(L, name);
	if (lua_rawget(L, -2) != LUA_TNUMBER || !lua_isinteger(L, -1))
		carton_badfield(arena, "an entry is { container_id =, host_id =, size = }");
	n = lua_tointeger(L, -1);
	if (n < least || n > UINT32_MAX - 1)
		carton_badfield(arena, "%s is out of range", name);
	lua_pop(L, 1);
	return n;
}

void carton_decode_idmap(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	struct carton_idmap *map = out;
	uint32_t n = list_length(arena);
	struct carton_idmap_entry *items;

	(void)field;
	if (n == 0 || n > 340) /* user_namespaces(7) */
		carton_badfield(arena, "a map has 1 to 340 entries");
	items = carton_alloc(arena, n * sizeof(*items));
	for (uint32_t i = 0; i < n; i++) {
		lua_rawgeti(arena->L, -1, i + 1);
		expect(arena, lua_istable(arena->L, -1), "list of tables");
		items[i].container_id = (uint32_t)id_of(arena, "container_id", 0);
		items[i].host_id = (uint32_t)id_of(arena, "host_id", 0);
		items[i].size = (uint32_t)id_of(arena, "size", 1);
		lua_pop(arena->L, 1);
	}
	map->items = items;
	map->count = n;
}

/* An amount, "unlimited", or nil in a missing field of { soft =, hard = }. */
static uint64_t limit_of(struct carton_arena *arena)
{
	lua_State *L = arena->L;

	if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 0)
		return (uint64_t)lua_tointeger(L, -1);
	if (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "unlimited") == 0)
		return RLIM_INFINITY;
	return (uint64_t)carton_badfield(arena, "a limit is an integer or \"unlimited\"");
}

void carton_decode_rlimits(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;
	struct carton_rlimits *limits = out;
	struct carton_rlimit *items = carton_alloc(arena, 16 * sizeof(*items));

	(void)field;
	expect(arena, lua_istable(L, -1), "table of limits");
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		struct carton_rlimit *item = &items[limits->count];

		expect(arena, lua_type(L, -2) == LUA_TSTRING && limits->count < 16, "names");
		lua_pushvalue(L, -2);
		item->resource = (int)carton_tochoice(arena, carton_rlimit_names);
		lua_pop(L, 1);
		if (lua_istable(L, -1)) {
			lua_pushliteral(L, "soft");
			lua_rawget(L, -2);
			item->soft = limit_of(arena);
			lua_pop(L, 1);
			lua_pushliteral(L, "hard");
			lua_rawget(L, -2);
			item->hard = limit_of(arena);
			lua_pop(L, 1);
		} else {
			item->soft = item->hard = limit_of(arena);
		}
		if (item->soft > item->hard)
			carton_badfield(arena, "%s: soft is above hard", lua_tostring(L, -2));
		limits->count++;
	}
	limits->items = items;
}

void carton_decode_capabilities(struct carton_arena *arena, const struct carton_field *field,
				void *out)
{
	lua_State *L = arena->L;
	uint32_t n = list_length(arena);
	bool *given = (bool *)((char *)out - field->offset + (size_t)field->aux);

	for (uint32_t i = 0; i < n; i++) {
		const char *name;

		lua_rawgeti(L, -1, i + 1);
		expect(arena, lua_type(L, -1) == LUA_TSTRING, "list of names");
		name = lua_tostring(L, -1);
		if (strncmp(name, "CAP_", 4) == 0) {
			lua_pushstring(L, name + 4);
			lua_replace(L, -2);
		}
		*(uint64_t *)out |= (uint64_t)1 << carton_tochoice(arena, carton_capability_names);
		lua_pop(L, 1);
	}
	*given = true;
}

void carton_decode_cpus(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;
	uint64_t *cpus = out;
	const char *s;

	(void)field;
	if (lua_istable(L, -1)) {
		uint32_t n = list_length(arena);

		for (uint32_t i = 0; i < n; i++) {
			lua_rawgeti(L, -1, i + 1);
			expect(arena, lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 0 &&
					      lua_tointeger(L, -1) < 1024,
			       "processor from 0 to 1023");
			cpus[lua_tointeger(L, -1) / 64] |= (uint64_t)1 << lua_tointeger(L, -1) % 64;
			lua_pop(L, 1);
		}
		return;
	}
	expect(arena, lua_type(L, -1) == LUA_TSTRING, "list or string such as \"0-3,8\"");
	for (s = lua_tostring(L, -1); *s;) {
		unsigned long first = 0, last;
		const char *start = s;

		for (; *s >= '0' && *s <= '9' && first < 1024; s++)
			first = first * 10 + (unsigned long)(*s - '0');
		last = first;
		if (s != start && *s == '-') {
			start = ++s;
			for (last = 0; *s >= '0' && *s <= '9' && last < 1024; s++)
				last = last * 10 + (unsigned long)(*s - '0');
		}
		if (s == start || last > 1023 || first > last || (*s && *s != ',') ||
		    (*s == ',' && !s[1]))
			carton_badfield(arena, "'%s' is not a list of processors",
					lua_tostring(L, -1));
		for (; first <= last; first++)
			cpus[first / 64] |= (uint64_t)1 << first % 64;
		if (*s == ',')
			s++;
	}
}

void carton_decode_seconds(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_Number seconds;

	(void)field;
	expect(arena, lua_type(arena->L, -1) == LUA_TNUMBER, "seconds");
	seconds = lua_tonumber(arena->L, -1);
	if (!(seconds >= 0 && seconds < 1e9))
		carton_badfield(arena, "seconds are out of range");
	*(uint64_t *)out = (uint64_t)(seconds * 1e9);
}

void carton_decode_signal(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	(void)field;
	*(int64_t *)out = (int64_t)carton_tochoice(arena, carton_signal_names);
}
