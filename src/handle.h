/* SPDX-License-Identifier: MIT */
/* Userdata that own one descriptor. */
#ifndef CARTON_HANDLE_H
#define CARTON_HANDLE_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

#define CARTON_NAMESPACE  "carton.namespace"
#define CARTON_TREE       "carton.tree"
#define CARTON_DIRECTORY  "carton.directory"
#define CARTON_CGROUP     "carton.cgroup"
#define CARTON_PROCESS    "carton.process"
#define CARTON_DESCRIPTOR "carton.descriptor"
#define CARTON_LISTENER   "carton.listener"

struct carton_handle {
	int fd; /* -1 once closed */
};

/* A tree remembers where it was copied from: before Linux 6.15 a detached tree can't be copied. */
struct carton_tree {
	struct carton_handle handle;
	int source; /* O_PATH, or -1 */
	bool lent;  /* the tree itself was given away in place of a copy */
	bool recursive;
	unsigned long long set, clear; /* MOUNT_ATTR_* */
};

/* A box that has its metatable before it has a descriptor; `size` of a larger struct that begins
 * with a carton_handle. */
void *carton_newbox(lua_State *L, const char *tname, size_t size, int uservalues);
struct carton_handle *carton_newhandle(lua_State *L, const char *tname);
/* Register close, __close, __gc and __tostring, and the type's own verbs beside them. */
void carton_newhandletype(lua_State *L, const char *tname, const luaL_Reg *methods);
/* The descriptor of an open handle of that type, or raise "closed namespace". */
int carton_checkfd(lua_State *L, int arg, const char *tname);
/* The handle of any type at that index, or NULL. */
struct carton_handle *carton_tohandle(lua_State *L, int index);

#endif
