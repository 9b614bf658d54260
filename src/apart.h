/* SPDX-License-Identifier: MIT */
/* Memory of plans that is apart from Lua's, so that a child with memory of its own has no copy of
 * that. */
#ifndef CARTON_APART_H
#define CARTON_APART_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

struct carton_apart;

/* Leaves a value on the stack that has to be closed: lua_toclose. */
struct carton_apart *carton_new_apart_owner(lua_State *L);
void *carton_new_apart(lua_State *L, struct carton_apart *owner, size_t size);
void carton_open_apart(lua_State *L);

/* Where a program keeps its Lua state's memory, if it says so; NULL without. `hidden`: a process
 * that is made now gets none of it. */
extern void (*carton_hide_lua)(bool hidden);
/* A block that the program has had made present, handed out first. */
void carton_give_apart(void *block, size_t size);

#endif
