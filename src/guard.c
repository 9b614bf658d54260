/* SPDX-License-Identifier: MIT */
/***
The guard: it kills processes and cgroups as soon as this process has ended.
@module carton.exec
*/
/* A small process, started with the first launch. PR_SET_PDEATHSIG alone is not enough: a program
 * can reset it, and a change of ids does. The guard watches us by a pidfd and holds one of each
 * process that must not outlive us; none of them can see or signal it. */
#include "guard.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "init_guard.h"
#include "init_image.h"
#include "process.h"
#include "step.h"
#include "sys.h"
#include "util.h"

#define STACK_SIZE 16384
#define START_TIME 10000    /* milliseconds */
#define SHORT      50000000 /* nanoseconds */

static struct {
	pid_t owner; /* a fork of ours has no guard yet */
	int socket;
	pid_t parent; /* of the guard, until it is reaped */
	pid_t inside; /* in our memory, on the second stack: 0 when it has executed, or ended */
	bool ready;   /* it has said that it is there, or is not */
} guard = {.socket = -1};

struct start {
	int fds[3]; /* of the guard: its socket, the pidfd of its owner, its program */
	char numbers[2][24];
};

/* Static, as the guard leaves it only some time after we went on. */
static _Alignas(16) char stacks[2][STACK_SIZE];
static struct start start;

/* True: the owner has ended soon. */
static bool was_short(void)
{
	struct pollfd fd = {.fd = start.fds[1], .events = POLLIN};
	struct timespec time = {.tv_nsec = SHORT};

	return sys_call(SYS_ppoll, &fd, 1, &time, NULL, 8) == 1;
}

/* In our memory: only system calls. A program of its own costs a short launch 10 %, so it executes
 * one only after a while, lest the kernel, out of memory, kill both of us together. */
static int hold(void *unused)
{
	const char *const args[] = {"carton-guard", start.numbers[0], start.numbers[1], NULL};
	const char *const env[] = {NULL};

	(void)unused;
	sys_call(SYS_setsid);
	sys_call(SYS_chdir, "/");
	sys_prctl(PR_SET_NAME, (unsigned long)"carton-guard", 0, 0, 0);
	sys_close_others(0, start.fds, countof(start.fds));
	sys_write(start.fds[0], "", 1);
	if (!was_short()) {
		for (int i = 0; i < 2; i++)
			sys_call(SYS_fcntl, start.fds[i], F_SETFD, 0);
		sys_call(SYS_execveat, start.fds[2], "", args, env, AT_EMPTY_PATH);
	}
	carton_guard_run(start.fds[0], start.fds[1]);
}

/* A child that begins with `f`, on a stack of its own where it shares our memory. */
static pid_t begin(int (*f)(void *), char *stack, int flags)
{
	pid_t pid;

	if (CARTON_MAY_SHARE)
		return clone(f, stack + STACK_SIZE, flags | CLONE_VM, NULL, NULL, NULL,
		             &guard.inside);
	pid = (pid_t)sys_call(SYS_clone, flags, 0, 0, 0, 0);
	if (pid == 0)
		f(NULL);
	return pid;
}

/* Its parent ends at once, so that it is no child of ours that somebody waits for. Nor is the
 * parent: it sends no signal when it ends, and is reaped by who asks for such a one, wait(2):
 * __WALL. */
static int leave(void *unused)
{
	(void)unused;
	if (begin(hold, stacks[1], SIGCHLD | CLONE_CHILD_CLEARTID) < 0) /* its socket is closed */
		guard.inside = 0;
	sys_exit(0);
}

/* Go on at once: to wait for two others to be scheduled takes longer than all that they do. */
static int fork_guard(void)
{
	sigset_t all, before;

	/* no handler of ours may run on its stack, and nothing but SIGKILL ends the guard */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	guard.inside = CARTON_MAY_SHARE;
	guard.parent = begin(leave, stacks[0], 0);
	if (guard.parent < 0)
		guard.inside = 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return guard.parent < 0 ? -EAGAIN : 0;
}

void carton_guard_settle(void)
{
	while (guard.parent > 0 && guard.owner == getpid() &&
	       waitpid(guard.parent, NULL, __WALL) < 0 && errno == EINTR)
		;
	guard.parent = 0;
}

