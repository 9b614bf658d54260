/* SPDX-License-Identifier: MIT */
/* Steps as the child sees them: what each primitive is told, what it may use, how it reports.
 * No Lua here. Strings and arrays live in the plan's arena, at the same address in the child. */
#ifndef CARTON_STEP_H
#define CARTON_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CARTON_EXIT_SETUP 125
#define CARTON_INIT_ENDED "ended by " /* the name of an init whose program a signal has ended */
#define CARTON_WANTED     (-2)        /* a shield, by whatever means the parent chooses */
#define CARTON_UNSET      (-1)        /* an integer field that was not given */
#define CARTON_NO_MODE    UINT32_MAX
#define CARTON_HOME_MAX   256 /* bytes of a home directory that is looked up, with the NUL */
#define CARTON_ARGS_SPARE 3   /* places for the init before args[0] */
#define CARTON_FDS_MAX    256 /* descriptors that a program gets; handles of later steps lie above */

struct stat;

/* What went wrong, more closely than errno says: the system call, or a check of our own. */
#define CARTON_CALLS(X)                                                                            \
	X(NONE, "")                                                                                \
	X(OPEN, "open")                                                                            \
	X(OPENAT2, "openat2")                                                                      \
	X(OPEN_TREE, "open_tree")                                                                  \
	X(MOVE_MOUNT, "move_mount")                                                                \
	X(FSOPEN, "fsopen")                                                                        \
	X(FSCONFIG, "fsconfig")                                                                    \
	X(FSMOUNT, "fsmount")                                                                      \
	X(MOUNT_SETATTR, "mount_setattr")                                                          \
	X(MOUNT, "mount")                                                                          \
	X(UMOUNT, "umount2")                                                                       \
	X(PIVOT_ROOT, "pivot_root")                                                                \
	X(MKDIR, "mkdirat")                                                                        \
	X(MKNOD, "mknodat")                                                                        \
	X(SYMLINK, "symlinkat")                                                                    \
	X(WRITE, "write")                                                                          \
	X(READ, "read")                                                                            \
	X(CHMOD, "fchmod")                                                                         \
	X(CHOWN, "fchownat")                                                                       \
	X(FSTAT, "fstat")                                                                          \
	X(FSTATFS, "fstatfs")                                                                      \
	X(CHDIR, "chdir")                                                                          \
	X(GETCWD, "getcwd")                                                                        \
	X(UMASK, "umask")                                                                          \
	X(CHROOT, "chroot")                                                                        \
	X(UNSHARE, "unshare")                                                                      \
	X(SETNS, "setns")                                                                          \
	X(CLONE, "clone3")                                                                         \
	X(SETSID, "setsid")                                                                        \
	X(SETPGID, "setpgid")                                                                      \
	X(IOCTL, "ioctl")                                                                          \
	X(DUP, "dup")                                                                              \
	X(CLOSE_RANGE, "close_range")                                                              \
	X(PRCTL, "prctl")                                                                          \
	X(CAPSET, "capset")                                                                        \
	X(SETGROUPS, "setgroups")                                                                  \
	X(SETRESUID, "setresuid")                                                                  \
	X(SETRESGID, "setresgid")                                                                  \
	X(PRLIMIT, "prlimit")                                                                      \
	X(SCHED, "sched_setattr")                                                                  \
	X(AFFINITY, "sched_setaffinity")                                                           \
	X(IOPRIO, "ioprio_set")                                                                    \
	X(PERSONALITY, "personality")                                                              \
	X(SETHOSTNAME, "sethostname")                                                              \
	X(SETDOMAINNAME, "setdomainname")                                                          \
	X(KEYCTL, "keyctl")                                                                        \
	X(GETRANDOM, "getrandom")                                                                  \
	X(SECCOMP, "seccomp")                                                                      \
	X(SIGPROCMASK, "rt_sigprocmask")                                                           \
	X(SOCKET, "socket")                                                                        \
	X(SEND, "sendmsg")                                                                         \
	X(EXECVE, "execve")                                                                        \
	X(PTRACE, "ptrace")                                                                        \
	X(POLL, "poll")                                                                            \
	X(LANDLOCK_CREATE, "landlock_create_ruleset")                                              \
	X(LANDLOCK_RULE, "landlock_add_rule")                                                      \
	X(LANDLOCK_RESTRICT, "landlock_restrict_self")                                             \
	/* checks: the subject of the step is not what it has to be */                             \
	X(CHECK_DEVICE, "is not that device")                                                      \
	X(CHECK_MODE, "has another mode")                                                          \
	X(CHECK_NODEV, "is on a nodev mount, where no device can be opened")                       \
	X(CHECK_PROC, "is not a proc file system")                                                 \
	X(CHECK_USER, "has no such user")                                                          \
	X(CHECK_GROUP, "has no such group")                                                        \
	X(CHECK_PASSWD, "is not a regular file")                                                   \
	X(CHECK_SYSCTL, "belongs to no namespace of its own")                                      \
	X(CHECK_HIDDEN, "is covered by a mount above it")                                          \
	X(CHECK_ROOT, "is the root itself: a mount there has the target \"/\"")                    \
	X(CHECK_SHARED, "would be the host's")                                                     \
	X(CHECK_TERMINAL, "belongs to no devpts file system")                                      \
	X(CHECK_CWD, "is outside of the root file system")                                         \
	X(CHECK_OWN, "is the file of who starts it")                                               \
	X(CHECK_FLAGS, "its flags for the whole machine can't be told")                            \
	X(CHECK_PARENT, "lost its parent")                                                         \
	X(CHECK_SYNC, "was refused by the parent")                                                 \
	X(CHECK_LANDLOCK, "the kernel's Landlock lacks a right")                                   \
	X(CHECK_USERNS, "belongs to no user namespace of its own")                                 \
	X(CHECK_NO_USERNS, "a user namespace could still be made")                                 \
	X(CHECK_LABEL, "that security module is not active")                                       \
	/* why exec failed: text holds the interpreter or loader */                                \
	X(WHY_INTERPRETER, "interpreter is missing")                                               \
	X(WHY_LOADER, "program's ELF interpreter is missing")                                      \
	X(WHY_NOEXEC, "is on a noexec mount")

