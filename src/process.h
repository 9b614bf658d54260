/* SPDX-License-Identifier: MIT */
/* Processes as pidfds. */
#ifndef CARTON_PROCESS_H
#define CARTON_PROCESS_H

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "handle.h"

#define CARTON_P_PIDFD 3 /* P_PIDFD of waitid(2), which older C libraries lack */

struct carton_process {
	struct carton_handle handle; /* a pidfd */
	pid_t pid;                   /* as our pid namespace numbers it */
	bool below_init;             /* it is the built-in init of the program */
	bool ended;                  /* reaped: what follows is known */
	int code;                    /* CLD_EXITED, CLD_KILLED, CLD_DUMPED */
	int status;                  /* exit code or signal */
	struct rusage usage;
};

enum { CARTON_PROCESS_TERMINAL = 1, CARTON_PROCESS_TRACE, CARTON_PROCESS_LISTENER };

/* Push a process without a pidfd yet. */
struct carton_process *carton_newprocess(lua_State *L);
struct carton_process *carton_checkprocess(lua_State *L, int arg);
/* Reap it if it has ended; 1: it has, 0: not yet, -errno. */
int carton_reap(struct carton_process *p, bool block);
/* Reap it when it ends in so many seconds; 1: it has, 0: not, -errno. Who traces it is told of its
 * end first, and a pidfd is readable before that: ptrace(2). */
int carton_reap_within(struct carton_process *p, double timeout);
void carton_open_process(lua_State *L); /* the type, and functions into the table on top */

int carton_spawn(lua_State *L); /* exec.spawn: spawn.c */
void carton_open_descriptor(lua_State *L);
void carton_open_socket(lua_State *L);
void carton_open_spawn(lua_State *L);

#endif
