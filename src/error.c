/* SPDX-License-Identifier: MIT */
/***
The core itself: `carton.error`, the one object that is raised, errno by name, handles, plans.
@module carton.core
*/
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <lauxlib.h>

#include "util.h"

#define CARTON_ERROR "carton.error"

static const struct {
	int number;
	const char *name;
} errnos[] = {
#define E(name)                                                                                    \
	{                                                                                          \
		name, #name                                                                        \
	}
	E(EPERM),         E(ENOENT),          E(ESRCH),     E(EINTR),        E(EIO),
	E(ENXIO),         E(E2BIG),           E(ENOEXEC),   E(EBADF),        E(ECHILD),
	E(EAGAIN),        E(ENOMEM),          E(EACCES),    E(EFAULT),       E(ENOTBLK),
	E(EBUSY),         E(EEXIST),          E(EXDEV),     E(ENODEV),       E(ENOTDIR),
	E(EISDIR),        E(EINVAL),          E(ENFILE),    E(EMFILE),       E(ENOTTY),
	E(ETXTBSY),       E(EFBIG),           E(ENOSPC),    E(ESPIPE),       E(EROFS),
	E(EMLINK),        E(EPIPE),           E(EDOM),      E(ERANGE),       E(EDEADLK),
	E(ENAMETOOLONG),  E(ENOLCK),          E(ENOSYS),    E(ENOTEMPTY),    E(ELOOP),
	E(ENODATA),       E(ETIME),           E(EPROTO),    E(EBADMSG),      E(EOVERFLOW),
	E(EUSERS),        E(ENOTSOCK),        E(EMSGSIZE),  E(EOPNOTSUPP),   E(EADDRINUSE),
	E(ECONNRESET),    E(ENOBUFS),         E(ETIMEDOUT), E(ECONNREFUSED), E(EALREADY),
	E(EINPROGRESS),   E(ESTALE),          E(EDQUOT),    E(ECANCELED),    E(ENOKEY),
	E(EAFNOSUPPORT),  E(EPROTONOSUPPORT), E(ELIBBAD),   E(EKEYREJECTED), E(EOWNERDEAD),
	E(EADDRNOTAVAIL), E(ENETDOWN),
#undef E
};

const char *carton_errno_name(int errnum)
{
	for (size_t i = 0; i < countof(errnos); i++)
		if (errnos[i].number == errnum)
			return errnos[i].name;
	return NULL;
}

/* Carton's own modules are compiled ahead without lines, or come from a folder of its own. */
static int is_own(const lua_Debug *ar)
{
	return ar->currentline < 0 || strstr(ar->source, "/lua/5.4/carton/") ||
	       strstr(ar->source, "/lua/carton/");
}

void carton_where(lua_State *L)
{
	lua_Debug ar;

	for (int level = 0; lua_getstack(L, level, &ar); level++) {
		lua_getinfo(L, "Sl", &ar);
		if (!is_own(&ar)) {
			lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
			return;
		}
	}
	lua_pushliteral(L, "");
}

int carton_misuse(lua_State *L, const char *format, ...)
{
	va_list list;

	carton_where(L);
	va_start(list, format);
	lua_pushvfstring(L, format, list);
	va_end(list);
	lua_concat(L, 2);
	return lua_error(L);
}

static void set_string(lua_State *L, const char *name, const char *value)
{
	if (value && *value) {
		lua_pushstring(L, value);
		lua_setfield(L, -2, name);
	}
}

static void copy_field(lua_State *L, int from, const char *field, const char *name)
{
	if (lua_getfield(L, from, field) == LUA_TSTRING)
		lua_setfield(L, -2, name);
	else
		lua_pop(L, 1);
}