enum carton_call {
#define X(name, word) CARTON_CALL_##name,
	CARTON_CALLS(X)
#undef X
};

enum carton_report_kind { CARTON_REPORT_FAILED = 1, CARTON_REPORT_SYNC, CARTON_REPORT_FD };

/* One message from child to parent; smaller than any socket buffer, so always whole. */
struct carton_report {
	uint32_t kind;
	uint32_t step;  /* index into the plan: the parent knows the words */
	int32_t errnum; /* errno, positive */
	uint32_t call;  /* enum carton_call */
	char text[240]; /* what the kernel or the file system says of it: a path, a log line */
};

/* What a step took: shared with the parent while a plan is traced. */
struct carton_trace {
	uint64_t began; /* microseconds, CLOCK_MONOTONIC */
	uint64_t ended; /* 0: never came to it */
	int32_t errnum;
};

/* What one step leaves for the next, in the process that performs them. */
struct carton_context {
	int root;     /* O_PATH descriptor: targets are resolved inside it */
	int proc;     /* root of a verified procfs, -1 until carton_proc opened it */
	int old_proc; /* that of the old root, for where the new one has none, or -1 */
	int stage;    /* root of the mount that holds the caller's root and the new one, or -1 */
	bool wants_stage; /* the new root goes on one: pivot.c */
	bool own_mounts;  /* nobody else is in the mount namespace */
	bool wants_null;  /* something is masked after pivot_root */
	int null;         /* a mount of /dev/null, or -1 */
	bool null_used;   /* it is attached */
	int channel;      /* socket to the parent, -1 outside of a plan */
	int parent;       /* pidfd of the parent, -1 outside of a plan */
	bool traced;      /* stops at exec, where the parent looks at what is executed */
	bool closed;      /* nothing is open but what the program gets */
	int fds;          /* descriptors 0 to fds - 1 are the program's, 0: not known */
	int image;        /* memfd of the init, -1 outside of a plan, or without one */
	int masked;       /* an attached, empty, read-only directory to mask others with, or -1 */
	bool fresh;       /* in a plan (a new process), not in the calling process */
	bool listening;   /* a filter asks the parent */
	int32_t *forked;  /* where the pid of the child of exec.fork is told, for the parent */
	bool hidden;      /* from who has the same user and capabilities */
	bool denied;      /* setgroups(2) is, in the user namespace that was made or entered */
	bool terminal;    /* descriptors 0 to 2 are one that was made for the program */
	char home[sizeof("HOME=") + CARTON_HOME_MAX]; /* of the user, as in the environment */
	bool umask_saved; /* it is 0 until privilege.umask or carton_restore_umask */
	long umask;
	int dir; /* the last one in which something was made, or -1: carton_root_forget */
	char dir_path[64];
	uint64_t dir_resolve;
	bool dir_known;  /* by the path; it was not too long to keep */
	bool dir_usable; /* a device there can be opened */
	struct carton_place {
		uint64_t mount, inode;
		uint32_t major, minor;
		bool known;
	} root_place;   /* of `root` */
	char last[256]; /* what carton_root_parent last pointed at */
	struct carton_report report;
};

