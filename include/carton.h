/* SPDX-License-Identifier: MIT */
/* What an embedding program needs: the version, and the function that opens the core. It is linked
 * with the module itself, as `pkg-config --libs carton` says; with the function in package.preload,
 * `require "carton"` finds the vocabulary where Lua looks for modules. */
#ifndef CARTON_H
#define CARTON_H

#include <lua.h>

#if defined(LUA_VERSION_NUM) && LUA_VERSION_NUM != 504
#error "Lua 5.4 needed"
#endif

#define CARTON_VERSION "0.1.0"

#define CARTON_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* Push the table of `require "carton.core"`; for luaL_requiref or package.preload. */
CARTON_API int luaopen_carton_core(lua_State *L);

#ifdef __cplusplus
}
#endif

#endif
