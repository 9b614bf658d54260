/* SPDX-License-Identifier: MIT */
/* Finding a program and executing it; and when that fails, why: shared by plan and init. */
#ifndef CARTON_SEARCH_H
#define CARTON_SEARCH_H

#include "step.h"

/* Execute `path`, or args[0] as found in PATH of `env`. Returns only to complain: -errno, with call
 * and text of the report set. */
long carton_search_exec(struct carton_report *report, const char *path, const char *const args[],
                        const char *const env[]);

#endif