/* Record which call failed, and pass its -errno on: `return carton_fail(ctx, CARTON_CALL_X, r)`. */
static inline int carton_fail(struct carton_context *ctx, enum carton_call call, long result)
{
	ctx->report.call = call;
	return (int)result;
}

/* Copy what a failure is about into the report; cut off when too long. */
void carton_tell(struct carton_context *ctx, const char *text);

/* ---- lookups inside a root file system: root.c ---- */

#define CARTON_OPEN_CREATE_DIR  1 /* make it and its parents as directories when missing */
#define CARTON_OPEN_CREATE_FILE 2 /* make it as an empty file when missing */
#define CARTON_OPEN_NOFOLLOW    4 /* refuse symbolic links anywhere in the path: ELOOP */

/* An O_PATH descriptor of `path` inside ctx->root, or -errno; never leaves the root. */
int carton_root_open(struct carton_context *ctx, const char *path, int flags);
/* Open with ordinary open flags inside ctx->root (O_CLOEXEC is added), or -errno. */
int carton_root_openat(struct carton_context *ctx, const char *path, int flags, unsigned int mode);
/* The parent directory of `path` (made when `create`), which stays open for the next one; and point
 * at its last component, a copy in ctx->last without trailing slashes. -EEXIST where there is none:
 * "/", "." and "..". */
int carton_root_parent(struct carton_context *ctx, const char *path, bool create,
                       const char **last);
/* Close it: before anything is mounted or the root changes. */
void carton_root_forget(struct carton_context *ctx);
/* Another descriptor becomes the root; the one before is closed. */
void carton_root_set(struct carton_context *ctx, int fd);
/* A system call that makes a file: its mode is what the step says, whatever the caller's umask,
 * which a new process has back before it executes. */
int carton_restore_umask(struct carton_context *ctx);
long carton_create(struct carton_context *ctx, long nr, long a, long b, long c, long d);
/* Whether it is an ordinary file: not a FIFO or device, nor one by which procfs or sysfs act. */
bool carton_is_regular(int fd, const struct stat *st);
/* These set ctx->report.call themselves: a caller can return what they return. */

/* A descriptor of the root of a verified procfs, kept in ctx->proc; -errno. */
int carton_proc(struct carton_context *ctx);
/* Open `path` below it with ordinary open flags, crossing no mount and no link but `self`. */
int carton_proc_open(struct carton_context *ctx, const char *path, int flags);
/* Write `value` whole, in one write, to `path` below it. */
int carton_proc_write(struct carton_context *ctx, const char *path, const char *value,
                      size_t length);

/* ---- what each primitive is told ---- */

struct carton_strings {
	const char **items; /* ends with NULL */
	uint32_t count;
};

struct carton_fds {
	const int *items;
	uint32_t count;
};

struct carton_option { /* one parameter of a file system */
	const char *key;
	const char *value; /* NULL: a flag */
};

struct carton_options {
	const struct carton_option *items;
	uint32_t count;
};

struct carton_attributes { /* mount attributes: MOUNT_ATTR_* */
	uint64_t set;
	uint64_t clear;
};

struct carton_idmap_entry {
	uint32_t container_id;
	uint32_t host_id;
	uint32_t size;
};

struct carton_idmap {
	const struct carton_idmap_entry *items;
	uint32_t count;
};

struct carton_rlimit {
	int resource;
	uint64_t soft;
	uint64_t hard;
};

struct carton_rlimits {
	const struct carton_rlimit *items;
	uint32_t count;
};

struct carton_ids {
	const uint32_t *items;
	uint32_t count;
	bool given;
};

