/* SPDX-License-Identifier: MIT */
/***
Looking at privileges.
@module carton.privilege
*/
#include "tables.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <lauxlib.h>

#include "error.h"
#include "filters.h"
#include "handle.h"
#include "landlock.h"
#include "names.h"
#include "sys.h"
#include "util.h"

static int last_capability(void)
{
	int cap = 0;

	while (cap < 64 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0)
		cap++;
	return cap - 1;
}

static void push_set(lua_State *L, uint64_t set)
{
	lua_Integer n = 0;

	lua_newtable(L);
	for (int cap = 0; cap < 64; cap++) {
		const char *name = carton_name_of(carton_capability_names, (unsigned long)cap);

		if (!(set >> cap & 1))
			continue;
		if (name)
			lua_pushstring(L, name);
		else
			lua_pushfstring(L, "%d", cap);
		lua_rawseti(L, -2, ++n);
	}
}

static void push_numbers(lua_State *L, const char *text)
{
	lua_Integer n = 0;
	char *end;

	lua_newtable(L);
	for (;; text = end) {
		unsigned long number = strtoul(text, &end, 10);

		if (end == text)
			return;
		lua_pushinteger(L, (lua_Integer)number);
		lua_rawseti(L, -2, ++n);
	}
}

/* One line of /proc/PID/status: "CapEff:\t000001ffffffffff". */
static void take_line(lua_State *L, const char *line)
{
	static const struct {
		const char *key, *name;
	} sets[] = {{"CapInh:", "inheritable"},
	            {"CapPrm:", "permitted"},
	            {"CapEff:", "effective"},
	            {"CapBnd:", "bounding"},
	            {"CapAmb:", "ambient"}};

	for (size_t i = 0; i < countof(sets); i++) {
		if (strncmp(line, sets[i].key, 7) == 0) {
			push_set(L, strtoull(line + 7, NULL, 16));
			lua_setfield(L, -2, sets[i].name);
		}
	}
	if (strncmp(line, "Uid:", 4) == 0 || strncmp(line, "Gid:", 4) == 0) {
		lua_pushinteger(L, strtol(line + 4, NULL, 10));
		lua_setfield(L, -2, line[0] == 'U' ? "uid" : "gid");
	} else if (strncmp(line, "Groups:", 7) == 0) {
		push_numbers(L, line + 7);
		lua_setfield(L, -2, "groups");
	} else if (strncmp(line, "NoNewPrivs:", 11) == 0) {
		lua_pushboolean(L, strtol(line + 11, NULL, 10) != 0);
		lua_setfield(L, -2, "no_new_privs");
	} else if (strncmp(line, "Umask:", 6) == 0) {
		lua_pushfstring(L, "%s", line + 6 + strspn(line + 6, "\t "));
		lua_setfield(L, -2, "umask");
	} else if (strncmp(line, "SigCgt:", 7) == 0 || strncmp(line, "SigIgn:", 7) == 0 ||
	           strncmp(line, "SigBlk:", 7) == 0) {
		lua_pushinteger(L, (lua_Integer)strtoull(line + 7, NULL, 16));
		lua_setfield(L, -2,
		             line[3] == 'C'   ? "caught"
		             : line[3] == 'I' ? "ignored"
		                              : "blocked");
	}
}

/***
Tell the privileges of a process.
@function get
@tparam[opt=0] int pid 0: the caller
@treturn table `{ uid =, gid =, groups = {}, bounding = {}, permitted = {}, effective = {},
inheritable = {}, ambient = {}, no_new_privs =, umask = "0022", caught =, ignored =, blocked = }`;
sets are lists of names such as `NET_ADMIN`, `caught`, `ignored` and `blocked` are signals, a bit
each
@raise `carton.error`: `ENOENT` no such process
@see capabilities(7), proc(5)
*/
static int privilege_get(lua_State *L)
{
	lua_Integer pid = luaL_optinteger(L, 1, 0);
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);
	const char *path = pid == 0 ? lua_pushliteral(L, "/proc/self/status")
	                            : lua_pushfstring(L, "/proc/%I/status", (LUAI_UACINT)pid);
	const char *text;
	luaL_Buffer all;
	ssize_t n;

	h->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (h->fd < 0)
		return carton_raise(L, "get", path, errno);
	luaL_buffinit(L, &all);
	do { /* to the end: a program chooses how many groups it lists before its capabilities */
		n = read(h->fd, luaL_prepbuffer(&all), LUAL_BUFFERSIZE);
		if (n > 0)
			luaL_addsize(&all, (size_t)n);
	} while (n > 0);
	if (n < 0)
		return carton_raise(L, "get", path, errno);
	luaL_pushresult(&all);
	text = lua_tostring(L, -1);
	lua_newtable(L);
	while (*text) {
		size_t length = strcspn(text, "\n");

		lua_pushlstring(L, text, length); /* a line of its own, with a NUL */
		lua_insert(L, -2);
		take_line(L, lua_tostring(L, -2));
		lua_remove(L, -2);
		text += length + (text[length] == '\n');
	}
	return 1;
}

