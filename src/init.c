/* SPDX-License-Identifier: MIT */
/* The built-in init: runs a program as its child, passes signals on, reaps. A program of its own,
 * without a C library, that is carried inside of carton and executed from memory:
 * carton-init CHANNEL PATH ARG..., or carton-exec CHANNEL PATH ARG... that becomes the program.
 * carton-held is carton-init whose program begins only when the init has let go of the channel;
 * carton-guard is another program: src/init_guard.c. */
#include "sys.h"

#include <asm/ioctls.h>
#include <linux/errno.h>
#include <linux/prctl.h>
#include <linux/wait.h>
#include <stdbool.h>

#include "init_guard.h"
#include "search.h"
#include "util.h"

#define EVERY_SIGNAL (~(uint64_t)0)

/* What the compiler may call on its own. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);

void *memcpy(void *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = (char)byte;
	return to;
}

static int parse_number(const char *text)
{
	long n = 0;

	for (; *text >= '0' && *text <= '9' && n < 100000000; text++)
		n = n * 10 + (*text - '0');
	return n < 100000000 ? (int)n : -1;
}

static long mask_signals(uint64_t mask)
{
	return sys_call(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

static _Noreturn void give_up(int channel, enum carton_call call, long r)
{
	struct carton_report report = {.kind = CARTON_REPORT_FAILED,
	                               .step = UINT32_MAX,
	                               .call = call,
	                               .errnum = (int32_t)-r};

	if (channel >= 0)
		sys_write(channel, &report, sizeof(report));
	sys_exit(CARTON_EXIT_SETUP);
}

static _Noreturn void execute_program(int channel, const char *const args[],
                                      const char *const env[])
{
	struct carton_report report = {.kind = CARTON_REPORT_FAILED, .step = UINT32_MAX};
	long r = carton_search_exec(&report, args[0][0] ? args[0] : NULL, args + 1, env);

	report.errnum = (int32_t)-r;
	if (channel >= 0)
		sys_write(channel, &report, sizeof(report));
	sys_exit(r == -ENOENT ? 127 : 126);
}

static _Noreturn void run_program(int channel, const int *held, const char *const args[],
                                  const char *const env[])
{
	int self = (int)sys_getpid();
	char nothing;
	long r;

	if (held[0] >= 0) {
		sys_close(held[1]);
		do
			r = sys_read(held[0], &nothing, 1);
		while (r == -EINTR);
		if (r != 0)
			give_up(channel, CARTON_CALL_READ, r < 0 ? r : -EPROTO);
		sys_close(held[0]);
	}
	/* In a process group of its own and, on a terminal, in its foreground: ^C is the program's.
	 */
	r = sys_call(SYS_setpgid, 0, 0);
	if (r < 0)
		give_up(channel, CARTON_CALL_SETPGID, r);
	sys_ioctl(0, TIOCSPGRP, &self);
	r = mask_signals(0);
	if (r < 0)
		give_up(channel, CARTON_CALL_SIGPROCMASK, r);
	execute_program(channel, args, env);
}

static bool is_called(const char *name, const char *own)
{
	while (*own && *name == *own)
		name++, own++;
	return *own == *name;
}

/* No exit code says that it was a signal, and no signal can end the first of a pid namespace: but
 * our name is read when we have ended. */
static void tell_signal(unsigned int status)
{
	char name[16] = CARTON_INIT_ENDED;

	*put_number(name + sizeof(CARTON_INIT_ENDED) - 1, status) = '\0';
	sys_prctl(PR_SET_NAME, (unsigned long)name, 0, 0, 0);
}

/* Take in all who have ended, ours and those whose parents left them; exit with our own. */
static void reap(int program)
{
	int status = 0;
	long pid;

	for (;;) {
		pid = sys_call(SYS_wait4, -1, &status, WNOHANG | __WALL, NULL);
		if (pid == -EINTR)
			continue;
		if (pid <= 0)
			return;
		if (pid != program)
			continue;
		if ((status & 0x7f) == 0)
			sys_exit((status >> 8) & 0xff);
		tell_signal(status & 0xff);
		sys_exit(128 + (status & 0x7f));
	}
}

static _Noreturn void run(int argc, const char *const args[], const char *const env[])
{
	uint64_t every = EVERY_SIGNAL;
	int channel, held[2] = {-1, -1};
	long pid, sig, r = 0;

	if (argc == 3 && is_called(args[0], "carton-guard")) {
		sys_hide();
		carton_guard_run(parse_number(args[1]), parse_number(args[2]));
	}
	/* a payload's own link to this file comes with a name of its own */
	if (argc < 4 || !(is_called(args[0], "carton-init") || is_called(args[0], "carton-held") ||
	                  is_called(args[0], "carton-exec")))
		sys_exit(CARTON_EXIT_SETUP);
	channel = parse_number(args[1]);
	if (channel >= 0)
		r = sys_fcntl(channel, F_SETFD, FD_CLOEXEC);
	if (r < 0)
		give_up(channel, CARTON_CALL_DUP, r);
	if (is_called(args[0], "carton-exec"))
		execute_program(channel, args + 2, env);
	r = mask_signals(EVERY_SIGNAL);
	if (r < 0)
		give_up(channel, CARTON_CALL_SIGPROCMASK, r);
	/* the program shall neither trace us, so that its end goes unnoticed, nor make calls in our
	 * name, which are not asked about */
	r = sys_hide();
	if (r < 0)
		give_up(channel, CARTON_CALL_PRCTL, r);
	pid = 0;
	if (is_called(args[0], "carton-held"))
		pid = sys_call(SYS_pipe2, held, O_CLOEXEC);
	if (pid == 0) /* clone3(2) a filter may refuse: it can't look into it */
		pid = sys_call(SYS_clone, SIGCHLD, 0);
	if (pid == 0)
		run_program(channel, held, args + 2, env);
	if (pid < 0)
		give_up(channel, CARTON_CALL_CLONE, pid);
	/* Nobody shall wait for us to let go of a pipe, and the parent not for the channel. */
	r = sys_call(SYS_close_range, 0, ~0U, 0);
	if (r < 0) {
		sys_call(SYS_kill, pid, SIGKILL);
		give_up(channel, CARTON_CALL_CLOSE_RANGE, r);
	}
	for (;;) {
		sig = sys_call(SYS_rt_sigtimedwait, &every, NULL, NULL, sizeof(every));
		if (sig == SIGCHLD)
			reap((int)pid);
		else if (sig > 0)
			sys_call(SYS_kill, pid, sig);
	}
}

_Noreturn void carton_init_start(const long *stack);

_Noreturn void carton_init_start(const long *stack)
{
	const char *const *args = (const char *const *)(stack + 1);

	run((int)stack[0], args, args + stack[0] + 1);
}

#if defined(__x86_64__)
__asm__(".globl _start\n"
        "_start:\n\t"
        "xor %ebp, %ebp\n\t"
        "mov %rsp, %rdi\n\t"
        "and $-16, %rsp\n\t"
        "call carton_init_start\n\t"
        "hlt\n");
#else
__asm__(".globl _start\n"
        "_start:\n\t"
        "mov x29, xzr\n\t"
        "mov x0, sp\n\t"
        "bl carton_init_start\n\t"
        "brk 0\n");
#endif