/* namespace.c */
struct step_unshare {
	uint64_t kinds; /* CLONE_NEW* */
};
struct step_enter {
	struct carton_fds namespaces;
	int process;    /* pidfd, or CARTON_UNSET */
	uint64_t kinds; /* of the process */
};
struct step_idmap {
	int64_t pid; /* 0: the caller */
	struct carton_idmap uids;
	struct carton_idmap gids;
	bool setgroups; /* leave setgroups(2) allowed */
};
struct step_time_offsets {
	int64_t monotonic; /* seconds */
	int64_t boottime;
};
struct step_hostname {
	const char *name;
};
struct step_network_up {
	const char *interface;
};

/* cgroup.c */
struct step_cgroup_enter {
	struct carton_fds cgroups;
};

/* mount.c */
struct step_bind {
	const char *source; /* NULL when tree is given */
	int tree;           /* descriptor of a detached tree, or CARTON_UNSET */
	const char *target;
	bool recursive;
	bool create;   /* make a missing target */
	bool optional; /* do nothing where the source does not exist */
	bool nofollow; /* refuse symbolic links in the target */
	int idmap;     /* user namespace for an idmapped mount, or CARTON_UNSET */
	struct carton_attributes options;
	uint64_t propagation; /* MS_* or 0 */
};
struct step_attach {
	int tree;
	const char *target;
	bool create;
	bool nofollow;
};
struct step_filesystem {
	const char *type;
	const char *source; /* NULL: the type */
	const char *target;
	bool create;
	bool nofollow;
	struct carton_options data;
	struct carton_attributes options;
};
struct step_overlay {
	struct carton_strings lower; /* uppermost first */
	const char *upper;           /* NULL with work: see temporary */
	const char *work;
	bool temporary;   /* upper and work on a tmpfs that goes with the mount */
	const char *size; /* of that tmpfs, NULL: the kernel's default */
	const char *target;
	bool create;
	struct carton_options data;
	struct carton_attributes options;
};
struct step_setattr {
	const char *target;
	bool recursive;
	bool below; /* not of the target itself */
	bool optional;
	struct carton_attributes options;
	int idmap;
};
struct step_propagation {
	const char *target;
	uint64_t propagation; /* MS_PRIVATE, ... */
	bool recursive;
};
struct step_move {
	const char *source;
	const char *target;
};
struct step_unmount {
	const char *target;
	bool detach;
	bool force;
	bool nofollow;
};
struct step_pivot_root {
	const char *new_root; /* NULL: what was mounted on "/" by earlier steps */
	const char *put_old;  /* NULL: the old root is detached */
};
struct step_mkdir {
	const char *target;
	uint32_t mode; /* or CARTON_NO_MODE */
	bool parents;
	bool optional; /* one that is there already is fine, with that mode if one is given */
};
struct step_write {
	const char *target;
	const char *content;
	uint64_t length;
	uint32_t mode; /* or CARTON_NO_MODE */
	bool append;
	bool create;
};
struct step_symlink {
	const char *target; /* what the link holds */
	const char *path;   /* where the link is */
	bool optional;      /* one that is there already and holds the same is fine */
};
struct step_device {
	const char *path;
	const char *source; /* host's node to bind where mknod is not allowed */
	uint32_t type;      /* S_IFCHR or S_IFBLK */
	int64_t major;
	int64_t minor;
	uint32_t mode; /* or CARTON_NO_MODE */
	bool bind;     /* bind the host's node; false: mknod */
};
struct step_paths {
	struct carton_strings paths; /* those that do not exist are skipped */
};
struct step_protect { /* paths below /proc and /sys: in every procfs and sysfs */
	struct carton_strings masked;
	struct carton_strings readonly;
};
struct step_chown {
	const char *target;
	int64_t uid;
	int64_t gid;
};
struct step_chmod {
	const char *target;
	uint32_t mode;
};

