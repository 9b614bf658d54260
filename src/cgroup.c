/* SPDX-License-Identifier: MIT */
/* Entering cgroups: the perform side of `cgroup.*`. */
#include <linux/errno.h>

#include "sys.h"

#include "step.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State errno

int carton_cgroup_enter(struct carton_context *ctx, const void *fields)
{
	const struct step_cgroup_enter *f = fields;

	for (uint32_t i = 0; i < f->cgroups.count; i++) {
		long fd = -ENOENT;
		long r;

		/* A new process is one thread. v1 moves the thread that asks without stopping every
		 * fork of the host, which can take milliseconds; v2 has no such file. */
		if (ctx->fresh)
			fd = sys_openat(f->cgroups.items[i], "tasks", O_WRONLY | O_CLOEXEC, 0);
		if (fd == -ENOENT)
			fd = sys_openat(f->cgroups.items[i], "cgroup.procs", O_WRONLY | O_CLOEXEC,
			                0);
		if (fd < 0)
			return carton_fail(ctx, CARTON_CALL_OPEN, fd);
		r = sys_write((int)fd, "0", 1); /* whoever writes it: cgroups(7) */
		sys_close((int)fd);
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_WRITE, r);
	}
	return 0;
}
