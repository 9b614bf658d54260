/* SPDX-License-Identifier: MIT */
/* What the caller of a system call that waits sees at a path. */
#ifndef CARTON_LOOK_H
#define CARTON_LOOK_H

#include <lua.h>

int carton_listener_look(lua_State *L); /* a method of listeners */

#endif
