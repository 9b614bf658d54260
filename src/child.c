/* SPDX-License-Identifier: MIT */
/* Obeys a plan, in the new process, with system calls only; reports what it could not do. */
#include "plan.h"
#include "sys.h"

/* After clone(2) only system calls. The compiler keeps this list for us. */
#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State errno

static bool is_filter_or_exec(const struct carton_step *step)
{
	return step->perform == carton_privilege_seccomp || step->perform == carton_exec_exec;
}

/* Whether a step mounts nothing, and is likely to come in a row with others in the same place. */
static bool is_made_in_directory(const struct carton_step *step)
{
	return step->perform == carton_mount_device || step->perform == carton_mount_symlink;
}

_Noreturn void carton_child(const struct carton_plan *plan)
{
	struct carton_context ctx = {.proc = -1,
	                             .old_proc = -1,
	                             .stage = -1,
	                             .dir = -1,
	                             .null = -1,
	                             .wants_null = plan->null,
	                             .wants_stage = plan->stage,
	                             .own_mounts = plan->own_mounts,
	                             .channel = plan->channel,
	                             .parent = plan->parent,
	                             .image = plan->image,
	                             .masked = -1,
	                             .forked = plan->forked,
	                             .fresh = true};
	long r;

	sys_close(plan->near); /* or the end of the parent would go unnoticed */
	r = sys_openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);

	ctx.root = (int)r;
	for (uint32_t i = 0; i < plan->nsteps && r >= 0; i++) {
		ctx.report.step = i;
		if (plan->trace)
			plan->trace[i].began = sys_microseconds();
		__atomic_store_n(plan->progress, i, __ATOMIC_RELEASE);
		if (!is_made_in_directory(&plan->steps[i]))
			carton_root_forget(&ctx);
		if (i == plan->last)
			r = carton_restore_umask(&ctx); /* which a filter may forbid */
		if (r >= 0 && i == plan->last)
			r = carton_lower_capabilities(&ctx);
		if (r >= 0)
			r = plan->watched && !ctx.traced && is_filter_or_exec(&plan->steps[i])
			            ? carton_exec_watch(&ctx, i + 2 >= plan->nsteps)
			            : 0;
		if (r >= 0)
			r = plan->steps[i].perform(&ctx, plan->steps[i].fields);
		if (plan->trace) {
			plan->trace[i].ended = sys_microseconds();
			plan->trace[i].errnum = r < 0 ? (int32_t)-r : 0;
		}
	}
	if (r >= 0) { /* a plan without exec ends here */
		__atomic_store_n(plan->progress, plan->nsteps, __ATOMIC_RELEASE);
		sys_exit(0);
	}
	ctx.report.kind = CARTON_REPORT_FAILED;
	ctx.report.errnum = (int32_t)-r;
	if (plan->report)
		*plan->report = ctx.report;
	else
		sys_write(ctx.channel, &ctx.report, sizeof(ctx.report)); /* one message: whole */
	sys_exit(CARTON_EXIT_SETUP);
}
