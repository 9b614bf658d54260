/* SPDX-License-Identifier: MIT */
/* Decoders of what takes more than a word: mount options, handles, maps, limits, sets. */
#include "args.h"

#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <lauxlib.h>

#include "handle.h"
#include "names.h"
#include "step.h"
#include "sys.h"
#include "util.h"
/* Keep the value on top of the stack alive as long as the arena. */
static void anchor_value(struct carton_arena *arena)
{
	lua_pushvalue(arena->L, -1);
	lua_rawseti(arena->L, arena->anchor, (lua_Integer)lua_rawlen(arena->L, arena->anchor) + 1);
}

static const struct {
	const char *name;
	uint64_t set, clear;
} mount_options[] = {
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

static size_t find_option(const char *name)
{
	size_t k = 0;

	while (k < countof(mount_options) && strcmp(mount_options[k].name, name) != 0)
		k++;
	return k;
}

bool carton_is_mount_option(const char *name)
{
	return find_option(name) < countof(mount_options);
}

void carton_decode_options(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	struct carton_attributes *attributes = out;
	uint32_t n = carton_list_length(arena);
	uint64_t atime = 0;

	(void)field;
	for (uint32_t i = 0; i < n; i++) {
		bool is_atime;
		size_t k;

		lua_rawgeti(arena->L, -1, i + 1);
		carton_expect(arena, lua_type(arena->L, -1) == LUA_TSTRING, "list of names");
		k = find_option(lua_tostring(arena->L, -1));
		if (k == countof(mount_options))
			carton_badfield(arena, "unknown mount option '%s'",
			                lua_tostring(arena->L, -1));
		is_atime = mount_options[k].clear & MOUNT_ATTR__ATIME; /* one word of three */
		if ((is_atime && attributes->clear & MOUNT_ATTR__ATIME &&
		     mount_options[k].set != atime) ||
		    (mount_options[k].set & attributes->clear & ~(uint64_t)MOUNT_ATTR__ATIME) ||
		    (mount_options[k].clear & attributes->set & ~(uint64_t)MOUNT_ATTR__ATIME))
			carton_badfield(arena, "'%s' contradicts an earlier option",
			                lua_tostring(arena->L, -1));
		atime = is_atime ? mount_options[k].set : atime;
		attributes->set |= mount_options[k].set;
		attributes->clear |= mount_options[k].clear;
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

void carton_decode_parameter(struct carton_arena *arena, const struct carton_field *field,
                             void *out)
{
	lua_State *L = arena->L;

	if (lua_isinteger(L, -1)) {
		lua_pushfstring(L, "%I", (LUAI_UACINT)lua_tointeger(L, -1));
		add_option(arena, out, field->aux, carton_copy_string(arena));
		lua_pop(L, 1);
		return;
	}
	add_option(arena, out, field->aux, carton_copy_string(arena));
}

void carton_decode_mode_parameter(struct carton_arena *arena, const struct carton_field *field,
                                  void *out)
{
	uint32_t mode;

	carton_decode_mode(arena, field, &mode); /* the kernel drops the bits that are no mode */
	add_option(arena, out, field->aux, carton_copy_string(arena));
}

/* The amount as tmpfs reads it, or 0 if it has none to give: the kernel takes 0 for no limit, wraps
 * what does not fit 64 bits, and reads digits after a leading 0 as octal. */
static uint64_t amount_of(const char *text, bool percent)
{
	static const char units[] = "kmgtpe";
	const char *unit;
	uint64_t n = 0;

	if (*text < '1' || *text > '9')
		return 0;
	for (; *text >= '0' && *text <= '9'; text++) {
		if (n > (uint64_t)INT64_MAX / 10 - 1)
			return 0;
		n = n * 10 + (uint64_t)(*text - '0');
	}
	if (percent && strcmp(text, "%") == 0)
		return n <= 1000 ? n : 0;
	if (!*text)
		return n;
	unit = strchr(units, *text | 0x20);
	if (!unit || text[1])
		return 0;
	for (; unit >= units; unit--) {
		if (n > (uint64_t)INT64_MAX >> 10)
			return 0;
		n <<= 10;
	}
	return n;
}

static const char *copy_amount(struct carton_arena *arena, bool percent)
{
	lua_State *L = arena->L;
	const char *copy;

	if (lua_isinteger(L, -1))
		lua_pushfstring(L, "%I", (LUAI_UACINT)lua_tointeger(L, -1));
	else
		lua_pushvalue(L, -1);
	copy = carton_copy_string(arena);
	if (amount_of(copy, percent) == 0)
		carton_badfield(arena, "a number above 0 such as %s expected, got '%s'",
		                percent ? "1048576, \"64m\" or \"50%\"" : "1000 or \"64k\"", copy);
	lua_pop(L, 1);
	return copy;
}

void carton_decode_size_parameter(struct carton_arena *arena, const struct carton_field *field,
                                  void *out)
{
	add_option(arena, out, field->aux, copy_amount(arena, true));
}

void carton_decode_count_parameter(struct carton_arena *arena, const struct carton_field *field,
                                   void *out)
{
	add_option(arena, out, field->aux, copy_amount(arena, false));
}

void carton_decode_size(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	(void)field;
	*(const char **)out = copy_amount(arena, true);
}

static struct carton_homes homes_of(const char *own, const char *first)
{
	struct carton_homes homes = {0};
	struct stat st;

	if (stat(own, &st) == 0)
		homes.own = st.st_ino;
	if (stat(first, &st) == 0) /* only root may look, and nobody else could join it */
		homes.first = st.st_ino;
	return homes;
}

void carton_decode_kernel_parameter(struct carton_arena *arena, const struct carton_field *field,
                                    void *out)
{
	struct carton_parameter *parameter = out;

	(void)field;
	parameter->name = carton_copy_string(arena);
	parameter->net = homes_of("/proc/self/ns/net", "/proc/1/ns/net");
	parameter->ipc = homes_of("/proc/self/ns/ipc", "/proc/1/ns/ipc");
}

/* Parameters in the order of their names: a table has none of its own. */
void carton_decode_data(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;
	const char *keys[64];
	uint32_t count = 0;

	(void)field;
	carton_expect(arena, lua_istable(L, -1), "table of parameters");
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING || count == countof(keys))
			carton_badfield(arena, "at most %d parameters, by name",
			                (int)countof(keys));
		keys[count++] =
			carton_copy_bytes(arena, lua_tostring(L, -2), strlen(lua_tostring(L, -2)));
	}
	carton_sort_strings(keys, count);
	for (uint32_t i = 0; i < count; i++) {
		lua_pushstring(L, keys[i]);
		lua_rawget(L, -2);
		if (lua_isboolean(L, -1)) {
			if (lua_toboolean(L, -1))
				add_option(arena, out, keys[i], NULL);
		} else {
			carton_expect(arena,
			              lua_type(L, -1) == LUA_TSTRING ||
			                      lua_type(L, -1) == LUA_TNUMBER,
			              "strings, numbers or booleans");
			luaL_tolstring(L, -1, NULL);
			add_option(arena, out, keys[i], carton_copy_string(arena));
			lua_pop(L, 1);
		}
		lua_pop(L, 1);
	}
}

static int to_descriptor(struct carton_arena *arena, const char *tname)
{
	lua_State *L = arena->L;
	struct carton_handle *h = tname ? luaL_testudata(L, -1, tname) : carton_tohandle(L, -1);

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
	*(int *)out = arena->absent ? CARTON_UNSET : to_descriptor(arena, field->aux);
}

void carton_decode_handles(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	struct carton_fds *fds = out;
	uint32_t n = carton_list_length(arena);
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
	uint32_t n = carton_list_length(arena);
	int *items = carton_alloc(arena, (n + 1) * sizeof(int));

	(void)field;
	for (uint32_t i = 0; i < n; i++) {
		lua_rawgeti(L, -1, i + 1);
		if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) {
			items[i] = CARTON_UNSET;
		} else if (lua_isinteger(L, -1)) {
			/* open now, or it could become the number of one of our own */
			if (lua_tointeger(L, -1) < 0 || lua_tointeger(L, -1) > INT32_MAX ||
			    sys_fcntl((int)lua_tointeger(L, -1), F_GETFD, 0) < 0)
				carton_badfield(arena, "%I is not an open descriptor",
				                (LUAI_UACINT)lua_tointeger(L, -1));
			items[i] = (int)lua_tointeger(L, -1);
		} else {
			items[i] = to_descriptor(arena, NULL);
		}
		lua_pop(L, 1);
	}
	fds->items = items;
	fds->count = n;
}

