/* SPDX-License-Identifier: MIT */
/* System calls without the C library: each returns a value or -errno and touches no thread-local
 * state, so that a child that still shares its parent's memory can use them. */
#ifndef CARTON_SYS_H
#define CARTON_SYS_H

#if !defined(__x86_64__) && !defined(__aarch64__)
#error "Carton supports x86_64 and aarch64 only"
#endif

#include <fcntl.h>
#include <limits.h>
#include <linux/errno.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>

#if defined(__x86_64__)
static inline long carton_sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
	                 : "=a"(ret)
	                 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return ret;
}
#else
static inline long carton_sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
	                 : "+r"(x0)
	                 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
	                 : "memory");
	return x0;
}
#endif

/* Whether a new process may share our memory: the sanitizer's idea of stacks would be shared. */
#if !defined(__SANITIZE_ADDRESS__)
#define CARTON_MAY_SHARE true
#else
#define CARTON_MAY_SHARE false
#endif

#define CARTON_SYS(n, a, b, c, d, e, f, ...)                                                       \
	carton_sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define sys_call(...) CARTON_SYS(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* Constants that the headers of supported systems may lack. */
#ifndef MOVE_MOUNT_SET_GROUP
#define MOVE_MOUNT_SET_GROUP 0x00000100
#endif
#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x00001000U
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static inline long sys_close(int fd)
{
	return sys_call(SYS_close, fd);
}

static inline long sys_openat(int dir, const char *path, int flags, unsigned int mode)
{
	return sys_call(SYS_openat, dir, path, flags, mode);
}

static inline long sys_openat2(int dir, const char *path, const struct open_how *how)
{
	return sys_call(SYS_openat2, dir, path, how, sizeof(*how));
}

static inline long sys_read(int fd, void *buffer, size_t size)
{
	return sys_call(SYS_read, fd, buffer, size);
}

static inline long sys_write(int fd, const void *buffer, size_t size)
{
	return sys_call(SYS_write, fd, buffer, size);
}

static inline long sys_mkdirat(int dir, const char *path, unsigned int mode)
{
	return sys_call(SYS_mkdirat, dir, path, mode);
}

static inline long sys_fcntl(int fd, int command, long argument)
{
	return sys_call(SYS_fcntl, fd, command, argument);
}

static inline long sys_ioctl(int fd, unsigned long request, const void *argument)
{
	return sys_call(SYS_ioctl, fd, request, argument);
}

static inline long sys_fstat(int fd, struct stat *st)
{
	return sys_call(SYS_fstat, fd, st);
}

/* The id of the mount that a path is on, as in mountinfo; -ENOSYS before Linux 5.8. */
static inline long sys_mount_id(int dir, const char *path, unsigned int flags, uint64_t *id)
{
	struct statx st = {0};
	long r = sys_call(SYS_statx, dir, path, flags, STATX_MNT_ID, &st);

	*id = st.stx_mnt_id;
	return r == 0 && !(st.stx_mask & STATX_MNT_ID) ? -ENOSYS : r;
}

static inline long sys_fstatat(int dir, const char *path, struct stat *st, int flags)
{
	return sys_call(SYS_newfstatat, dir, path, st, flags);
}

static inline long sys_fstatfs(int fd, struct statfs *fs)
{
	return sys_call(SYS_fstatfs, fd, fs);
}

static inline long sys_fchdir(int fd)
{
	return sys_call(SYS_fchdir, fd);
}

static inline long sys_dup3(int from, int to, int flags)
{
	return sys_call(SYS_dup3, from, to, flags);
}

static inline long sys_fsopen(const char *type)
{
	return sys_call(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

static inline long sys_fsconfig(int fd, unsigned int command, const char *key, const void *value,
                                int aux)
{
	return sys_call(SYS_fsconfig, fd, command, key, value, aux);
}

static inline long sys_fsmount(int fd, unsigned int attributes)
{
	return sys_call(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes);
}

static inline long sys_open_tree(int dir, const char *path, unsigned int flags)
{
	return sys_call(SYS_open_tree, dir, path, flags);
}

/* Attach the detached or attached tree `from` on top of what `to` refers to. */
static inline long sys_move_mount(int from, int to)
{
	return sys_call(SYS_move_mount, from, "", to, "",
	                MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static inline long sys_mount_setattr(int fd, unsigned int flags, const struct mount_attr *attr)
{
	return sys_call(SYS_mount_setattr, fd, "", flags | AT_EMPTY_PATH, attr, sizeof(*attr));
}

static inline long sys_getpid(void)
{
	return sys_call(SYS_getpid);
}

static inline long sys_prctl(int option, unsigned long a, unsigned long b, unsigned long c,
                             unsigned long d)
{
	return sys_call(SYS_prctl, option, a, b, c, d);
}

/* Memory, descriptors and program file of this process are nobody else's: ptrace(2). Until execve.
 */
/* Close all descriptors from `low` on, but those. */
static inline long sys_close_others(int low, const int *kept, size_t count)
{
	long r = 0;

	while (r == 0) {
		int next = INT_MAX;

		for (size_t i = 0; i < count; i++)
			if (kept[i] >= low && kept[i] < next)
				next = kept[i];
		if (next == INT_MAX)
			return sys_call(SYS_close_range, low, ~0U, 0);
		if (next > low)
			r = sys_call(SYS_close_range, low, next - 1, 0);
		low = next + 1;
	}
	return r;
}

static inline long sys_hide(void)
{
	return sys_prctl(4 /* PR_SET_DUMPABLE */, 0, 0, 0, 0);
}

static inline uint64_t sys_microseconds(void)
{
	struct timespec now = {0};

	sys_call(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static inline _Noreturn void sys_exit(int status)
{
	sys_call(SYS_exit_group, status);
	sys_call(SYS_exit, status);
	__builtin_trap(); /* a filter forbids both */
}

#endif
