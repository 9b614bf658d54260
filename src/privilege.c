/* SPDX-License-Identifier: MIT */
/* The perform side of `privilege.*`: ids, capabilities, limits, scheduling, kernel parameters; what
 * walls a process in is in confine.c and landlock.c. */
#include "sys.h"

#include "step.h"

#include <linux/magic.h>
#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/filter.h>
#include <linux/ioprio.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <string.h>

#include "passwd.h"
#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State errno

/* Who has one of them may read any file. */
#define CARTON_READERS (1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_DAC_READ_SEARCH)
#define UNCHANGED      ((unsigned int)-1) /* to setresuid(2) and setresgid(2) */

struct capability_sets {
	uint64_t effective, permitted, inheritable;
};

static long get_capabilities(struct capability_sets *sets)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	long r = sys_call(SYS_capget, &header, data);

	sets->effective = data[0].effective | (uint64_t)data[1].effective << 32;
	sets->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	sets->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
	return r;
}

static long set_capabilities(const struct capability_sets *sets)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{(uint32_t)sets->effective, (uint32_t)sets->permitted, (uint32_t)sets->inheritable},
		{(uint32_t)(sets->effective >> 32), (uint32_t)(sets->permitted >> 32),
	         (uint32_t)(sets->inheritable >> 32)}};

	return sys_call(SYS_capset, &header, data);
}

/* The effective set that a user other than root has after execve(2), without file capabilities: the
 * ambient set, which is a part of the inheritable one. The program is looked up with no more than
 * that, or it could be one that only root may execute. And while the init or the shield is
 * executed, without what opens any file: it must not be readable, so that nobody can look into the
 * process: ptrace(2), would_dump() in the kernel. execve(2) restores them for root. */
int carton_lower_capabilities(struct carton_context *ctx)
{
	struct capability_sets sets;
	uint64_t before;
	long r = get_capabilities(&sets);

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_CAPSET, r);
	before = sets.effective;
	if (sys_call(SYS_geteuid) != 0)
		sets.effective &= sets.inheritable;
	if (ctx->image >= 0)
		sets.effective &= ~CARTON_READERS;
	r = sets.effective == before ? 0 : set_capabilities(&sets);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_CAPSET, r) : 0;
}

/* Drop what is not in the set; what is in it has to be there. */
static int bound_capabilities(struct carton_context *ctx, uint64_t set)
{
	for (unsigned int cap = 0; cap < 64; cap++) {
		bool kept = set >> cap & 1;
		long r = sys_prctl(kept ? PR_CAPBSET_READ : PR_CAPBSET_DROP, cap, 0, 0, 0);

		if (!kept && r == -EPERM) { /* no CAP_SETPCAP: fine where it is dropped already */
			r = sys_prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
			r = r == 1 ? -EPERM : r;
		}
		if (r == -EINVAL && set >> cap == 0 &&
		    sys_prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == -EINVAL)
			return 0; /* past the last one that this kernel knows */
		if (kept && r == 0)
			r = -EPERM;
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_PRCTL, r);
	}
	return 0;
}

static int raise_ambient(struct carton_context *ctx, uint64_t set)
{
	long r = sys_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);

	for (unsigned int cap = 0; cap < 64 && r == 0; cap++)
		if (set >> cap & 1)
			r = sys_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_PRCTL, r) : 0;
}

