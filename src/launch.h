/* SPDX-License-Identifier: MIT */
/* A launch on its way: what spawn.c begins and turns.c follows. */
#ifndef CARTON_LAUNCH_H
#define CARTON_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "listener.h"
#include "plan_lua.h"
#include "process.h"

/* What a child of its own memory and its parent both see. */
struct carton_shared {
	uint32_t progress;
	int32_t forked; /* see plan.h */
	struct carton_report report;
	struct carton_trace trace[];
};

/* What has to be undone when a launch comes to an end, however it ends. */
struct spawn {
	int channel; /* our end */
	int far;     /* the child's end, until it is cloned */
	int parent;  /* pidfd of ourselves */
	char *stack; /* of a child that shares our memory */
	struct carton_shared *shared;
	size_t shared_size;
	pid_t helper; /* first process of a plan with exec.fork, not reaped yet */
	struct carton_process *process;
	struct carton_listener *listener; /* of the process, once it has come */
	bool running;                     /* the plan is over and the program was executed */
	int dumpable;                     /* to be set again, or -1 */
	struct carton_handle
		*image; /* the init in memory, which the arena holds until it is collected */
};

struct spawn_fields {
	struct carton_handle *cgroup;
	uint64_t namespaces;
	bool trace;
	double timeout;  /* seconds in which the child has to say something or execute */
	int steps, sync; /* stack indexes */
};

/* End a child of ours that has nothing more to do. */
void carton_reap_child(pid_t pid);
/* This one and those below raise. */
int carton_fail_spawn(lua_State *L, const char *call, int errnum);
/* Read what it says until it executes. */
void carton_follow(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                   const struct carton_plan *plan, const struct carton_needs *needs, int process);
/* Wait for a watched child to execute or fail; false: start it again, without watching. */
bool carton_watch(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                  const struct carton_plan *plan, const struct carton_needs *needs);

#endif