/* Refuse any name in the table on top but those of a list that ends with NULL. */
static void expect_names(struct carton_arena *arena, const char *const names[])
{
	lua_State *L = arena->L;

	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		size_t i = 0;

		while (names[i] && !(lua_type(L, -2) == LUA_TSTRING &&
		                     strcmp(names[i], lua_tostring(L, -2)) == 0))
			i++;
		if (!names[i]) {
			lua_pushvalue(L, -2);
			carton_badfield(arena, "unknown field '%s'", luaL_tolstring(L, -1, NULL));
		}
	}
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
	static const char *const names[] = {"container_id", "host_id", "size", NULL};
	struct carton_idmap *map = out;
	uint32_t n = carton_list_length(arena);
	struct carton_idmap_entry *items;

	(void)field;
	if (n == 0 || n > 340) /* user_namespaces(7) */
		carton_badfield(arena, "a map has 1 to 340 entries");
	items = carton_alloc(arena, n * sizeof(*items));
	for (uint32_t i = 0; i < n; i++) {
		lua_rawgeti(arena->L, -1, i + 1);
		carton_expect(arena, lua_istable(arena->L, -1), "list of tables");
		expect_names(arena, names);
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
	static const char *const names[] = {"soft", "hard", NULL};
	lua_State *L = arena->L;
	struct carton_rlimits *limits = out;
	struct carton_rlimit *items = carton_alloc(arena, 16 * sizeof(*items));

	(void)field;
	carton_expect(arena, lua_istable(L, -1), "table of limits");
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		struct carton_rlimit *item = &items[limits->count];

		carton_expect(arena, lua_type(L, -2) == LUA_TSTRING && limits->count < 16, "names");
		lua_pushvalue(L, -2);
		item->resource = (int)carton_tochoice(arena, carton_rlimit_names);
		lua_pop(L, 1);
		if (lua_istable(L, -1)) {
			expect_names(arena, names);
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
	uint32_t n = carton_list_length(arena);
	bool *given = (bool *)((char *)out - field->offset + (size_t)field->aux);

	for (uint32_t i = 0; i < n; i++) {
		const char *name;

		lua_rawgeti(L, -1, i + 1);
		carton_expect(arena, lua_type(L, -1) == LUA_TSTRING, "list of names");
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
		uint32_t n = carton_list_length(arena);

		for (uint32_t i = 0; i < n; i++) {
			lua_rawgeti(L, -1, i + 1);
			carton_expect(arena,
			              lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 0 &&
			                      lua_tointeger(L, -1) < 1024,
			              "processor from 0 to 1023");
			cpus[lua_tointeger(L, -1) / 64] |= (uint64_t)1 << lua_tointeger(L, -1) % 64;
			lua_pop(L, 1);
		}
		return;
	}
	carton_expect(arena, lua_type(L, -1) == LUA_TSTRING, "list or string such as \"0-3,8\"");
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

/* Raw BPF. What the instructions say is for the kernel to judge. */
void carton_decode_filter(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	size_t length;

	carton_decode_bytes(arena, field, out);
	length = lua_rawlen(arena->L, -1);
	if (length == 0 || length % 8 != 0 || length / 8 > 4096) /* BPF_MAXINSNS */
		carton_badfield(arena, "1 to 4096 instructions of 8 bytes expected, got %I bytes",
		                (LUAI_UACINT)length);
}

void carton_decode_seconds(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_Number seconds;

	(void)field;
	carton_expect(arena, lua_type(arena->L, -1) == LUA_TNUMBER, "seconds");
	seconds = lua_tonumber(arena->L, -1);
	if (!(seconds >= 0 && seconds < 1e9))
		carton_badfield(arena, "seconds are out of range");
	*(uint64_t *)out = (uint64_t)(seconds * 1e9);
}

void carton_decode_signal(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	int number;

	(void)field;
	carton_expect(arena, lua_type(arena->L, -1) == LUA_TSTRING, "name");
	number = carton_signal_number(lua_tostring(arena->L, -1));
	if (!number)
		carton_badfield(arena, "unknown signal '%s'", lua_tostring(arena->L, -1));
	*(int64_t *)out = number;
}