int carton_privilege_capabilities(struct carton_context *ctx, const void *fields)
{
	const struct step_capabilities *f = fields;
	const uint64_t setpcap = 1ULL << CAP_SETPCAP;
	struct capability_sets now, next;
	long r = get_capabilities(&now);

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_CAPSET, r);
	next = now;
	if (f->has_bounding) { /* first: it takes CAP_SETPCAP, which the next sets may lack */
		if (now.permitted & ~now.effective & setpcap) {
			now.effective |= setpcap;
			r = set_capabilities(&now);
			if (r < 0)
				return carton_fail(ctx, CARTON_CALL_CAPSET, r);
		}
		r = bound_capabilities(ctx, f->bounding);
		if (r < 0)
			return (int)r;
	}
	if (ctx->fresh && !ctx->hidden) {
		r = sys_hide(); /* soon others have the same, and our memory may be the parent's;
		                   a filter may forbid it later */
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_PRCTL, r);
		ctx->hidden = true;
	}
	if (f->has_permitted)
		next.permitted = f->permitted;
	if (f->has_effective)
		next.effective = f->effective;
	if (f->has_inheritable)
		next.inheritable = f->inheritable;
	if (memcmp(&now, &next, sizeof(now)) != 0) {
		r = set_capabilities(&next);
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_CAPSET, r);
	}
	return f->has_ambient ? raise_ambient(ctx, f->ambient) : 0;
}

int carton_privilege_no_new_privs(struct carton_context *ctx, const void *fields)
{
	long r = sys_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);

	(void)fields;
	return r < 0 ? carton_fail(ctx, CARTON_CALL_PRCTL, r) : 0;
}

/* What follows in the plan, and the init, are filtered, too. */
int carton_privilege_seccomp(struct carton_context *ctx, const void *fields)
{
	const struct step_seccomp *f = fields;
	struct sock_fprog program = {
		.len = (unsigned short)(f->length / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)(uintptr_t)f->program};
	unsigned int flags = 0;
	long r;

	if (f->log)
		flags |= SECCOMP_FILTER_FLAG_LOG;
	if (f->spec_allow)
		flags |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	if (f->tsync)
		flags |= SECCOMP_FILTER_FLAG_TSYNC;
	r = sys_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (r > 0) /* the thread that could not follow */
		r = -ESRCH;
	return r < 0 ? carton_fail(ctx, CARTON_CALL_SECCOMP, r) : 0;
}

int carton_privilege_rlimits(struct carton_context *ctx, const void *fields)
{
	const struct step_rlimits *f = fields;

	for (uint32_t i = 0; i < f->limits.count; i++) {
		const struct carton_rlimit *limit = &f->limits.items[i];
		uint64_t pair[2] = {limit->soft, limit->hard}; /* struct rlimit64 */
		long r = sys_call(SYS_prlimit64, 0, limit->resource, pair, NULL);

		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_PRLIMIT, r);
	}
	return 0;
}

/* Where setgroups(2) is denied for ever, the groups that nobody can drop are the caller's own:
 * user_namespaces(7). */
static bool is_denied(struct carton_context *ctx)
{
	char text[8] = "";
	long n;
	int fd;

	if (ctx->denied) /* known already: there may be no procfs any more */
		return true;
	fd = carton_proc_open(ctx, "self/setgroups", O_RDONLY);
	if (fd < 0)
		return false;
	n = sys_read(fd, text, sizeof(text) - 1);
	sys_close(fd);
	ctx->denied = n >= 4 && memcmp(text, "deny", 4) == 0;
	return ctx->denied;
}

static int set_groups(struct carton_context *ctx, const uint32_t *groups, uint32_t count)
{
	long r = sys_call(SYS_setgroups, count, groups);

	if (r == 0)
		return 0;
	if (r == -EPERM && count == 0 && (sys_call(SYS_getgroups, 0, NULL) == 0 || is_denied(ctx)))
		return 0;
	return carton_fail(ctx, CARTON_CALL_SETGROUPS, r);
}

static void keep_home(struct carton_context *ctx, const struct carton_account *account)
{
	ctx->home[0] = '\0';
	if (!account->home[0])
		return;
	memcpy(ctx->home, "HOME=", 5);
	memcpy(ctx->home + 5, account->home, sizeof(account->home));
}

/* The pipes and the terminal of a program are its user's, or it could not open /dev/stderr. What
 * cannot be given away stays as it is, as with other engines. */
