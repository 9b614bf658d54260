/* SPDX-License-Identifier: MIT */
/***
What the cgroup primitives are told. Each is a function of `carton.cgroup` and a step.
@module carton.cgroup
*/
#include "primitive.h"

#include <stddef.h>

#include "handle.h"

/***
Move the calling process into cgroups, one of each hierarchy. With cgroup v2, `exec.spawn` has a
process born in its cgroup instead.
@function enter
@tparam table fields
@tparam {directory,...} fields.cgroups
@raise `carton.error`: `EACCES` not delegated to us, `EBUSY` processes and controllers in one group,
`EAGAIN` over pids.max
@see cgroups(7)
*/
const struct carton_field carton_cgroup_enter_fields[] = {
	{"cgroups", carton_decode_handles, offsetof(struct step_cgroup_enter, cgroups), 1, NULL,
         CARTON_CGROUP},
	{NULL, NULL, 0, 0, NULL, NULL}};
