/* SPDX-License-Identifier: MIT */
/* The guard's own side, as carton-guard SOCKET PIDFD: a part of the built-in init's program,
 * without a C library; for a moment also in its owner's memory. It holds pidfds and directories of
 * cgroups, and kills all of that when its owner has ended. */
#include "init_guard.h"

#include "step.h"
#include "sys.h"

#include <linux/errno.h>
#include <linux/prctl.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include "util.h"

#define ROUNDS     1000
#define EVENTS     64
#define REST       20000000 /* nanoseconds */
#define GROUPS_FEW 16

static int highest; /* descriptor that was ever received */
static int owner;   /* pidfd of it, which is not to be killed */
static int held;    /* processes and groups */
static int groups;  /* of them, some of which may be removed by now */
static int most;    /* groups before those that were removed are looked for */

static int write_file(int directory, const char *name, const char *text, size_t size)
{
	int fd = (int)sys_openat(directory, name, O_WRONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return fd;
	sys_write(fd, text, size);
	sys_close(fd);
	return 0;
}

/* Kill who is listed in a group; false: nobody is. */
static bool kill_listed(int directory)
{
	char text[4096];
	int fd = (int)sys_openat(directory, "cgroup.procs", O_RDONLY | O_CLOEXEC, 0);
	long pid = 0, n;
	bool found = false;

	if (fd < 0)
		return false;
	while ((n = sys_read(fd, text, sizeof(text))) > 0) {
		for (long i = 0; i < n; i++) {
			if (text[i] >= '0' && text[i] <= '9') {
				pid = pid * 10 + (text[i] - '0');
				continue;
			}
			if (pid > 1) {
				found = true;
				sys_call(SYS_kill, pid, SIGKILL);
			}
			pid = 0; /* 0: of another pid namespace, 1: the first of ours */
		}
	}
	sys_close(fd);
	return found;
}

/* With cgroup v1 one by one: nobody who is frozen can fork meanwhile, or dies before the thaw. */
static void kill_group(int directory)
{
	struct timespec pause = {.tv_nsec = 1000000};
	int r = write_file(directory, "cgroup.kill", "1", 1);

	if (r == -EBADF || r == -ENOTDIR) /* nothing, or no directory */
		return;
	for (int i = 0; i < ROUNDS; i++) {
		write_file(directory, "freezer.state", "FROZEN", 6);
		if (!kill_listed(directory))
			break;
		write_file(directory, "freezer.state", "THAWED", 6);
		sys_call(SYS_nanosleep, &pause, NULL);
	}
	write_file(directory, "freezer.state", "THAWED", 6);
}

/* Every descriptor that is there: what is no pidfd takes no signal, what is no group has no such
 * files. */
static _Noreturn void end_all(void)
{
	for (int fd = 0; fd <= highest; fd++)
		if (fd != owner)
			sys_call(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
	for (int fd = 0; fd <= highest; fd++)
		kill_group(fd);
	sys_exit(0);
}

static long watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	highest = fd > highest ? fd : highest;
	return sys_call(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, fd, &event);
}

static void forget(int epoll, int fd)
{
	struct epoll_event event = {0};

	sys_call(SYS_epoll_ctl, epoll, EPOLL_CTL_DEL, fd, &event); /* others have it open, too */
	sys_close(fd);
}

static void forget_removed(void)
{
	for (int fd = 0; fd <= highest; fd++) {
		int file = (int)sys_openat(fd, "cgroup.procs", O_RDONLY | O_CLOEXEC, 0);

		if (file >= 0) {
			sys_close(file);
		} else if ((file == -ENODEV || file == -ENOENT) && sys_close(fd) == 0) {
			groups--;
			held--;
		}
	}
}

/* A group outlives its first process, and its owner until that has removed it. To look at all for
 * each new one would take ever longer: it is done when there are twice as many as were left. */
static void hold_group(int group)
{
	if (groups >= most) {
		forget_removed();
		most = 2 * groups + GROUPS_FEW;
	}
	groups++;
	highest = group > highest ? group : highest;
}

/* 1: something to hold, 0: nothing now, -1: the owner has closed the socket. */
static int receive(int epoll, int socket)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char kind;
	struct iovec iov = {&kind, 1};
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = &control,
	                         .msg_controllen = CMSG_LEN(sizeof(int))};
	long n = sys_call(SYS_recvmsg, socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	int fd;

	if (n == -EINTR || n == -EAGAIN)
		return 0;
	if (n <= 0)
		return -1;
	/* what it cannot hold it cannot end later: then now */
	if (message.msg_flags & MSG_CTRUNC || message.msg_controllen < CMSG_LEN(sizeof(int)))
		end_all();
	fd = *(int *)CMSG_DATA(&control.header);
	if (kind == CARTON_GUARD_GROUP)
		hold_group(fd);
	else if (watch(epoll, fd) < 0)
		end_all();
	held++;
	return 1;
}

/* Let more come together, as to be woken for each process costs a launch 4 %; what comes meanwhile
 * waits in the socket. Only the end of the owner does not wait. */
static void rest(void)
{
	struct pollfd fd = {.fd = owner, .events = POLLIN};
	struct timespec time = {.tv_nsec = REST};

	sys_call(SYS_ppoll, &fd, 1, &time, NULL, 8);
}

/* What it was given it cannot watch: then that ends now, and what would come fails to be sent. */
static _Noreturn void hold_nothing(int socket)
{
	while (receive(-1, socket) > 0)
		;
	end_all();
}

_Noreturn void carton_guard_run(int socket, int pidfd)
{
	struct rlimit files;
	struct epoll_event events[EVENTS];
	int epoll;

	owner = pidfd; /* anew, as another guard may have begun in the same memory */
	highest = held = groups = 0;
	most = GROUPS_FEW;
	sys_prctl(PR_SET_NAME, (unsigned long)"carton-guard", 0, 0, 0);
	if (sys_call(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		sys_call(SYS_prlimit64, 0, RLIMIT_NOFILE, &files, NULL);
	}
	epoll = (int)sys_call(SYS_epoll_create1, EPOLL_CLOEXEC);
	if (epoll < 0 || watch(epoll, owner) < 0 || watch(epoll, socket) < 0)
		hold_nothing(socket);
	for (;;) {
		long n = sys_call(SYS_epoll_pwait, epoll, events, countof(events), -1, NULL, 8);

		for (long i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			int r = fd == socket ? 1 : -1;

			while (r > 0)
				r = receive(epoll, socket);
			if (fd == owner || r == 0)
				continue;
			forget(epoll, fd);
			held -= fd != socket;
			if (fd == socket && held == 0) /* and there will be no more */
				sys_exit(0);
		}
		for (long i = 0; i < n; i++) /* last: what was sent before is held by now */
			if (events[i].data.fd == owner) {
				while (receive(epoll, socket) > 0)
					;
				end_all();
			}
		rest();
	}
}
