/* SPDX-License-Identifier: MIT */
/* The perform side of `privilege.notify`: a filter that asks, whose listener goes to the parent. */
#include "sys.h"

#include "step.h"

#include <linux/audit.h>
#include <linux/errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>

#include "listener.h"
#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State errno

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#else
#define NATIVE AUDIT_ARCH_AARCH64
#endif
#define PRELUDE (5 + 4 * CARTON_SECRET_WORDS)

static unsigned int put_load(struct sock_filter *code, unsigned int at, size_t offset)
{
	code[at] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset);
	return at + 1;
}

/* Go on where it is equal, otherwise to what follows the prelude. */
static unsigned int put_test(struct sock_filter *code, unsigned int at, uint32_t value)
{
	code[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0,
	                                        (uint8_t)(PRELUDE - at - 1));
	return at + 1;
}

/* One call is none of the filter's business: the sendmsg(2) that hands the listener over, before
 * which nobody could answer it. It is known by a secret in registers that the kernel does not look
 * at, and that nobody else ever learns. */
static void put_prelude(struct sock_filter *code, const uint64_t *secret)
{
	unsigned int at = put_load(code, 0, offsetof(struct seccomp_data, arch));

	at = put_test(code, at, NATIVE);
	at = put_load(code, at, offsetof(struct seccomp_data, nr));
	at = put_test(code, at, SYS_sendmsg);
	for (unsigned int i = 0; i < CARTON_SECRET_WORDS; i++) {
		size_t place = offsetof(struct seccomp_data, args) + 8 * (3 + i);
		uint32_t halves[2];

		memcpy(halves, &secret[i], sizeof(halves)); /* as the kernel lays them out */
		for (unsigned int half = 0; half < 2; half++) {
			at = put_load(code, at, place + 4 * half);
			at = put_test(code, at, halves[half]);
		}
	}
	code[at] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
}

static long install(const struct step_notify *f, const uint64_t *secret)
{
	struct sock_filter code[BPF_MAXINSNS];
	struct sock_fprog program = {.filter = code};
	unsigned int flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | CARTON_WAIT_KILLABLE;
	size_t count = f->length / sizeof(code[0]);
	long r;

	if (count > countof(code) - PRELUDE)
		return -E2BIG;
	put_prelude(code, secret);
	memcpy(code + PRELUDE, f->program, count * sizeof(code[0]));
	program.len = (unsigned short)(count + PRELUDE);
	if (f->log)
		flags |= SECCOMP_FILTER_FLAG_LOG;
	if (f->spec_allow)
		flags |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	r = sys_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (r == -EINVAL) /* before Linux 5.19 a signal could always interrupt who waits */
		r = sys_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags & ~CARTON_WAIT_KILLABLE,
		             &program);
	return r;
}

/* From here on the parent lets every call of ours go on, until the program is executed. What
 * executes it can't be read, so that nobody can look into it or change it in between: ptrace(2). */
int carton_privilege_notify(struct carton_context *ctx, const void *fields)
{
	uint64_t secret[CARTON_SECRET_WORDS];
	long r = sys_call(SYS_getrandom, secret, sizeof(secret), 0);
	int listener;

	if (r != (long)sizeof(secret))
		return carton_fail(ctx, CARTON_CALL_GETRANDOM, r < 0 ? r : -EIO);
	r = install(fields, secret);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_SECCOMP, r);
	listener = (int)r;
	ctx->listening = true;
	r = carton_send_report(ctx, CARTON_REPORT_FD, listener, secret);
	memset(secret, 0, sizeof(secret));
	__asm__ volatile("" ::"r"(secret) : "memory"); /* it is gone indeed */
	if (r == 0)
		r = carton_await_reply(ctx); /* reading is a question already */
	sys_close(listener);                 /* who has it could answer itself */
	return (int)r;
}