static int start_guard(void)
{
	int pair[2] = {-1, -1}, r;
	int owner = (int)sys_call(SYS_pidfd_open, getpid(), 0);

	if (owner < 0)
		return owner;
	start.fds[2] = carton_open_image();
	r = start.fds[2] < 0 ? start.fds[2] : 0;
	if (r == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		r = -errno;
	start.fds[0] = pair[1];
	start.fds[1] = owner;
	for (int i = 0; r == 0 && i < 2; i++)
		*put_number(start.numbers[i], (uint64_t)start.fds[i]) = '\0';
	if (r == 0)
		r = fork_guard();
	if (pair[1] >= 0)
		close(pair[1]);
	if (start.fds[2] >= 0)
		close(start.fds[2]);
	close(owner);
	if (r < 0) {
		if (pair[0] >= 0)
			close(pair[0]);
		return r;
	}
	guard.socket = pair[0];
	guard.owner = getpid();
	return 0;
}

/* It says one byte when it is there. */
static int await_guard(void)
{
	struct pollfd fd = {.fd = guard.socket, .events = POLLIN};
	char ready = 0;
	ssize_t n;
	int r;

	do
		r = poll(&fd, 1, START_TIME);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return -ETIMEDOUT;
	n = r < 0 ? -1 : recv(guard.socket, &ready, 1, 0);
	r = n == 1 ? 0 : n < 0 ? -errno : -ECHILD;
	guard.ready = true; /* or is not there */
	carton_guard_settle();
	return r;
}

static int send_guard(char kind, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {&kind, 1};
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = &control,
	                         .msg_controllen = sizeof(control)};
	ssize_t n;

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	do
		n = sendmsg(guard.socket, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static void forget_guard(void)
{
	if (carton_guard_starting() >= 0)
		await_guard();
	if (guard.socket >= 0)
		close(guard.socket);
	if (guard.owner != getpid())
		guard.inside = 0; /* in the memory of who forked us */
	guard.socket = -1;
	guard.owner = guard.parent = 0;
	guard.ready = false;
}

/* Another one may begin where the last one was. */
static int await_room(void)
{
	struct timespec pause = {.tv_nsec = 1000000};

	for (int i = 0; __atomic_load_n(&guard.inside, __ATOMIC_ACQUIRE) != 0; i++) {
		if (i == START_TIME)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* What is sent to one that is only starting is there when it looks. */
static int give(char kind, int fd)
{
	int r = 0;

	if (guard.socket < 0 || guard.owner != getpid()) {
		forget_guard();
		r = await_room();
		if (r == 0)
			r = start_guard();
	}
	if (r == 0 && fd >= 0)
		r = send_guard(kind, fd);
	if (r < 0)
		forget_guard();
	return r;
}

void carton_guard_add(lua_State *L, char kind, int fd)
{
	int r = give(kind, fd);

	if (r == -EPIPE || r == -ECONNRESET) /* somebody has killed it */
		r = give(kind, fd);
	if (r < 0)
		carton_raise(L, "guard", NULL, -r);
}

int carton_guard_starting(void)
{
	return !guard.ready && guard.owner == getpid() ? guard.socket : -1;
}

void carton_guard_await(lua_State *L)
{
	int r;

	if (carton_guard_starting() < 0)
		return;
	r = await_guard();
	if (r < 0) {
		guard.ready = true; /* no second look */
		forget_guard();
		carton_raise(L, "guard", NULL, -r);
	}
}

/***
Kill a process, or everything in a cgroup, as soon as this process ends, for whatever reason. This
starts the guard, a small process of its own, unless it runs already; the first launch with a step
`exec.die_with_parent` does so, too.
@function guard
@tparam[opt] process|directory what a process, or a cgroup; by default the guard is only started
@raise `carton.error`
*/
int carton_guard(lua_State *L)
{
	struct carton_handle *group = luaL_testudata(L, 1, CARTON_CGROUP);

	if (group)
		carton_guard_add(L, CARTON_GUARD_GROUP, group->fd);
	else
		carton_guard_add(L, CARTON_GUARD_PROCESS,
		                 lua_isnoneornil(L, 1) ? -1 : carton_checkprocess(L, 1)->handle.fd);
	carton_guard_await(L);
	return 0;
}
