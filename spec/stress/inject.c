/* SPDX-License-Identifier: MIT */
/* Runs a program of which the Nth system call fails, or which is killed at its Nth system call:
 *   inject [-o REPORT] [-r ROLE -n N (-e ERRNO | -k)] [-s] [-l] PROGRAM ARG...
 * A role is a process by the order in which they come: 0 the program, 1 its first child, ...
 * Counted are calls of the program and of its built-in init, not of what they execute, from the
 * first madvise(2) on, or, with -s, between stat(2) of "/carton-stress/on" and
 * "/carton-stress/off". It is done with a seccomp filter that asks here (seccomp_unotify(2)): no
 * ptrace, which the program uses itself, and no C library between, which it does without. What is
 * left running when the program has ended, after a grace of seconds, is told and killed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROLES 64
#define GRACE 3.0  /* seconds for what ends by itself */
#define LIMIT 20.0 /* seconds for the program */

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

/* since Linux 6.6 */
#define NOTIF_SET_FLAGS SECCOMP_IOW(4, uint64_t)
#define SYNC_WAKE_UP    1

struct role {
	pid_t pid;
	unsigned long count;
	bool payload; /* what it executes is not ours */
	bool look;    /* it may have executed something */
};

static struct {
	int role, error;
	unsigned long number;
	bool kill, marked, list;
	const char *report;
} asked = {.role = -1};

static struct role roles[ROLES];
static int nroles;
static bool armed, done;
static int done_call = -1;
static char own[256];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(99);
}

/* Calls that are not asked about: they do not fail, or it changes nothing. */
#define SKIP(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), ALLOW
#define ALLOW      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static int install(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		SKIP(exit_group),
		SKIP(exit),
		SKIP(rt_sigreturn),
		SKIP(close),  /* the descriptor is closed all the same: close(2) */
		SKIP(munmap), /* memory is given back at the end, too */
		SKIP(brk),    /* malloc(3) goes on with mmap(2) */
		SKIP(getpid),
		SKIP(getppid),
		SKIP(getuid),
		SKIP(geteuid),
		SKIP(getegid),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	                    SECCOMP_FILTER_FLAG_NEW_LISTENER |
	                            SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
	                    &program);
}

/* Shares our descriptors until it executes, so that the listener is ours as well. */
static int begin(void *argument)
{
	char **argv = argument;

	if (install() < 0)
		_exit(98);
	execv(argv[0], argv);
	_exit(97);
}

static bool link_of(pid_t pid, char *target, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, target, size - 1);
	target[n < 0 ? 0 : n] = '\0';
	return n > 0;
}

static bool is_payload(pid_t pid)
{
	char target[256];

	return link_of(pid, target, sizeof(target)) && strcmp(target, own) != 0 &&
	       strncmp(target, "/memfd:carton-init", 18) != 0;
}

static struct role *role_of(pid_t pid)
{
	for (int i = 0; i < nroles; i++)
		if (roles[i].pid == pid)
			return &roles[i];
	if (nroles == ROLES)
		return NULL;
	roles[nroles] = (struct role){.pid = pid, .look = true};
	return &roles[nroles++];
}

/* The path of a stat(2), which is how a script says when to begin and when to end. */
static void look_for_mark(const struct seccomp_notif *request)
{
	char path[32] = "";
	struct iovec to = {path, sizeof(path) - 1};
	struct iovec from = {(void *)(uintptr_t)request->data.args[1], sizeof(path) - 1};

	process_vm_readv((pid_t)request->pid, &to, 1, &from, 1, 0);
	if (strncmp(path, "/carton-stress/on", 17) == 0)
		armed = true;
	else if (strncmp(path, "/carton-stress/off", 18) == 0)
		armed = false;
}

static bool is_counted(const struct seccomp_notif *request)
{
	struct role *role = role_of((pid_t)request->pid);
	int call = request->data.nr;
	bool mark;

	if (!role)
		return false;
	if (role->look)
		role->payload = is_payload(role->pid);
	role->look = call == SYS_execve || call == SYS_execveat;
	mark = asked.marked ? call == SYS_newfstatat : !armed && call == SYS_madvise;
	if (mark && asked.marked)
		look_for_mark(request);
	else if (mark && !role->payload)
		armed = true;
	return armed && !role->payload;
}

