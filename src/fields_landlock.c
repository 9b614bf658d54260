/* SPDX-License-Identifier: MIT */
/***
What `privilege.landlock` is told.
@module carton.privilege
*/
#include "primitive.h"

#include <stddef.h>
#include <string.h>

#include <lauxlib.h>

#include "landlock.h"

#define END                                                                                        \
	{                                                                                          \
		NULL, NULL, 0, 0, NULL, NULL                                                       \
	}

#define X(name, bit, abi) {#name, (unsigned long)1 << bit},
static const struct carton_choice right_names[] = {CARTON_LANDLOCK_FS(X){NULL, 0}};
static const struct carton_choice scope_names[] = {CARTON_LANDLOCK_SCOPES(X){NULL, 0}};
#undef X

/* A table inside of a field; what is wrong with it is said of that field. */
static void decode_inner(struct carton_arena *arena, const struct carton_field *fields, void *out)
{
	const char *outer = arena->field;

	carton_expect(arena, lua_istable(arena->L, -1), "table");
	if (lua_rawlen(arena->L, -1) > 0)
		carton_badfield(arena, "names expected, not a list");
	carton_decode(arena, -1, fields, out, NULL);
	arena->field = outer;
}

static void decode_rules(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	static const struct carton_field rule_fields[] = {
		{"path", carton_decode_string, offsetof(struct carton_path_rule, path), 1, NULL,
	         NULL},
		{"access", carton_decode_choices, offsetof(struct carton_path_rule, access), 1,
	         NULL, right_names},
		{"optional", carton_decode_bool, offsetof(struct carton_path_rule, optional), 0,
	         NULL, NULL},
		{"nofollow", carton_decode_bool, offsetof(struct carton_path_rule, nofollow), 0,
	         NULL, NULL},
		END};
	struct carton_path_rules *rules = out;
	struct step_landlock *f = (void *)((char *)out - field->offset);
	uint32_t count = carton_list_length(arena);
	struct carton_path_rule *items = carton_alloc(arena, (count + 1) * sizeof(*items));

	for (uint32_t i = 0; i < count; i++) {
		lua_rawgeti(arena->L, -1, i + 1);
		decode_inner(arena, rule_fields, &items[i]);
		if (!items[i].access)
			carton_badfield(arena, "rule %d: access is empty", (int)i + 1);
		if (!items[i].path[0])
			carton_badfield(arena, "rule %d: path is empty", (int)i + 1);
		if (items[i].access & ~f->handled && f->handled)
			carton_badfield(arena, "rule %d allows what is not handled", (int)i + 1);
		lua_pop(arena->L, 1);
	}
	if (!f->handled)
		f->handled = CARTON_LANDLOCK_ALL;
	rules->items = items;
	rules->count = count;
}

static void decode_ports(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;
	struct carton_ports *ports = out;
	uint32_t count = carton_list_length(arena);
	uint16_t *items = carton_alloc(arena, (count + 1) * sizeof(*items));

	for (uint32_t i = 0; i < count; i++) {
		lua_rawgeti(L, -1, i + 1);
		carton_expect(arena,
		              lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 0 &&
		                      lua_tointeger(L, -1) <= UINT16_MAX,
		              "port from 0 to 65535");
		items[i] = (uint16_t)lua_tointeger(L, -1);
		lua_pop(L, 1);
	}
	ports->items = items;
	ports->count = count;
	*(bool *)((char *)out - field->offset + (size_t)field->aux) = true;
}

static void decode_tcp(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	static const struct carton_field tcp_fields[] = {
		{"bind", decode_ports, offsetof(struct carton_landlock_tcp, bind), 0, NULL,
	         (const void *)offsetof(struct carton_landlock_tcp, has_bind)},
		{"connect", decode_ports, offsetof(struct carton_landlock_tcp, connect), 0, NULL,
	         (const void *)offsetof(struct carton_landlock_tcp, has_connect)},
		{"optional", carton_decode_bool, offsetof(struct carton_landlock_tcp, optional), 0,
	         NULL, NULL},
		END};
	struct carton_landlock_tcp *tcp = out;

	(void)field;
	decode_inner(arena, tcp_fields, tcp);
	if (!tcp->has_bind && !tcp->has_connect)
		carton_badfield(arena, "bind or connect is missing");
}

/* Names, and `optional` beside them. */
static void decode_scopes(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;
	struct carton_landlock_scopes *scopes = out;

	(void)field;
	carton_join_choices(arena, scope_names, "optional", &scopes->set);
	if (!scopes->set)
		carton_badfield(arena, "is empty");
	lua_pushliteral(L, "optional");
	if (lua_rawget(L, -2) != LUA_TNIL) {
		carton_expect(arena, lua_isboolean(L, -1), "optional: boolean");
		scopes->optional = lua_toboolean(L, -1);
	}
	lua_pop(L, 1);
}

/* At least one of the parts, or the step would do nothing. */
static void decode_handled(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	carton_decode_choices(arena, field, out);
	if (*(uint64_t *)out == 0)
		carton_badfield(arena, "is empty");
}

/***
Hold the process, and all that it starts, to what is allowed to it by path and by port. It can't be
undone, only narrowed by more of the same (16 times at most). Mounts can't be changed any more
afterwards.
@function landlock
@tparam table fields at least one of `handled`, `rules`, `tcp` and `scopes`
@tparam[opt] {string,...} fields.handled rights that are denied unless a rule allows them; with
`rules` all by default: `execute write_file read_file read_dir remove_dir remove_file make_char
make_dir make_reg make_sock make_fifo make_block make_sym refer truncate ioctl_dev`
@tparam[opt] {table,...} fields.rules what is allowed: `{ path =, access = {rights}, optional =
false, nofollow = false
}`. The path and all below it; it is looked up in the root. An `optional` rule is left out where its
path is missing, a `nofollow` one fails with `ELOOP` at a symbolic link. Rights that only
directories have are left out for a file.
@tparam[opt] table fields.tcp `{ bind = {ports}, connect = {ports}, optional = false }`; others are
denied, and all are with an empty list
@tparam[opt] {string,...} fields.scopes what may not reach out of the domain: `abstract_unix_socket
signal`; with a field `optional` beside them
@tparam[opt=false] boolean fields.optional do without those rights of the file system that the
kernel lacks
@raise `carton.error`: `EOPNOTSUPP` and `text` name a right that the kernel lacks and the version
that has it; `ENOSYS` or `EOPNOTSUPP` it has no Landlock, or it is switched off; `EINVAL` nothing is
given; `ENOENT`, `ELOOP`, `ENOTDIR` a path; `EPERM` without no_new_privs or CAP_SYS_ADMIN; `E2BIG`
too many times
@see landlock(7), landlock_add_rule(2)
@usage carton.privilege.landlock{ rules = { { path = "/usr", access = { "execute", "read_file",
"read_dir" } } }, tcp = { connect = { 443 } }, scopes = { "signal" } }
*/
const struct carton_field carton_landlock_fields[] = {
	{"handled", decode_handled, offsetof(struct step_landlock, handled), 0, NULL, right_names},
	{"rules", decode_rules, offsetof(struct step_landlock, rules), 0, NULL, NULL},
	{"tcp", decode_tcp, offsetof(struct step_landlock, tcp), 0, NULL, NULL},
	{"scopes", decode_scopes, offsetof(struct step_landlock, scopes), 0, NULL, NULL},
	{"optional", carton_decode_bool, offsetof(struct step_landlock, optional), 0, NULL, NULL},
	END};
