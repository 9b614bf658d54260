/* SPDX-License-Identifier: MIT */
/* The guard: a process of its own, outside of all containers, that kills them when we have ended.
 */
#ifndef CARTON_GUARD_H
#define CARTON_GUARD_H

#include <lauxlib.h>

/* Have a process, or all of a group, killed when we have ended, whatever it does. Both raise when
 * there is no guard to be had: the process must not go on then. */
void carton_guard_add(lua_State *L, char kind, int fd);
/* What hangs up when it could not start; -1 when that is known. */
int carton_guard_starting(void);
/* Reap what its start has left. */
void carton_guard_settle(void);
/* Be sure that it has started, which it does while a launch goes on: before we sleep. */
void carton_guard_await(lua_State *L);
int carton_guard(lua_State *L); /* exec.guard */

#endif