static bool is_the_one(const struct seccomp_notif *request, FILE *report)
{
	struct role *role;

	if (!is_counted(request))
		return false;
	role = role_of((pid_t)request->pid);
	role->count++;
	if (asked.list)
		fprintf(report, "made %d %d\n", (int)(role - roles), request->data.nr);
	return !done && role - roles == asked.role && role->count == asked.number;
}

static void answer(int listener, FILE *report)
{
	struct seccomp_notif request = {0};
	struct seccomp_notif_resp response = {0};

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0)
		return; /* it was killed meanwhile */
	response.id = request.id;
	response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	if (is_the_one(&request, report)) {
		done = true;
		done_call = request.data.nr;
		if (asked.kill) {
			kill((pid_t)request.pid, SIGKILL);
			return;
		}
		response.flags = 0;
		response.error = -asked.error;
	}
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static void tell_left(FILE *report)
{
	for (int i = 1; i < nroles; i++) {
		char target[256];

		if (kill(roles[i].pid, 0) == 0 && link_of(roles[i].pid, target, sizeof(target))) {
			fprintf(report, "left %d %s\n", (int)roles[i].pid, target);
			kill(roles[i].pid, SIGKILL);
		}
	}
}

static void tell(FILE *report, int status, bool hung)
{
	if (hung)
		fprintf(report, "hang 1\n");
	if (WIFEXITED(status))
		fprintf(report, "exit %d\n", WEXITSTATUS(status));
	else
		fprintf(report, "signal %d\n", WTERMSIG(status));
	if (done_call >= 0)
		fprintf(report, "call %d\n", done_call);
	for (int i = 0; i < nroles; i++)
		fprintf(report, "count %d %lu\n", i, roles[i].count);
}

/* Answer until nobody is left who could ask. */
static void serve(int listener, pid_t program, FILE *report)
{
	double started = now(), ended = 0;
	bool hung = false, left = false;
	int status = 0, one;
	pid_t pid;

	for (;;) {
		struct pollfd fd = {.fd = listener, .events = POLLIN};

		poll(&fd, 1, 20);
		if (fd.revents & POLLIN)
			answer(listener, report);
		while ((pid = waitpid(-1, &one, WNOHANG)) > 0) {
			if (pid != program)
				continue;
			status = one;
			ended = now();
		}
		if (pid < 0)
			break;
		if (!ended && !hung && now() - started > LIMIT) {
			hung = true;
			kill(program, SIGKILL);
		}
		if (ended && !left && now() - ended > GRACE) {
			left = true;
			tell_left(report);
		}
		if (fd.revents & POLLHUP && !(fd.revents & POLLIN))
			usleep(1000);
	}
	tell(report, status, hung);
}

int main(int argc, char *argv[])
{
	static char stack[65536] __attribute__((aligned(16)));
	int option, listener;
	FILE *report;
	pid_t pid;

	while ((option = getopt(argc, argv, "+o:r:n:e:ksl")) > 0) {
		if (option == 'o')
			asked.report = optarg;
		else if (option == 'r')
			asked.role = atoi(optarg);
		else if (option == 'n')
			asked.number = strtoul(optarg, NULL, 10);
		else if (option == 'e')
			asked.error = atoi(optarg);
		else if (option == 'k')
			asked.kill = true;
		else if (option == 's')
			asked.marked = true;
		else if (option == 'l')
			asked.list = true;
		else
			return 2;
	}
	if (optind >= argc || !realpath(argv[optind], own))
		fail("program");
	report = asked.report ? fopen(asked.report, "we") : stderr;
	if (!report)
		fail(asked.report);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	listener = dup(0); /* the number that it will have */
	if (listener < 0)
		fail("standard input");
	close(listener);
	pid = clone(begin, stack + sizeof(stack), CLONE_FILES | SIGCHLD, argv + optind);
	if (pid < 0)
		fail("clone");
	while (fcntl(listener, F_GETFD) < 0) /* until it is there */
		if (waitpid(pid, &option, WNOHANG) == pid)
			fail("seccomp");
	ioctl(listener, NOTIF_SET_FLAGS, SYNC_WAKE_UP); /* faster, where it is to be had */
	serve(listener, pid, report);
	return 0;
}
