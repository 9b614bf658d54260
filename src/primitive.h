/* SPDX-License-Identifier: MIT */
/* The one table of primitives: name, fields (Lua table -> struct), perform (system calls). */
#ifndef CARTON_PRIMITIVE_H
#define CARTON_PRIMITIVE_H

#include "args.h"
#include "step.h"

struct carton_primitive {
	const char
		*name; /* "mount.bind": function bind of table mount, and the step of that name */
	const struct carton_field *fields;
	size_t size; /* of the struct that the fields fill */
	int (*perform)(struct carton_context *ctx, const void *fields);
	int only_step; /* means nothing in the calling process */
};

extern const struct carton_primitive carton_primitives[]; /* ends with a NULL name */
const struct carton_primitive *carton_find_primitive(const char *name);
/* Add a function for each primitive of `table` ("mount") to the Lua table on top. */
void carton_set_primitives(lua_State *L, const char *table);

/* The fields of each primitive, with their documentation: fields_*.c */
extern const struct carton_field carton_unshare_fields[];
extern const struct carton_field carton_enter_fields[];
extern const struct carton_field carton_idmap_fields[];
extern const struct carton_field carton_time_offsets_fields[];
extern const struct carton_field carton_hostname_fields[];
extern const struct carton_field carton_network_up_fields[];
extern const struct carton_field carton_cgroup_enter_fields[];
extern const struct carton_field carton_bind_fields[];
extern const struct carton_field carton_attach_fields[];
extern const struct carton_field carton_tmpfs_fields[];
extern const struct carton_field carton_proc_fields[];
extern const struct carton_field carton_sysfs_fields[];
extern const struct carton_field carton_devpts_fields[];
extern const struct carton_field carton_mqueue_fields[];
extern const struct carton_field carton_cgroup_fields[];
extern const struct carton_field carton_filesystem_fields[];
extern const struct carton_field carton_overlay_fields[];
extern const struct carton_field carton_setattr_fields[];
extern const struct carton_field carton_propagation_fields[];
extern const struct carton_field carton_move_fields[];
extern const struct carton_field carton_unmount_fields[];
extern const struct carton_field carton_pivot_root_fields[];
extern const struct carton_field carton_mkdir_fields[];
extern const struct carton_field carton_write_fields[];
extern const struct carton_field carton_symlink_fields[];
extern const struct carton_field carton_device_fields[];
extern const struct carton_field carton_paths_fields[];
extern const struct carton_field carton_protect_fields[];
extern const struct carton_field carton_chown_fields[];
extern const struct carton_field carton_chmod_fields[];
extern const struct carton_field carton_no_fields[];
extern const struct carton_field carton_sync_fields[];
extern const struct carton_field carton_exec_fields[];
extern const struct carton_field carton_chdir_fields[];
extern const struct carton_field carton_descriptors_fields[];
extern const struct carton_field carton_terminal_fields[];
extern const struct carton_field carton_die_fields[];
extern const struct carton_field carton_controlling_fields[];
extern const struct carton_field carton_capabilities_fields[];
extern const struct carton_field carton_rlimits_fields[];
extern const struct carton_field carton_user_fields[];
extern const struct carton_field carton_umask_fields[];
extern const struct carton_field carton_oom_fields[];
extern const struct carton_field carton_scheduler_fields[];
extern const struct carton_field carton_ioprio_fields[];
extern const struct carton_field carton_affinity_fields[];
extern const struct carton_field carton_personality_fields[];
extern const struct carton_field carton_sysctl_fields[];
extern const struct carton_field carton_session_keyring_fields[];
extern const struct carton_field carton_no_userns_fields[];
extern const struct carton_field carton_label_fields[];
extern const struct carton_field carton_landlock_fields[];
extern const struct carton_field carton_seccomp_fields[];
extern const struct carton_field carton_notify_fields[];

#endif
