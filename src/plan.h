/* SPDX-License-Identifier: MIT */
/* A list of steps, packed for a child to obey. */
#ifndef CARTON_PLAN_H
#define CARTON_PLAN_H

#include <stdint.h>

#include "step.h"

struct carton_step {
	int (*perform)(struct carton_context *ctx, const void *fields);
	const void *fields;
};

struct carton_plan {
	uint32_t nsteps;
	struct carton_step *steps;
	uint32_t last;                /* step from which on there are only filters and exec */
	struct carton_trace *trace;   /* one for each step, or NULL */
	uint32_t *progress;           /* steps done so far, where the parent can see it */
	struct carton_report *report; /* of a watched child, shared; NULL: by the channel */
	int32_t *forked;              /* pid of the child of exec.fork, as the parent numbers it */
	int channel;                  /* the child's end of the socket between them */
	int near;                     /* the parent's end, which the child closes */
	int parent;                   /* pidfd of the parent, or -1 */
	bool own_mounts;              /* the process begins in a mount namespace of its own */
	bool stage;   /* host paths are looked up after the first mount on "/": pivot.c */
	bool null;    /* something is masked */
	bool watched; /* stop at exec: the parent looks at the program before it begins */
	int image;    /* memfd of the init that exec.exec begins with, or -1 */
};

/* Obey a plan in a new process: child.c */
_Noreturn void carton_child(const struct carton_plan *plan);

#endif