/* exec.c */
struct step_sync {
	const char *name;
};
struct step_exec {
	struct carton_strings args; /* with CARTON_ARGS_SPARE free places before it */
	struct carton_strings env;
	const char *path; /* NULL: args[0], searched in PATH of env when it has no slash */
	bool home;        /* HOME in env is that of the step privilege.user, where one is listed */
	int64_t init;     /* memfd of the init that runs it as its child, or CARTON_UNSET */
	int64_t shield;   /* the same memfd, which becomes it, or CARTON_UNSET */
};
struct step_chdir {
	const char *path;
};
struct step_descriptors {
	struct carton_fds fds; /* become 0, 1, 2, ...; -1: stays as it is */
};
struct step_terminal {
	const char *ptmx;    /* of the devpts instance inside */
	const char *console; /* bind the terminal there as well, or NULL */
	int64_t rows, columns;
};
struct step_die_with_parent {
	int64_t signal;
};
struct step_flag {
	bool unused;
};
struct step_controlling {
	int64_t fd;
};

/* privilege.c */
struct step_capabilities {
	uint64_t bounding, permitted, effective, inheritable, ambient;
	bool has_bounding, has_permitted, has_effective, has_inheritable, has_ambient;
};
struct step_rlimits {
	struct carton_rlimits limits;
};
struct step_user {
	const char *user;  /* name or decimal id, looked up in `passwd`; or NULL and uid */
	const char *group; /* name or decimal id, NULL: the user's */
	int64_t uid, gid;  /* or CARTON_UNSET */
	struct carton_strings groups; /* supplementary, names or ids */
	bool has_groups;              /* false: none, or those of the group file for a named user */
	bool keep_groups;             /* leave the caller's supplementary groups */
};
struct step_number {
	int64_t value;
};
struct step_scheduler {
	uint32_t policy;
	int64_t nice;
	int64_t priority;
	uint64_t flags;
	uint64_t runtime, deadline, period; /* nanoseconds */
};
struct step_ioprio {
	uint32_t class;
	int64_t priority;
};
struct step_affinity {
	uint64_t cpus[16]; /* a bit for each processor */
};
struct step_seccomp {
	const char *program; /* instructions of 8 bytes: struct sock_filter */
	uint64_t length;     /* in bytes */
	const char *name;    /* of the profile, for plans and messages; or NULL */
	bool log, spec_allow, tsync;
};
struct step_notify {
	const char *program; /* as of step_seccomp */
	uint64_t length;
	const char *name;
	struct carton_strings calls; /* that it asks about, for plans */
	bool log, spec_allow;
};
struct carton_parameter {
	const char *name; /* with dots or slashes */
	/* inodes of the namespaces of the process that made the plan, and of the first process that
	 * it sees; 0: not known */
	struct carton_homes {
		uint64_t own, first;
	} net, ipc;
};
struct step_sysctl {
	struct carton_parameter parameter;
	const char *value;
};
struct step_session_keyring {
	bool optional; /* a kernel without keys is fine */
};
struct step_no_userns {
	bool check; /* only make sure */
};
struct step_label {
	uint32_t module; /* enum carton_security_module */
	const char *label;
};
enum carton_security_module { CARTON_SELINUX, CARTON_APPARMOR };

/* landlock.c */
struct carton_path_rule {
	const char *path;
	uint64_t access;
	bool optional; /* a path that is missing is fine */
	bool nofollow; /* refuse symbolic links in the path */
};
struct carton_path_rules {
	const struct carton_path_rule *items;
	uint32_t count;
};
struct carton_ports {
	const uint16_t *items;
	uint32_t count;
};
struct carton_landlock_tcp {
	struct carton_ports bind, connect;
	bool has_bind, has_connect; /* given: others are denied */
	bool optional;
};
struct carton_landlock_scopes {
	uint64_t set;
	bool optional;
};
struct step_landlock {
	uint64_t handled; /* rights of the file system that are denied where no rule allows them */
	struct carton_path_rules rules;
	struct carton_landlock_tcp tcp;
	struct carton_landlock_scopes scopes;
	bool optional; /* of `handled`: what the kernel lacks is left out */
};

/* Make the place for the new root: an O_PATH descriptor, or -errno. pivot.c */
int carton_stage(struct carton_context *ctx);
/* Flags of carton_root_open for the place of a mount. */
int carton_place_flags(bool create, bool directory, bool nofollow);
/* Attach a tree inside the root; on "/" it becomes what later targets are resolved in. */
int carton_attach(struct carton_context *ctx, int tree, const char *target, int flags);
/* The same, and give the descriptor up, unless it has become the root: mount.c. */
int carton_attach_close(struct carton_context *ctx, int tree, const char *target, int flags);
/* Set one parameter of a file system, or a flag where value is NULL; and all of them. */
int carton_configure(struct carton_context *ctx, int fs, const char *key, const char *value);
int carton_configure_all(struct carton_context *ctx, int fs, const struct carton_options *data);
/* From a configured context to a detached mount; the context is closed either way. */
int carton_create_mount(struct carton_context *ctx, int fs, uint64_t attributes);
/* A detached mount of a file system, or -errno: filesystem.c. */
int carton_filesystem_create(struct carton_context *ctx, const struct step_filesystem *fields);

