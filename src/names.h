/* SPDX-License-Identifier: MIT */
/* Names of the kernel's numbers, each list in one place. */
#ifndef CARTON_NAMES_H
#define CARTON_NAMES_H

#include "args.h"

extern const struct carton_choice carton_namespace_names[];   /* CLONE_NEW*, as in /proc/PID/ns */
extern const struct carton_choice carton_propagation_names[]; /* MS_*, as in mount(8) */
extern const struct carton_choice carton_capability_names[];  /* without CAP_ */
extern const struct carton_choice carton_rlimit_names[];
extern const struct carton_choice carton_persona_names[];
extern const struct carton_choice carton_policy_names[];
extern const struct carton_choice carton_ioprio_names[];
extern const struct carton_choice carton_device_names[];
extern const struct carton_choice carton_security_module_names[];

/* The number of "SIGTERM", "TERM" or "SIGRTMIN+3", or 0; real-time ones as signal(7) counts them.
 */
int carton_signal_number(const char *name);
/* The name of a signal, pushed: nil for one that has none. */
void carton_push_signal(struct lua_State *L, int number);

/* The word of an enum carton_call: "move_mount", or a finding. */
const char *carton_call_word(uint32_t call);
/* The name that stands for a value, or NULL. */
const char *carton_name_of(const struct carton_choice *choices, unsigned long value);

#endif
