/* SPDX-License-Identifier: MIT */
/* Listeners of seccomp filters: calls that wait for an answer. */
#ifndef CARTON_LISTENER_H
#define CARTON_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/seccomp.h>

#define CARTON_SECRET_WORDS  3         /* that let the listener itself pass: notify.c */
#define CARTON_WAIT_KILLABLE (1U << 5) /* SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV */

struct carton_handle;
struct carton_listener;
struct lua_State;

/* Push a listener that takes the descriptor over. */
struct carton_listener *carton_newlistener(struct lua_State *L, struct carton_handle *h);
int carton_listener_fd(const struct carton_listener *l);
/* While nobody but our own code runs behind the filter: let its call go on. One that comes when the
 * channel is closed is the program's, and kept for `listener:receive`. 0 or -errno. */
int carton_listener_pass(struct carton_listener *l, int channel);
void carton_listener_close(struct carton_listener *l);
void carton_open_listener(struct lua_State *L); /* the type */

#endif