/* What the step is about, from the fields that say so: err.path, err.source. */
static void copy_subject(lua_State *L, int fields)
{
	static const char *const names[] = {"target",   "path", "name", "interface",
	                                    "new_root", "user", "value"};

	copy_field(L, fields, "source", "source");
	if (lua_getfield(L, -1, "path") != LUA_TNIL) {
		lua_pop(L, 1);
		return;
	}
	lua_pop(L, 1);
	for (size_t i = 0; i < countof(names); i++) {
		if (lua_getfield(L, fields, names[i]) == LUA_TSTRING) {
			lua_setfield(L, -2, "path");
			return;
		}
		lua_pop(L, 1);
	}
	if (lua_getfield(L, fields, "args") == LUA_TTABLE) { /* a program */
		if (lua_rawgeti(L, -1, 1) == LUA_TSTRING) {
			lua_setfield(L, -3, "path");
			lua_pop(L, 1);
			return;
		}
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

int carton_raise_failure(lua_State *L, const struct carton_failure *failure)
{
	const char *op = strrchr(failure->step, '.');
	int fields = failure->fields ? lua_absindex(L, failure->fields) : 0;

	luaL_checkstack(L, 8, NULL);
	carton_where(L);
	lua_createtable(L, 0, 12);
	if (lua_rawlen(L, -2) > 2) {
		lua_pushlstring(L, lua_tostring(L, -2), lua_rawlen(L, -2) - 2);
		lua_setfield(L, -2, "where");
	}
	set_string(L, "op", op ? op + 1 : failure->step);
	set_string(L, "step", failure->step);
	set_string(L, "call", failure->call);
	set_string(L, "text", failure->text);
	set_string(L, "path", failure->path);
	set_string(L, "code", carton_errno_name(failure->errnum));
	lua_pushinteger(L, failure->errnum);
	lua_setfield(L, -2, "errno");
	if (failure->index > 0) {
		lua_pushinteger(L, failure->index);
		lua_setfield(L, -2, "index");
	}
	if (fields) {
		copy_subject(L, fields);
		lua_pushvalue(L, fields);
		lua_setfield(L, -2, "fields");
	}
	luaL_setmetatable(L, CARTON_ERROR);
	return lua_error(L);
}

int carton_raise(lua_State *L, const char *op, const char *path, int errnum)
{
	struct carton_failure failure = {.step = op, .path = path, .errnum = errnum};

	return carton_raise_failure(L, &failure);
}

/* Words may come from an image, and a terminal obeys more than letters: the text on top of the
 * stack without control characters. */
static void push_printable(lua_State *L)
{
	size_t length;
	const char *text = lua_tolstring(L, -1, &length);
	luaL_Buffer buffer;
	char *copy = luaL_buffinitsize(L, &buffer, length);

	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		copy[i] = (c < ' ' && c != '\n' && c != '\t') || c == 0x7f ? '?' : text[i];
	}
	luaL_pushresultsize(&buffer, length);
}

/* The hint says the text again, or the text is the subject. */
static bool is_said(lua_State *L)
{
	const char *text, *hint, *path;
	bool said;

	lua_getfield(L, 1, "text");
	lua_getfield(L, 1, "hint");
	lua_getfield(L, 1, "path");
	lua_getfield(L, 1, "source");
	text = lua_tostring(L, -4);
	hint = lua_tostring(L, -3);
	path = lua_isnil(L, -1) ? lua_tostring(L, -2) : NULL;
	said = text && ((hint && strstr(hint, text)) || (path && strcmp(path, text) == 0));
	lua_pop(L, 4);
	return said;
}

/* where: step source on path: reason (CODE): text; hint */
static int error_tostring(lua_State *L)
{
	int parts = 0;
	int errnum;
	const char *call;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	luaL_checkstack(L, 24, NULL);
#define GET(name)    (lua_getfield(L, 1, name) != LUA_TNIL)
#define ADD(literal) (lua_pushliteral(L, literal), parts++)
	if (GET("where"))
		parts++, ADD(": ");
	else
		lua_pop(L, 1);
	if (GET("op"))
		parts++;
	else
		lua_pop(L, 1);
	if (GET("source"))
		lua_pushliteral(L, " "), lua_insert(L, -2), parts += 2, ADD(" on");
	else
		lua_pop(L, 1);
	if (GET("path"))
		lua_pushliteral(L, " "), lua_insert(L, -2), parts += 2;
	else
		lua_pop(L, 1);
	ADD(": ");
	if (GET("message")) {
		parts++;
	} else {
		lua_pop(L, 1);
		lua_getfield(L, 1, "errno");
		errnum = (int)lua_tointeger(L, -1);
		lua_pop(L, 1);
		lua_getfield(L, 1, "call");
		call = lua_tostring(L, -1);
		if (call && strchr(call, ' ')) /* a finding, which says more than errno */
			parts++;
		else
			lua_pop(L, 1), lua_pushstring(L, strerror(errnum)), parts++;
	}
	if (GET("code"))
		lua_pushliteral(L, " ("), lua_insert(L, -2), parts += 2, ADD(")");
	else
		lua_pop(L, 1);
	if (GET("text") && !is_said(L))
		lua_pushliteral(L, ": "), lua_insert(L, -2), parts += 2;
	else
		lua_pop(L, 1);
	if (GET("hint"))
		lua_pushliteral(L, "; "), lua_insert(L, -2), parts += 2;
	else
		lua_pop(L, 1);
#undef GET
#undef ADD
	for (int i = lua_gettop(L) - parts + 1; i <= lua_gettop(L); i++)
		if (!lua_isstring(L, i))
			return luaL_error(L, "carton.error: a field is not a string");
	lua_concat(L, parts);
	push_printable(L);
	return 1;
}

/***
Raise a `carton.error`.
@function error
@tparam table fields `op`, `path`, `source`, `errno` or `code` (a name such as `"ENOENT"`),
`message`, `hint`
@raise always
@usage carton.error{ op = "pull", path = name, message = "no such image" }
*/
static int core_error(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	if (lua_getfield(L, 1, "errno") == LUA_TNIL && lua_getfield(L, 1, "code") == LUA_TSTRING) {
		for (size_t i = 0; i < countof(errnos); i++) {
			if (strcmp(errnos[i].name, lua_tostring(L, -1)) == 0) {
				lua_pushinteger(L, errnos[i].number);
				lua_setfield(L, 1, "errno");
			}
		}
	} else if (lua_isinteger(L, 2)) {
		set_string(L, "code", NULL);
		lua_pushstring(L, carton_errno_name((int)lua_tointeger(L, 2)));
		lua_setfield(L, 1, "code");
	}
	lua_settop(L, 1);
	if (lua_getfield(L, 1, "where") == LUA_TNIL) {
		carton_where(L);
		if (lua_rawlen(L, -1) > 2) {
			lua_pushlstring(L, lua_tostring(L, -1), lua_rawlen(L, -1) - 2);
			lua_setfield(L, 1, "where");
		}
	}
	lua_settop(L, 1);
	luaL_setmetatable(L, CARTON_ERROR);
	return lua_error(L);
}

/***
Turn `nil, message, errno` of Lua's library and luaposix into a raised `carton.error`.
@function check
@param ... results of a call
@return the results, when the first one is true
@raise `carton.error` with the message and errno of the call
@usage local file = carton.check(io.open(path))
*/
static int core_check(lua_State *L)
{
	if (lua_toboolean(L, 1))
		return lua_gettop(L);
	lua_settop(L, 3);
	carton_where(L);
	lua_createtable(L, 0, 4);
	if (lua_rawlen(L, -2) > 2) {
		lua_pushlstring(L, lua_tostring(L, -2), lua_rawlen(L, -2) - 2);
		lua_setfield(L, -2, "where");
	}
	lua_pushliteral(L, "check");
	lua_setfield(L, -2, "op");
	set_string(L, "message", lua_isstring(L, 2) ? lua_tostring(L, 2) : "failed");
	if (lua_isinteger(L, 3)) {
		lua_pushvalue(L, 3);
		lua_setfield(L, -2, "errno");
		set_string(L, "code", carton_errno_name((int)lua_tointeger(L, 3)));
	}
	luaL_setmetatable(L, CARTON_ERROR);
	return lua_error(L);
}

/* Whether what was raised, on top of the stack, is a carton.error. */
static bool is_error(lua_State *L)
{
	bool same;

	if (!lua_istable(L, -1) || !lua_getmetatable(L, -1))
		return false;
	luaL_getmetatable(L, CARTON_ERROR);
	same = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return same;
}

static int try_finish(lua_State *L, int status, lua_KContext ctx)
{
	(void)ctx;
	if (status == LUA_OK || status == LUA_YIELD)
		return lua_gettop(L);
	if (!is_error(L))
		return lua_error(L); /* a bug, not an answer */
	luaL_tolstring(L, -1, NULL);
	lua_getfield(L, -2, "errno");
	lua_pushnil(L);
	lua_replace(L, -4);
	return 3;
}

/***
Call a function, and give `nil, message, errno` instead of raising a `carton.error`.
@function try
@tparam function f what to call
@param ... its arguments
@return its results, or nil, the error's text and its errno
@raise whatever is not a `carton.error`
@usage local ns, message, errno = carton.try(carton.namespace.open, pid, "net")
*/
static int core_try(lua_State *L)
{
	luaL_checkany(L, 1);
	return try_finish(L, lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, 0, try_finish), 0);
}

/***
Raise a plain string, with file and line of the recipe: a wrong argument is its author's bug.
@function misuse
@tparam string message
@raise always
*/
static int core_misuse(lua_State *L)
{
	return carton_misuse(L, "%s", luaL_checkstring(L, 1));
}

void carton_open_errno(lua_State *L)
{
	for (size_t i = 0; i < countof(errnos); i++) {
		lua_pushinteger(L, errnos[i].number);
		lua_setfield(L, -2, errnos[i].name);
		lua_pushstring(L, errnos[i].name);
		lua_rawseti(L, -2, errnos[i].number);
	}
}

void carton_open_error(lua_State *L)
{
	luaL_newmetatable(L, CARTON_ERROR);
	lua_pushcfunction(L, error_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_pop(L, 1);
	lua_pushcfunction(L, core_error);
	lua_setfield(L, -2, "error");
	lua_pushcfunction(L, core_check);
	lua_setfield(L, -2, "check");
	lua_pushcfunction(L, core_try);
	lua_setfield(L, -2, "try");
	lua_pushcfunction(L, core_misuse);
	lua_setfield(L, -2, "misuse");
}
