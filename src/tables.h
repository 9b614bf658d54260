/* SPDX-License-Identifier: MIT */
/* What each room adds to the core: types, and functions into the table on top of the stack. */
#ifndef CARTON_TABLES_H
#define CARTON_TABLES_H

#include <lua.h>

void carton_open_bounded(lua_State *L);
void carton_open_cgroup(lua_State *L);
void carton_open_device(lua_State *L);
void carton_open_namespace(lua_State *L);
void carton_open_mount(lua_State *L);
void carton_open_privilege(lua_State *L);
void carton_open_host(lua_State *L);

#endif
