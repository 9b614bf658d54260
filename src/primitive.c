/* SPDX-License-Identifier: MIT */
/* The one table of primitives: name, fields (Lua table -> struct), perform (system calls). */
#include "primitive.h"

#include <stdint.h>
#include <string.h>

#include <lauxlib.h>

#include "error.h"
#include "handle.h"
#include "names.h"
#include "sys.h"

const struct carton_primitive carton_primitives[] = {
#define P(name, fields, data, perform)                                                             \
	{                                                                                          \
		name, fields, sizeof(struct data), perform, 0                                      \
	}
#define STEP(name, fields, data, perform)                                                          \
	{                                                                                          \
		name, fields, sizeof(struct data), perform, 1                                      \
	}
	P("namespace.unshare", carton_unshare_fields, step_unshare, carton_namespace_unshare),
	P("namespace.enter", carton_enter_fields, step_enter, carton_namespace_enter),
	P("namespace.idmap", carton_idmap_fields, step_idmap, carton_namespace_idmap),
	P("namespace.time_offsets", carton_time_offsets_fields, step_time_offsets,
          carton_namespace_time_offsets),
	P("namespace.hostname", carton_hostname_fields, step_hostname, carton_namespace_hostname),
	P("namespace.domainname", carton_hostname_fields, step_hostname,
          carton_namespace_domainname),
	P("namespace.network_up", carton_network_up_fields, step_network_up,
          carton_namespace_network_up),

	P("cgroup.enter", carton_cgroup_enter_fields, step_cgroup_enter, carton_cgroup_enter),

	P("mount.bind", carton_bind_fields, step_bind, carton_mount_bind),
	P("mount.attach", carton_attach_fields, step_attach, carton_mount_attach),
	P("mount.tmpfs", carton_tmpfs_fields, step_filesystem, carton_mount_filesystem),
	P("mount.proc", carton_proc_fields, step_filesystem, carton_mount_filesystem),
	P("mount.sysfs", carton_sysfs_fields, step_filesystem, carton_mount_filesystem),
	P("mount.devpts", carton_devpts_fields, step_filesystem, carton_mount_filesystem),
	P("mount.mqueue", carton_mqueue_fields, step_filesystem, carton_mount_filesystem),
	P("mount.cgroup", carton_cgroup_fields, step_filesystem, carton_mount_filesystem),
	P("mount.filesystem", carton_filesystem_fields, step_filesystem, carton_mount_filesystem),
	P("mount.overlay", carton_overlay_fields, step_overlay, carton_mount_overlay),
	P("mount.setattr", carton_setattr_fields, step_setattr, carton_mount_setattr),
	P("mount.propagation", carton_propagation_fields, step_propagation,
          carton_mount_propagation),
	P("mount.move", carton_move_fields, step_move, carton_mount_move),
	P("mount.unmount", carton_unmount_fields, step_unmount, carton_mount_unmount),
	P("mount.pivot_root", carton_pivot_root_fields, step_pivot_root, carton_mount_pivot_root),
	P("mount.mkdir", carton_mkdir_fields, step_mkdir, carton_mount_mkdir),
	P("mount.write", carton_write_fields, step_write, carton_mount_write),
	P("mount.symlink", carton_symlink_fields, step_symlink, carton_mount_symlink),
	P("mount.device", carton_device_fields, step_device, carton_mount_device),
	P("mount.mask", carton_paths_fields, step_paths, carton_mount_mask),
	P("mount.readonly", carton_paths_fields, step_paths, carton_mount_readonly),
	P("mount.protect", carton_protect_fields, step_protect, carton_mount_protect),
	P("mount.chown", carton_chown_fields, step_chown, carton_mount_chown),
	P("mount.chmod", carton_chmod_fields, step_chmod, carton_mount_chmod),

	STEP("sync", carton_sync_fields, step_sync, carton_exec_sync),
	P("exec.chdir", carton_chdir_fields, step_chdir, carton_exec_chdir),
	P("exec.chroot", carton_chdir_fields, step_chdir, carton_exec_chroot),
	P("exec.setsid", carton_no_fields, step_flag, carton_exec_setsid),
	P("exec.setpgid", carton_no_fields, step_flag, carton_exec_setpgid),
	P("exec.controlling", carton_controlling_fields, step_controlling, carton_exec_controlling),
	STEP("exec.descriptors", carton_descriptors_fields, step_descriptors,
             carton_exec_descriptors),
	STEP("exec.terminal", carton_terminal_fields, step_terminal, carton_exec_terminal),
	STEP("exec.die_with_parent", carton_die_fields, step_die_with_parent,
             carton_exec_die_with_parent),
	STEP("exec.fork", carton_no_fields, step_flag, carton_exec_fork),
	P("exec.exec", carton_exec_fields, step_exec, carton_exec_exec),

	P("privilege.capabilities", carton_capabilities_fields, step_capabilities,
          carton_privilege_capabilities),
	P("privilege.no_new_privs", carton_no_fields, step_flag, carton_privilege_no_new_privs),
	P("privilege.rlimits", carton_rlimits_fields, step_rlimits, carton_privilege_rlimits),
	P("privilege.user", carton_user_fields, step_user, carton_privilege_user),
	P("privilege.umask", carton_umask_fields, step_number, carton_privilege_umask),
	P("privilege.oom_score_adj", carton_oom_fields, step_number,
          carton_privilege_oom_score_adj),
	P("privilege.scheduler", carton_scheduler_fields, step_scheduler,
          carton_privilege_scheduler),
	P("privilege.ioprio", carton_ioprio_fields, step_ioprio, carton_privilege_ioprio),
	P("privilege.affinity", carton_affinity_fields, step_affinity, carton_privilege_affinity),
	P("privilege.personality", carton_personality_fields, step_number,
          carton_privilege_personality),
	P("privilege.sysctl", carton_sysctl_fields, step_sysctl, carton_privilege_sysctl),
	P("privilege.session_keyring", carton_session_keyring_fields, step_session_keyring,
          carton_privilege_session_keyring),
	P("privilege.no_userns", carton_no_userns_fields, step_no_userns,
          carton_privilege_no_userns),
	P("privilege.label", carton_label_fields, step_label, carton_privilege_label),
	P("privilege.landlock", carton_landlock_fields, step_landlock, carton_privilege_landlock),
	STEP("privilege.notify", carton_notify_fields, step_notify, carton_privilege_notify),
	P("privilege.seccomp", carton_seccomp_fields, step_seccomp, carton_privilege_seccomp),
#undef P
#undef STEP
	{NULL, NULL, 0, NULL, 0}};

