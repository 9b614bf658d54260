/* SPDX-License-Identifier: MIT */
/* carton.error: the one object that is raised, and errno by name. */
#ifndef CARTON_ERROR_H
#define CARTON_ERROR_H

#include <lua.h>

struct carton_failure {
	const char *step; /* "mount.bind", or the name of a function */
	const char *call; /* system call or what was found wrong, may be NULL or "" */
	const char *path; /* subject, may be NULL */
	const char *text; /* detail, may be NULL or "" */
	int errnum;
	lua_Integer index; /* in the plan, 0: not in a plan */
	int fields;        /* stack index of the step's table, 0: none */
};

/* Raise a carton.error: `return carton_raise(L, "open", path, errno)`. */
int carton_raise(lua_State *L, const char *op, const char *path, int errnum);
int carton_raise_failure(lua_State *L, const struct carton_failure *failure);
/* A wrong argument is a bug of the caller: a plain string with file and line of the recipe. */
int carton_misuse(lua_State *L, const char *format, ...);
/* Push "file:line: " of the innermost code that is not carton's own, or "". */
void carton_where(lua_State *L);
const char *carton_errno_name(int errnum);
void carton_open_error(lua_State *L); /* into the table on top: error, check, try, misuse */
void carton_open_errno(lua_State *L); /* names and numbers of errors */

#endif