/***
Tell the permitted capabilities of the caller, without a look into /proc, which takes far longer.
@function permitted
@treturn {string,...} in the order of their numbers
@raise `carton.error`
@see capget(2)
*/
static int privilege_permitted(lua_State *L)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	long r = sys_call(SYS_capget, &header, data);

	if (r < 0)
		return carton_raise(L, "permitted", "capget", (int)-r);
	push_set(L, (uint64_t)data[1].permitted << 32 | data[0].permitted);
	return 1;
}

/***
Tell whether a capability is effective for the caller.
@function has
@tparam string name `"SYS_ADMIN"`
@treturn boolean
@raise a string for a name that there is not
@see capget(2)
*/
static int privilege_has(lua_State *L)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	const struct carton_choice *c = carton_capability_names;
	const char *name = luaL_checkstring(L, 1);

	while (c->name && strcmp(c->name, name) != 0)
		c++;
	luaL_argcheck(L, c->name, 1, "unknown capability");
	lua_pushboolean(L, sys_call(SYS_capget, &header, data) == 0 &&
	                           data[c->value / 32].effective & 1U << c->value % 32);
	return 1;
}

/***
List the names of all capabilities that this kernel has.
@function capability_names
@treturn {string,...} in the order of their numbers
@see capabilities(7)
*/
static int privilege_capability_names(lua_State *L)
{
	int last = last_capability();

	push_set(L, last >= 63 ? ~(uint64_t)0 : ((uint64_t)2 << last) - 1);
	return 1;
}

/***
Tell the number of the last capability that this kernel has.
@function last_capability
@treturn int
@see capabilities(7)
*/
static int privilege_last_capability(lua_State *L)
{
	lua_pushinteger(L, last_capability());
	return 1;
}

/***
Tell how much of Landlock this kernel has.
@function landlock_abi
@treturn int the version of its ABI, 0 without Landlock
@treturn ?string `ENOSYS` (not built in) or `EOPNOTSUPP` (switched off at boot) when it is 0
@see landlock(7)
*/
static int privilege_landlock_abi(lua_State *L)
{
	long abi = sys_call(CARTON_SYS_LANDLOCK_CREATE_RULESET, NULL, 0, CARTON_LANDLOCK_VERSION);

	lua_pushinteger(L, abi > 0 ? (lua_Integer)abi : 0);
	if (abi > 0)
		return 1;
	lua_pushstring(L, carton_errno_name(abi < 0 ? (int)-abi : ENOSYS));
	return 2;
}

/***
Give a filter of the default profile that was compiled when Carton was built.
@function default_filter
@tparam string opened the capabilities the container has of those that open something in the
profile: names in the order of the alphabet, commas between them
@treturn ?string the program; nil when none was compiled for these
@see carton.seccomp
*/
static int privilege_default_filter(lua_State *L)
{
	const char *opened = luaL_checkstring(L, 1);

	for (const struct carton_filter *f = carton_default_filters; f->opened; f++) {
		if (strcmp(f->opened, opened) == 0) {
			lua_pushlstring(L, (const char *)f->program, f->length);
			return 1;
		}
	}
	lua_pushnil(L);
	return 1;
}

void carton_open_privilege(lua_State *L)
{
	static const luaL_Reg functions[] = {{"default_filter", privilege_default_filter},
	                                     {"get", privilege_get},
	                                     {"permitted", privilege_permitted},
	                                     {"has", privilege_has},
	                                     {"capability_names", privilege_capability_names},
	                                     {"last_capability", privilege_last_capability},
	                                     {"landlock_abi", privilege_landlock_abi},
	                                     {NULL, NULL}};

	luaL_setfuncs(L, functions, 0);
}