static void own_streams(struct carton_context *ctx, uint32_t uid)
{
	for (int fd = 0; ctx->fresh && fd <= 2; fd++) {
		struct statfs fs;
		struct stat st;

		if (sys_fstat(fd, &st) < 0 || st.st_uid == uid || sys_fstatfs(fd, &fs) < 0)
			continue;
		if (fs.f_type == PIPEFS_MAGIC || (ctx->terminal && S_ISCHR(st.st_mode)))
			sys_call(SYS_fchown, fd, uid, -1);
	}
}

int carton_privilege_user(struct carton_context *ctx, const void *fields)
{
	const struct step_user *f = fields;
	struct carton_account account = {.uid = UNCHANGED, .gid = UNCHANGED};
	uint32_t groups[CARTON_GROUPS_MAX];
	uint32_t count = 0;
	long r = 0;

	if (f->uid != CARTON_UNSET)
		account.uid = (uint32_t)f->uid;
	if (f->user)
		r = carton_passwd_user(ctx, f->user, !f->group && f->gid == CARTON_UNSET, &account);
	if (r == 0 && f->group)
		r = carton_passwd_group(ctx, f->group, &account.gid);
	if (r < 0)
		return (int)r;
	if (f->gid != CARTON_UNSET)
		account.gid = (uint32_t)f->gid;
	if (f->groups.count > CARTON_GROUPS_MAX)
		return carton_fail(ctx, CARTON_CALL_SETGROUPS, -E2BIG);
	for (; count < f->groups.count && r == 0; count++)
		r = carton_passwd_group(ctx, f->groups.items[count], &groups[count]);
	if (r == 0 && !f->has_groups && account.named && !f->group && f->gid == CARTON_UNSET)
		r = carton_passwd_groups(ctx, f->user, groups, &count);
	if (r < 0)
		return (int)r;

	keep_home(ctx, &account);
	if (account.uid != UNCHANGED)
		own_streams(ctx, account.uid);
	/* Permitted capabilities stay until the step that says what becomes of them, or execve(2).
	 */
	r = sys_prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_PRCTL, r);
	if (!f->keep_groups) {
		r = set_groups(ctx, groups, count);
		if (r < 0)
			return (int)r;
	}
	r = sys_call(SYS_setresgid, account.gid, account.gid, account.gid);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_SETRESGID, r);
	r = sys_call(SYS_setresuid, account.uid, account.uid, account.uid);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_SETRESUID, r) : 0;
}

int carton_privilege_umask(struct carton_context *ctx, const void *fields)
{
	const struct step_number *f = fields;
	long r = sys_call(SYS_umask, f->value & 0777);

	ctx->umask_saved = false;
	return r < 0 ? carton_fail(ctx, CARTON_CALL_UMASK, r) : 0;
}

int carton_privilege_oom_score_adj(struct carton_context *ctx, const void *fields)
{
	const struct step_number *f = fields;
	char text[24], *end = text;

	if (f->value < 0)
		*end++ = '-';
	end = put_number(end, f->value < 0 ? -(uint64_t)f->value : (uint64_t)f->value);
	return carton_proc_write(ctx, "self/oom_score_adj", text, (size_t)(end - text));
}

int carton_privilege_scheduler(struct carton_context *ctx, const void *fields)
{
	const struct step_scheduler *f = fields;
	struct { /* struct sched_attr, which the C library does not have */
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr = {sizeof(attr),          f->policy,  f->flags,    (int32_t)f->nice,
	          (uint32_t)f->priority, f->runtime, f->deadline, f->period};
	long r;

	if (f->nice < -20 || f->nice > 19 || f->priority < 0 || f->priority > 99)
		return carton_fail(ctx, CARTON_CALL_SCHED, -EINVAL);
	r = sys_call(SYS_sched_setattr, 0, &attr, 0);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_SCHED, r) : 0;
}

