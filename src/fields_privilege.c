/* SPDX-License-Identifier: MIT */
/***
What a process may do and how much: users, capabilities, limits, scheduling. Whatever takes a table
of fields is a function, which does it here and now, and a step as well.
@module carton.privilege
*/
#include "primitive.h"

#include <linux/ioprio.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>

#include "names.h"

#define CHECKED(check)                                                                             \
	{                                                                                          \
		NULL, check, 0, 0, NULL, NULL                                                      \
	}
#define END CHECKED(NULL)

/***
Change capability sets; one that is not given stays as it is.
@function capabilities
@tparam table fields `bounding`, `permitted`, `effective`, `inheritable`, `ambient`: lists of names
such as `NET_ADMIN` or `CAP_NET_ADMIN`
@raise `carton.error`: `EPERM` more than is permitted
@see capabilities(7)
@usage carton.privilege.capabilities{ bounding = {}, permitted = {}, effective = {}, inheritable =
{}, ambient = {} }
*/
#define SET(name)                                                                                  \
	{                                                                                          \
#name, carton_decode_capabilities, offsetof(struct step_capabilities, name), 0,    \
			NULL, (const void *)offsetof(struct step_capabilities, has_##name)         \
	}
const struct carton_field carton_capabilities_fields[] = {
	SET(bounding), SET(permitted), SET(effective), SET(inheritable), SET(ambient), END};

/***
Grant no privileges by execve(2) any more: set-user-ID bits and file capabilities do nothing.
@function no_new_privs
@see prctl(2) PR_SET_NO_NEW_PRIVS
*/
/***
Have a new, empty session keyring.
@function session_keyring
@tparam[opt] table fields
@tparam[opt=false] boolean fields.optional do nothing where the kernel has no keys: there is nothing
to hide
@raise `carton.error`: `EDQUOT` too many keys (/proc/sys/kernel/keys/maxkeys), `ENOSYS` a kernel
without keys
@see keyctl(2) KEYCTL_JOIN_SESSION_KEYRING
*/
const struct carton_field carton_session_keyring_fields[] = {
	{"optional", carton_decode_bool, offsetof(struct step_session_keyring, optional), 0, NULL,
         NULL},
	END};

/***
Let nobody make a user namespace inside the present one, which has to be a process's own: not the
initial one.
@function no_userns
@tparam[opt] table fields
@tparam[opt=false] boolean fields.check change nothing, only make sure that it is so
@raise `carton.error`: `EINVAL` the initial user namespace, `EEXIST` one could still be made,
`EACCES` without CAP_SYS_RESOURCE in it
@see user_namespaces(7), namespaces(7)
*/
const struct carton_field carton_no_userns_fields[] = {
	{"check", carton_decode_bool, offsetof(struct step_no_userns, check), 0, NULL, NULL}, END};

/***
Say which label of a security module the next program gets that is executed.
@function label
@tparam table fields
@tparam string fields.module `selinux` or `apparmor`
@tparam string fields.label a context such as `system_u:system_r:container_t:s0:c1,c2`, or the name
of a profile
@raise `carton.error`: `EOPNOTSUPP` that module is not active, `EINVAL` or `ENOENT` no such label,
`EACCES`, `EPERM`
@see apparmor(7), selinux(8)
*/
const struct carton_field carton_label_fields[] = {
	{"module", carton_decode_choice, offsetof(struct step_label, module), 1, NULL,
         carton_security_module_names},
	{"label", carton_decode_string, offsetof(struct step_label, label), 1, NULL, NULL},
	END};

/***
Set resource limits.
@function rlimits
@tparam table fields
@tparam table fields.limits by name (`nofile`, `nproc`, `core`, ...): a number for both, or `{ soft
=, hard = }`; `"unlimited"`
@raise `carton.error`: `EPERM` the hard limit is above ours
@see getrlimit(2)
*/
const struct carton_field carton_rlimits_fields[] = {
	{"limits", carton_decode_rlimits, offsetof(struct step_rlimits, limits), 1, NULL, NULL},
	END};

/* Which of two fields counts would be a guess. */
static void check_user(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	const struct step_user *f = out;

	(void)field;
	if (f->user && f->uid != CARTON_UNSET)
		carton_badfield(arena, "fields 'user' and 'uid' exclude each other");
	if (f->group && f->gid != CARTON_UNSET)
		carton_badfield(arena, "fields 'group' and 'gid' exclude each other");
	if (f->keep_groups && f->has_groups)
		carton_badfield(arena, "fields 'groups' and 'keep_groups' exclude each other");
}

/***
Change user and groups. Names are looked up in the root's own /etc/passwd and /etc/group.
@function user
@tparam table fields
@tparam[opt] string fields.user name or decimal id
@tparam[opt] string fields.group name or decimal id, by default the user's
@tparam[opt] int fields.uid instead of `user`
@tparam[opt] int fields.gid instead of `group`
@tparam[opt] {string,...} fields.groups supplementary groups; by default those of a named user
without `group` and `gid`
@tparam[opt=false] boolean fields.keep_groups leave the caller's supplementary groups
@raise `carton.error`: `ENOENT` no such user or group, `EINVAL` not an id, or not in the id map,
`EPERM`
@see setresuid(2), setgroups(2), passwd(5)
*/
const struct carton_field carton_user_fields[] = {
	{"user", carton_decode_string, offsetof(struct step_user, user), 0, NULL, NULL},
	{"group", carton_decode_string, offsetof(struct step_user, group), 0, NULL, NULL},
	{"uid", carton_decode_id, offsetof(struct step_user, uid), 0, "#-1", NULL},
	{"gid", carton_decode_id, offsetof(struct step_user, gid), 0, "#-1", NULL},
	{"groups", carton_decode_groups, offsetof(struct step_user, groups), 0, NULL,
         (const void *)offsetof(struct step_user, has_groups)},
	{"keep_groups", carton_decode_bool, offsetof(struct step_user, keep_groups), 0, NULL, NULL},
	CHECKED(check_user)};

/***
Set the file mode creation mask.
@function umask
@tparam table fields `mask`, for example `"0022"`
@see umask(2)
*/
const struct carton_field carton_umask_fields[] = {
	{"mask", carton_decode_mask, offsetof(struct step_number, value), 1, NULL, NULL}, END};

/***
Say how willingly the process is killed when memory runs out.
@function oom_score_adj
@tparam table fields `value` from -1000 (never) to 1000
@raise `carton.error`: `EACCES` lower than ours without privilege
@see proc(5)
*/
const struct carton_field carton_oom_fields[] = {
	{"value", carton_decode_integer, offsetof(struct step_number, value), 1, NULL, NULL}, END};

/* These the kernel leaves out in silence where they belong to another policy. */
static void check_scheduler(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	const struct step_scheduler *f = out;
	const char *policy = carton_name_of(carton_policy_names, f->policy);
	bool is_fair =
		f->policy == SCHED_OTHER || f->policy == SCHED_BATCH || f->policy == SCHED_IDLE;

	(void)field;
	if (f->nice && !is_fair)
		carton_badfield(arena, "field 'nice' does not apply to policy '%s'", policy);
	if ((f->runtime || f->deadline || f->period) && strcmp(policy, "deadline") != 0)
		carton_badfield(arena,
		                "fields 'runtime', 'deadline' and 'period' do not apply to "
		                "policy '%s'",
		                policy);
}

/***
Set the scheduling policy.
@function scheduler
@tparam table fields
@tparam[opt="other"] string fields.policy `other batch idle fifo rr deadline`
@tparam[opt=0] int fields.nice
@tparam[opt=0] int fields.priority of fifo and rr
@tparam[opt=0] number fields.runtime seconds, of deadline; likewise `deadline` and `period`
@see sched_setattr(2)
*/
const struct carton_field carton_scheduler_fields[] = {
	{"policy", carton_decode_choice, offsetof(struct step_scheduler, policy), 0, "other",
         carton_policy_names},
	{"nice", carton_decode_integer, offsetof(struct step_scheduler, nice), 0, NULL, NULL},
	{"priority", carton_decode_integer, offsetof(struct step_scheduler, priority), 0, NULL,
         NULL},
	{"runtime", carton_decode_seconds, offsetof(struct step_scheduler, runtime), 0, NULL, NULL},
	{"deadline", carton_decode_seconds, offsetof(struct step_scheduler, deadline), 0, NULL,
         NULL},
	{"period", carton_decode_seconds, offsetof(struct step_scheduler, period), 0, NULL, NULL},
	CHECKED(check_scheduler)};

static void check_ioprio(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	const struct step_ioprio *f = out;

	(void)field;
	if (f->priority && (f->class == IOPRIO_CLASS_NONE || f->class == IOPRIO_CLASS_IDLE))
		carton_badfield(arena, "field 'priority' does not apply to class '%s'",
		                carton_name_of(carton_ioprio_names, f->class));
}

/***
Set the I/O scheduling class.
@function ioprio
@tparam table fields
@tparam string fields.class `none realtime best-effort idle`
@tparam[opt=0] int fields.priority 0 (highest) to 7
@see ioprio_set(2)
*/
const struct carton_field carton_ioprio_fields[] = {
	{"class", carton_decode_choice, offsetof(struct step_ioprio, class), 1, NULL,
         carton_ioprio_names},
	{"priority", carton_decode_integer, offsetof(struct step_ioprio, priority), 0, NULL, NULL},
	CHECKED(check_ioprio)};

/***
Choose the processors to run on.
@function affinity
@tparam table fields `cpus`: `"0-3,8"` or a list of numbers
@raise `carton.error`: `EINVAL` none of them is there
@see sched_setaffinity(2)
*/
const struct carton_field carton_affinity_fields[] = {
	{"cpus", carton_decode_cpus, offsetof(struct step_affinity, cpus), 1, NULL, NULL}, END};

/***
Choose the execution domain.
@function personality
@tparam table fields `persona`: `linux linux32 bsd no_randomize uname26`
@see personality(2)
*/
const struct carton_field carton_personality_fields[] = {{"persona", carton_decode_choices_one,
                                                          offsetof(struct step_number, value), 1,
                                                          NULL, carton_persona_names},
                                                         END};

/***
Set a kernel parameter that belongs to the caller's namespaces. A step sets none of a namespace that
the process that made the plan is in, or the first process that it sees.
@function sysctl
@tparam table fields `name` (`net.ipv4.ip_forward`, with dots or slashes) and `value`
@raise `carton.error`: `EINVAL` it belongs to no namespace, or is not a name; `EPERM` it would be
the host's
@see sysctl(8)
*/
const struct carton_field carton_sysctl_fields[] = {
	{"name", carton_decode_kernel_parameter, offsetof(struct step_sysctl, parameter), 1, NULL,
         NULL},
	{"value", carton_decode_string, offsetof(struct step_sysctl, value), 1, NULL, NULL},
	END};

/***
Install a filter of system calls, for good, for the process and all that come of it.
@function seccomp
@tparam table fields
@tparam string fields.program BPF instructions of 8 bytes: `struct sock_filter`
@tparam[opt] string fields.name of the profile, for plans and messages
@tparam[opt=false] boolean fields.log write refusals into the kernel's log
@tparam[opt=false] boolean fields.spec_allow leave the processor's speculative store bypass on
@tparam[opt=false] boolean fields.tsync for all threads of the process, not the calling one alone
@raise `carton.error`: `EACCES` neither no_new_privs nor CAP_SYS_ADMIN, `EINVAL` not a valid
program, `ENOMEM` too long with the filters before it, `ESRCH` a thread has another filter
@see seccomp(2)
@usage carton.privilege.seccomp{ program = carton.seccomp.compile("default") }
*/
const struct carton_field carton_seccomp_fields[] = {
	{"program", carton_decode_filter, offsetof(struct step_seccomp, program), 1, NULL, NULL},
	{"name", carton_decode_string, offsetof(struct step_seccomp, name), 0, NULL, NULL},
	{"log", carton_decode_bool, offsetof(struct step_seccomp, log), 0, NULL, NULL},
	{"spec_allow", carton_decode_bool, offsetof(struct step_seccomp, spec_allow), 0, NULL,
         NULL},
	{"tsync", carton_decode_bool, offsetof(struct step_seccomp, tsync), 0, NULL, NULL},
	END};

/***
Install a filter that asks: its listener goes to who spawns, as `process:listener()`. What the
process does from here to its program is answered by itself.
@function notify
@tparam table fields
@tparam string fields.program as of `seccomp`
@tparam[opt] string fields.name of the profile, for plans and messages
@tparam[opt={}] {string,...} fields.calls what it asks about, for plans
@tparam[opt=false] boolean fields.log as of `seccomp`
@tparam[opt=false] boolean fields.spec_allow
@raise `carton.error`: `EBUSY` a filter from outside has a listener already, `E2BIG` too long, and
as of `seccomp`; `EINVAL` also a kernel without SECCOMP_RET_USER_NOTIF
@see seccomp_unotify(2)
*/
const struct carton_field carton_notify_fields[] = {
	{"program", carton_decode_filter, offsetof(struct step_notify, program), 1, NULL, NULL},
	{"name", carton_decode_string, offsetof(struct step_notify, name), 0, NULL, NULL},
	{"calls", carton_decode_strings, offsetof(struct step_notify, calls), 0, NULL, NULL},
	{"log", carton_decode_bool, offsetof(struct step_notify, log), 0, NULL, NULL},
	{"spec_allow", carton_decode_bool, offsetof(struct step_notify, spec_allow), 0, NULL, NULL},
	END};
