/* SPDX-License-Identifier: MIT */
/* The guard: a process of its own, outside of all containers, that kills them when we have ended.
 */
#ifndef CARTON_GUARD_H
#define CARTON_GUARD_H

#include <lauxlib.h>

#include "process.h"

/* Have a new process killed when we have ended, whatever it does; `group` is a directory of its
 * cgroup, or -1. Both raise when there is no guard to be had: the process must not go on then. */
void carton_guard_add(lua_State *L, const struct carton_process *process, int group);
/* Be sure that it has started, which it does while a launch goes on: before we sleep. */
void carton_guard_await(lua_State *L);
int carton_guard(lua_State *L); /* exec.guard */

#endif