int carton_privilege_ioprio(struct carton_context *ctx, const void *fields)
{
	const struct step_ioprio *f = fields;
	long r;

	if (f->priority < 0 || f->priority > 7)
		return carton_fail(ctx, CARTON_CALL_IOPRIO, -EINVAL);
	r = sys_call(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
	             f->class << IOPRIO_CLASS_SHIFT | (unsigned long)f->priority);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_IOPRIO, r) : 0;
}

int carton_privilege_affinity(struct carton_context *ctx, const void *fields)
{
	const struct step_affinity *f = fields;
	uint64_t now[countof(f->cpus)] = {0};
	long r = sys_call(SYS_sched_setaffinity, 0, sizeof(f->cpus), f->cpus);

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_AFFINITY, r);
	/* those that are not there, or not allowed, the kernel leaves out in silence */
	r = sys_call(SYS_sched_getaffinity, 0, sizeof(now), now);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_AFFINITY, r);
	return memcmp(now, f->cpus, sizeof(now)) == 0
	               ? 0
	               : carton_fail(ctx, CARTON_CALL_AFFINITY, -EINVAL);
}

int carton_privilege_personality(struct carton_context *ctx, const void *fields)
{
	const struct step_number *f = fields;
	long r = sys_call(SYS_personality, f->value);

	return r < 0 ? carton_fail(ctx, CARTON_CALL_PERSONALITY, r) : 0;
}

static bool starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* From a name to a path below sys/. With a slash anywhere, slashes separate and dots are part of a
 * name (net/ipv4/conf/eth0.1/forwarding); without, dots separate. */
static bool sysctl_path(const char *name, char *path, size_t size)
{
	bool slashes = strchr(name, '/') != NULL;
	char *component = path, *end = path;

	for (;; name++) {
		char c = !slashes && *name == '.' ? '/' : *name;

		if ((size_t)(end - path) + 1 >= size)
			return false;
		if (c == '/' || c == '\0') {
			*end = '\0';
			if (end == component || strcmp(component, ".") == 0 ||
			    strcmp(component, "..") == 0)
				return false;
			component = end + 1;
		}
		*end++ = c;
		if (c == '\0')
			return true;
	}
}

static bool is_namespaced(const char *path)
{
	if (starts(path, "kernel/msg") || starts(path, "kernel/sem") || starts(path, "kernel/shm"))
		return !strchr(path + strlen("kernel/"), '/');
	return starts(path, "net/") || starts(path, "fs/mqueue/");
}

/* A namespace is known by its inode, however it came to be ours. */
static int check_own(struct carton_context *ctx, const char *kind, const struct carton_homes *homes)
{
	struct stat st;
	long r;
	int fd = carton_proc_open(ctx, "self/ns", O_PATH | O_DIRECTORY);

	if (fd < 0)
		return fd;
	r = sys_call(SYS_newfstatat, fd, kind, &st, 0);
	sys_close(fd);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_FSTAT, r);
	if (homes->own == 0 || st.st_ino == homes->own || st.st_ino == homes->first)
		return carton_fail(ctx, CARTON_CALL_CHECK_SHARED, -EPERM);
	return 0;
}

int carton_privilege_sysctl(struct carton_context *ctx, const void *fields)
{
	const struct step_sysctl *f = fields;
	char path[256] = "sys/";
	char *name = path + strlen(path);
	int r = 0;

	if (!sysctl_path(f->parameter.name, name, sizeof(path) - strlen(path)) ||
	    !is_namespaced(name))
		return carton_fail(ctx, CARTON_CALL_CHECK_SYSCTL, -EINVAL);
	if (ctx->fresh)
		r = starts(name, "net/") ? check_own(ctx, "net", &f->parameter.net)
		                         : check_own(ctx, "ipc", &f->parameter.ipc);
	return r < 0 ? r : carton_proc_write(ctx, path, f->value, strlen(f->value));
}
