/* SPDX-License-Identifier: MIT */
/* The guard, a mode of the built-in init: src/guard.c. */
#ifndef CARTON_INIT_GUARD_H
#define CARTON_INIT_GUARD_H

/* What the guard is given, each as a message of one byte with a descriptor. */
#define CARTON_GUARD_PROCESS 'p' /* a pidfd */
#define CARTON_GUARD_GROUP   'g' /* the directory of a cgroup */

/* Hold what comes through the socket until its owner has ended, then kill it. */
_Noreturn void carton_guard_run(int socket, int pidfd);

#endif