const struct carton_primitive *carton_find_primitive(const char *name)
{
	const struct carton_primitive *p = carton_primitives;

	while (p->name && strcmp(p->name, name) != 0)
		p++;
	return p->name ? p : NULL;
}

/* A primitive as a function: done here, in the calling process, now. */
static int perform_here(lua_State *L)
{
	const struct carton_primitive *p = lua_touserdata(L, lua_upvalueindex(1));
	struct carton_context ctx = {.root = AT_FDCWD,
	                             .proc = -1,
	                             .old_proc = -1,
	                             .stage = -1,
	                             .dir = -1,
	                             .channel = -1,
	                             .parent = -1,
	                             .image = -1,
	                             .null = -1,
	                             .masked = -1};
	struct carton_failure failure = {.step = p->name, .fields = 1};
	struct carton_arena arena;
	void *fields;
	int r;

	if (lua_isnoneornil(L, 1)) {
		lua_settop(L, 0);
		lua_newtable(L);
	}
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	carton_newarena(L, &arena);
	arena.step = p->name;
	fields = carton_alloc(&arena, p->size);
	carton_decode(&arena, 1, p->fields, fields, "root");
	lua_pushliteral(L, "root");
	if (lua_rawget(L, 1) != LUA_TNIL) {
		ctx.root =
			(int)sys_fcntl(carton_checkfd(L, -1, CARTON_DIRECTORY), F_DUPFD_CLOEXEC, 3);
		if (ctx.root < 0)
			return carton_raise(L, p->name, NULL, -ctx.root);
	}
	r = p->perform(&ctx, fields);
	carton_root_forget(&ctx);
	if (ctx.root >= 0)
		sys_close(ctx.root);
	if (ctx.proc >= 0)
		sys_close(ctx.proc);
	if (ctx.masked >= 0)
		sys_close(ctx.masked);
	if (ctx.null >= 0)
		sys_close(ctx.null);
	if (r < 0) {
		failure.call = carton_call_word(ctx.report.call);
		failure.text = ctx.report.text;
		failure.errnum = -r;
		return carton_raise_failure(L, &failure);
	}
	return 0;
}

void carton_set_primitives(lua_State *L, const char *table)
{
	size_t length = strlen(table);

	for (const struct carton_primitive *p = carton_primitives; p->name; p++) {
		if (strncmp(p->name, table, length) != 0 || p->name[length] != '.' || p->only_step)
			continue;
		lua_pushlightuserdata(L, (void *)(uintptr_t)p);
		lua_pushcclosure(L, perform_here, 1);
		lua_setfield(L, -2, p->name + length + 1);
	}
}
