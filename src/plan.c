/* SPDX-License-Identifier: MIT */
/***
From a list of steps (Lua) to a flat plan in one arena.
@module carton.core
*/
#include "plan.h"

#include <string.h>

#include <lauxlib.h>

#include "error.h"
#include "plan_lua.h"
#include "primitive.h"

#define STEPS_LIMIT 65536

static bool is_filter(const struct carton_step *step)
{
	return step->perform == carton_privilege_seccomp ||
	       step->perform == carton_privilege_notify;
}

/* Whether a step looks a host path up while the container's root may cover the caller's. */
static bool wants_stage(const struct carton_primitive *p, const void *fields, bool *rooted)
{
	const struct step_bind *bind = fields;
	const struct step_overlay *overlay = fields;
	const struct step_device *device = fields;
	const char *target;

	if (p->perform == carton_mount_device) /* nodes lie in /dev: only ".." leads to "/" */
		return strstr(device->source ? device->source : device->path, "..") != NULL;
	if (p->perform != carton_mount_bind && p->perform != carton_mount_overlay)
		return false;
	target = p->perform == carton_mount_bind ? bind->target : overlay->target;
	if (!*rooted && target[strspn(target, "/")] == '\0') {
		*rooted = true;
		return false;
	}
	return p->perform == carton_mount_overlay || bind->source;
}

void carton_pack(struct carton_arena *arena, int steps, struct carton_plan *plan,
                 struct carton_needs *needs)
{
	lua_State *L = arena->L;
	lua_Unsigned n;
	bool rooted = false;

	steps = lua_absindex(L, steps);
	arena->step = "plan";
	if (!lua_istable(L, steps))
		carton_badfield(arena, "list of steps expected, got %s", luaL_typename(L, steps));
	n = lua_rawlen(L, steps);
	if (n > STEPS_LIMIT)
		carton_badfield(arena, "more than %d steps", STEPS_LIMIT);
	plan->nsteps = (uint32_t)n;
	plan->image = -1;
	plan->steps = carton_alloc(arena, (n + 1) * sizeof(plan->steps[0]));
	for (lua_Unsigned i = 1; i <= n; i++) {
		const struct carton_primitive *p = NULL;
		void *fields;

		arena->index = (lua_Integer)i;
		arena->step = "plan";
		arena->field = NULL;
		if (lua_rawgeti(L, steps, (lua_Integer)i) != LUA_TTABLE)
			carton_badfield(arena, "a step is a table, got %s", luaL_typename(L, -1));
		if (lua_rawgeti(L, -1, 1) == LUA_TSTRING)
			p = carton_find_primitive(lua_tostring(L, -1));
		if (!p)
			carton_badfield(arena, "there is no primitive '%s'",
			                luaL_tolstring(L, -1, NULL));
		lua_pop(L, 1);
		arena->step = p->name;
		fields = carton_alloc(arena, p->size);
		carton_decode(arena, -1, p->fields, fields, NULL);
		plan->steps[i - 1].perform = p->perform;
		plan->steps[i - 1].fields = fields;
		plan->stage = plan->stage || wants_stage(p, fields, &rooted);
		plan->null = plan->null || p->perform == carton_mount_protect;
		if (needs) {
			if (p->perform == carton_namespace_enter ||
			    p->perform == carton_exec_fork ||
			    p->perform == carton_namespace_time_offsets ||
			    p->perform == carton_namespace_unshare ||
			    /* who shares memory is killed together where a cgroup has none left */
			    p->perform == carton_cgroup_enter ||
			    /* the kernel sets it for all who share memory */
			    p->perform == carton_privilege_oom_score_adj)
				needs->own_memory = true;
			needs->forks = needs->forks || p->perform == carton_exec_fork;
			if (p->perform == carton_exec_sync || p->perform == carton_exec_terminal ||
			    p->perform == carton_privilege_notify)
				needs->channel = true;
			if (p->perform == carton_exec_descriptors ||
			    p->perform == carton_exec_terminal)
				needs->descriptors = true;
			if (p->perform == carton_exec_die_with_parent)
				needs->parent = true;
			if (p->perform == carton_exec_exec) {
				const struct step_exec *f = fields;

				needs->exec = (uint32_t)i;
				plan->image = (int)f->init;
				needs->shield = f->shield != CARTON_UNSET;
				needs->channel =
					needs->channel || plan->image >= 0; /* it may fail, too */
			}
		}
		lua_pop(L, 1);
	}
	arena->index = 0;
	plan->last = plan->nsteps;
	if (n > 0 && plan->steps[n - 1].perform == carton_exec_exec)
		for (plan->last--; plan->last > 0 && is_filter(&plan->steps[plan->last - 1]);)
			plan->last--;
}

/***
Check a list of steps as `exec.spawn` does, and do nothing else.
@function validate
@tparam {table,...} steps
@raise a string that names step and field
*/
int carton_validate(lua_State *L)
{
	struct carton_plan plan = {0};
	struct carton_arena arena;

	luaL_checkany(L, 1);
	carton_newarena(L, &arena);
	carton_pack(&arena, 1, &plan, NULL);
	return 0;
}