/* Attach a copy of what one descriptor refers to on what the other does; the attributes are
 * recursive with it: tree.c */
int carton_bind_at(struct carton_context *ctx, int source, int target, bool recursive,
                   uint64_t attributes);
/* Attach the host's /dev/null there. */
int carton_bind_null(struct carton_context *ctx, int target);
/* Have it ready for when the host's /dev is out of reach. */
int carton_open_null(struct carton_context *ctx);

/* Tell the parent something, with a descriptor or -1; `secret`: what lets it pass a filter of
 * notify.c, or NULL. exec.c */
int carton_send_report(struct carton_context *ctx, uint32_t kind, int fd, const uint64_t *secret);
int carton_await_reply(struct carton_context *ctx);
/* Before the program is executed, or the filters that come right before it: privilege.c */
int carton_lower_capabilities(struct carton_context *ctx);

/* Stop at exec; `last`: nothing but a filter comes before it. exec.c */
int carton_exec_watch(struct carton_context *ctx, bool last);

/* Perform columns of the table in primitive.c: 0 or -errno, with ctx->report.call set. */
#define CARTON_PERFORM(name) int carton_##name(struct carton_context *ctx, const void *fields)
CARTON_PERFORM(namespace_unshare);
CARTON_PERFORM(namespace_enter);
CARTON_PERFORM(namespace_idmap);
CARTON_PERFORM(namespace_time_offsets);
CARTON_PERFORM(namespace_hostname);
CARTON_PERFORM(namespace_domainname);
CARTON_PERFORM(namespace_network_up);
CARTON_PERFORM(cgroup_enter);
CARTON_PERFORM(mount_bind);
CARTON_PERFORM(mount_attach);
CARTON_PERFORM(mount_filesystem);
CARTON_PERFORM(mount_overlay);
CARTON_PERFORM(mount_setattr);
CARTON_PERFORM(mount_propagation);
CARTON_PERFORM(mount_move);
CARTON_PERFORM(mount_unmount);
CARTON_PERFORM(mount_pivot_root);
CARTON_PERFORM(mount_mkdir);
CARTON_PERFORM(mount_write);
CARTON_PERFORM(mount_symlink);
CARTON_PERFORM(mount_device);
CARTON_PERFORM(mount_mask);
CARTON_PERFORM(mount_readonly);
CARTON_PERFORM(mount_protect);
CARTON_PERFORM(mount_chown);
CARTON_PERFORM(mount_chmod);
CARTON_PERFORM(exec_sync);
CARTON_PERFORM(exec_exec);
CARTON_PERFORM(exec_chdir);
CARTON_PERFORM(exec_chroot);
CARTON_PERFORM(exec_descriptors);
CARTON_PERFORM(exec_terminal);
CARTON_PERFORM(exec_die_with_parent);
CARTON_PERFORM(exec_setsid);
CARTON_PERFORM(exec_setpgid);
CARTON_PERFORM(exec_controlling);
CARTON_PERFORM(exec_fork);
CARTON_PERFORM(privilege_capabilities);
CARTON_PERFORM(privilege_no_new_privs);
CARTON_PERFORM(privilege_rlimits);
CARTON_PERFORM(privilege_user);
CARTON_PERFORM(privilege_umask);
CARTON_PERFORM(privilege_oom_score_adj);
CARTON_PERFORM(privilege_scheduler);
CARTON_PERFORM(privilege_ioprio);
CARTON_PERFORM(privilege_affinity);
CARTON_PERFORM(privilege_personality);
CARTON_PERFORM(privilege_sysctl);
CARTON_PERFORM(privilege_session_keyring);
CARTON_PERFORM(privilege_no_userns);
CARTON_PERFORM(privilege_label);
CARTON_PERFORM(privilege_landlock);
CARTON_PERFORM(privilege_seccomp);
CARTON_PERFORM(privilege_notify);

#endif
