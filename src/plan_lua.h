/* SPDX-License-Identifier: MIT */
/* Packing a plan: the parent's side of plan.h. */
#ifndef CARTON_PLAN_LUA_H
#define CARTON_PLAN_LUA_H

#include "args.h"
#include "plan.h"

struct carton_needs {
	bool forks;      /* the program runs in a child of the one that is made */
	bool own_memory; /* a step for which the child must not share the parent's memory */
	bool channel; /* a step that has more to say than that it failed, or waits for an answer */
	bool shield;  /* what is executed must not reach our own file and descriptors */
	bool descriptors; /* a step that says which ones the program gets */
	bool parent;      /* a step that looks whether the parent lives */
	uint32_t exec;    /* index of the exec step, from 1; 0: none */
};

/* Check and pack the steps at that stack index; raises what is wrong with them. */
void carton_pack(struct carton_arena *arena, int steps, struct carton_plan *plan,
                 struct carton_needs *needs);
int carton_validate(lua_State *L);

#endif
