/* SPDX-License-Identifier: MIT */
/* The perform side of `exec.*`: turns with the parent, descriptors, terminal, the program itself.
 */
#include "sys.h"

#include "step.h"

#include <linux/errno.h>
#include <linux/magic.h>
#include <asm/ioctls.h>
#include <asm/termios.h>
#include <linux/limits.h>
#include <linux/prctl.h>
#include <linux/ptrace.h>
#include <limits.h>
#include <string.h>

#include "listener.h"
#include "search.h"
#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State errno

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

int carton_send_report(struct carton_context *ctx, uint32_t kind, int fd, const uint64_t *secret)
{
	static const uint64_t none[CARTON_SECRET_WORDS];
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {&ctx->report, sizeof(ctx->report)};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	long r;

	ctx->report.kind = kind;
	secret = secret ? secret : none;
	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	do
		r = sys_call(SYS_sendmsg, ctx->channel, &message, MSG_NOSIGNAL, secret[0],
		             secret[1], secret[2]);
	while (r == -EINTR);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_SEND, r) : 0;
}

/* Go on only when the parent says so. */
int carton_await_reply(struct carton_context *ctx)
{
	char reply = 0;
	long r;

	do
		r = sys_read(ctx->channel, &reply, 1);
	while (r == -EINTR);
	if (r == 1 && reply == 1)
		return 0;
	return carton_fail(ctx, CARTON_CALL_CHECK_SYNC, r < 0 ? r : -ECANCELED);
}

int carton_exec_sync(struct carton_context *ctx, const void *fields)
{
	int r = carton_send_report(ctx, CARTON_REPORT_SYNC, -1, NULL);

	(void)fields;
	return r < 0 ? r : carton_await_reply(ctx);
}

int carton_exec_chdir(struct carton_context *ctx, const void *fields)
{
	const struct step_chdir *f = fields;
	char cwd[PATH_MAX];
	long r = sys_call(SYS_chdir, f->path);

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_CHDIR, r);
	/* "(unreachable)/..." is what the kernel says of a place outside of the root: getcwd(2) */
	r = sys_call(SYS_getcwd, cwd, sizeof(cwd));
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_GETCWD, r);
	return cwd[0] == '/' ? 0 : carton_fail(ctx, CARTON_CALL_CHECK_CWD, -ENOENT);
}

int carton_exec_chroot(struct carton_context *ctx, const void *fields)
{
	const struct step_chdir *f = fields;
	int fd = carton_root_open(ctx, f->path, 0);
	long r;

	if (fd < 0)
		return fd;
	r = sys_fchdir(fd);
	if (r == 0)
		r = sys_call(SYS_chroot, ".");
	if (r < 0 || !ctx->fresh) {
		sys_close(fd);
		return r < 0 ? carton_fail(ctx, CARTON_CALL_CHROOT, r) : 0;
	}
	carton_root_set(ctx, fd);
	return 0;
}

int carton_exec_setsid(struct carton_context *ctx, const void *fields)
{
	long r = sys_call(SYS_setsid);

	(void)fields;
	return r < 0 ? carton_fail(ctx, CARTON_CALL_SETSID, r) : 0;
}

int carton_exec_setpgid(struct carton_context *ctx, const void *fields)
{
	long r = sys_call(SYS_setpgid, 0, 0);

	(void)fields;
	return r < 0 ? carton_fail(ctx, CARTON_CALL_SETPGID, r) : 0;
}

int carton_exec_controlling(struct carton_context *ctx, const void *fields)
{
	const struct step_controlling *f = fields;
	long r = sys_ioctl((int)f->fd, TIOCSCTTY, NULL);

	return r < 0 ? carton_fail(ctx, CARTON_CALL_IOCTL, r) : 0;
}

/* Give descriptors their numbers. What stands in the way, of ours or of the list, moves up first.
 */
static int move_up(int *fd, int above)
{
	long r;

	if (*fd < 0 || *fd >= above)
		return 0;
	r = sys_fcntl(*fd, F_DUPFD_CLOEXEC, above);
	if (r >= 0)
		*fd = (int)r;
	return r < 0 ? (int)r : 0;
}

static int place(struct carton_context *ctx, const int *items, int count)
{
	int *own[] = {&ctx->root,   &ctx->proc,  &ctx->old_proc, &ctx->stage, &ctx->channel,
	              &ctx->parent, &ctx->image, &ctx->masked,   &ctx->null};
	int fds[CARTON_FDS_MAX];
	long r = 0;

	if (count > CARTON_FDS_MAX)
		return carton_fail(ctx, CARTON_CALL_DUP, -E2BIG);
	for (size_t i = 0; i < countof(own) && r == 0; i++)
		r = move_up(own[i], count);
	for (int i = 0; i < count && r == 0; i++) {
		fds[i] = items[i];
		if (fds[i] != i)
			r = move_up(&fds[i], count);
	}
	for (int i = 0; i < count && r >= 0; i++) {
		if (fds[i] == i) /* there already: it only has to stay open */
			r = sys_fcntl(i, F_SETFD, 0);
		else if (fds[i] >= 0)
			r = sys_dup3(fds[i], i, 0);
	}
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_DUP, r);
	ctx->fds = count;
	r = sys_call(SYS_close_range, count, ~0U, CLOSE_RANGE_CLOEXEC);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_CLOSE_RANGE, r) : 0;
}

int carton_exec_descriptors(struct carton_context *ctx, const void *fields)
{
	const struct step_descriptors *f = fields;

	return place(ctx, f->fds.items, (int)f->fds.count);
}

/* Both sides of a new pseudo-terminal of the root's own devpts: the far one by ioctl, not by name.
 */
static int open_terminal(struct carton_context *ctx, const struct step_terminal *f, int *near)
{
	struct winsize size = {.ws_row = (unsigned short)f->rows,
	                       .ws_col = (unsigned short)f->columns};
	struct statfs fs;
	int unlock = 0;
	long r;

	*near = carton_root_openat(ctx, f->ptmx, O_RDWR | O_NOCTTY | O_NONBLOCK, 0);
	if (*near < 0)
		return *near;
	r = sys_fstatfs(*near, &fs);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_FSTATFS, r);
	if (fs.f_type != DEVPTS_SUPER_MAGIC)
		return carton_fail(ctx, CARTON_CALL_CHECK_TERMINAL, -EINVAL);
	r = sys_fcntl(*near, F_SETFL, O_RDWR);
	if (r == 0)
		r = sys_ioctl(*near, TIOCSPTLCK, &unlock);
	if (r == 0 && size.ws_row && size.ws_col)
		r = sys_ioctl(*near, TIOCSWINSZ, &size);
	if (r == 0)
		r = sys_call(SYS_ioctl, *near, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_IOCTL, r) : (int)r;
}

static int bind_console(struct carton_context *ctx, const char *console, int far)
{
	long tree = sys_open_tree(far, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	long r;
	int to;

	if (tree < 0)
		return carton_fail(ctx, CARTON_CALL_OPEN_TREE, tree);
	to = carton_root_open(ctx, console, CARTON_OPEN_CREATE_FILE | CARTON_OPEN_NOFOLLOW);
	if (to < 0) {
		sys_close((int)tree);
		return to;
	}
	r = sys_move_mount((int)tree, to);
	sys_close((int)tree);
	sys_close(to);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_MOVE_MOUNT, r) : 0;
}

int carton_exec_terminal(struct carton_context *ctx, const void *fields)
{
	const struct step_terminal *f = fields;
	int near = -1, far = open_terminal(ctx, f, &near), r = far;
	int fds[3];
	long call;

	if (r >= 0 && f->console)
		r = bind_console(ctx, f->console, far);
	if (r >= 0)
		r = carton_send_report(ctx, CARTON_REPORT_FD, near, NULL);
	if (r >= 0)
		r = carton_await_reply(ctx);
	if (near >= 0)
		sys_close(near);
	if (r < 0)
		goto out;
	call = sys_call(SYS_setsid);
	if (call < 0 && call != -EPERM) { /* EPERM: leads one already */
		r = carton_fail(ctx, CARTON_CALL_SETSID, call);
		goto out;
	}
	call = sys_ioctl(far, TIOCSCTTY, NULL);
	if (call < 0) {
		r = carton_fail(ctx, CARTON_CALL_IOCTL, call);
		goto out;
	}
	fds[0] = fds[1] = fds[2] = far;
	ctx->terminal = true;
	return place(ctx, fds, 3);
out:
	if (far >= 0)
		sys_close(far);
	return r;
}

int carton_exec_die_with_parent(struct carton_context *ctx, const void *fields)
{
	const struct step_die_with_parent *f = fields;
	struct pollfd parent = {.fd = ctx->parent, .events = POLLIN};
	struct timespec now = {0};
	long r = sys_prctl(PR_SET_PDEATHSIG, (unsigned long)f->signal, 0, 0, 0);

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_PRCTL, r);
	if (ctx->parent < 0)
		return 0;
	/* it may have ended before it was asked for: nobody will tell us any more */
	r = sys_call(SYS_ppoll, &parent, 1, &now, NULL, 8);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_POLL, r);
	return r == 0 ? 0 : carton_fail(ctx, CARTON_CALL_CHECK_PARENT, -ESRCH);
}

/* Close all but what the program gets and what later steps take: those inside may have
 * CAP_SYS_PTRACE, which opens the way to descriptors of any process that they see. */
static long close_rest(const struct carton_context *ctx)
{
	const int own[] = {ctx->root,   ctx->proc,  ctx->stage,  ctx->channel,
	                   ctx->parent, ctx->image, ctx->masked, ctx->null};

	return sys_close_others(ctx->fds, own, countof(own));
}

/* Who enters a pid namespace stays outside, its children are in it: setns(2). The child becomes our
 * parent's child and sends its own pidfd, before anything else that it says; its pid is told before
 * it is there, or nobody could reap it where that message does not arrive. */
int carton_exec_fork(struct carton_context *ctx, const void *fields)
{
	struct clone_args args = {.flags = CLONE_PARENT | CLONE_PARENT_SETTID,
	                          .parent_tid = (uint64_t)(uintptr_t)ctx->forked};
	long r = ctx->fds > 0 ? close_rest(ctx) : 0;

	(void)fields;
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_CLOSE_RANGE, r);
	r = sys_call(SYS_clone3, &args, sizeof(args));
	if (r == -ENOSYS) /* of a filter: it can't look into that call */
		r = sys_call(SYS_clone, args.flags, 0, ctx->forked, 0, 0);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_CLONE, r);
	if (r > 0)
		sys_exit(0);
	r = sys_call(SYS_pidfd_open, sys_getpid(), 0);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_CLONE, r);
	args.pidfd = (uint64_t)r;
	r = carton_send_report(ctx, CARTON_REPORT_FD, (int)args.pidfd, NULL);
	sys_close((int)args.pidfd);
	return r < 0 ? (int)r : carton_await_reply(ctx);
}

/* What the parent blocks is none of the program's business. Handlers are gone since clone3(2), and
 * what the caller ignores stays ignored, as for any program: nohup(1). */
static int unblock_signals(struct carton_context *ctx)
{
	uint64_t none = 0;
	long r = sys_call(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));

	return r < 0 ? carton_fail(ctx, CARTON_CALL_SIGPROCMASK, r) : 0;
}

/* Be gone with what a path of an image could reach on the way to it: /proc/self/fd/7. */
static long close_others(struct carton_context *ctx)
{
	ctx->closed = true;
	return sys_close_others(ctx->fds, &ctx->channel, 1);
}

/* Have the parent look at the program before its first instruction. What fails here sends it
 * another way; before a filter, which need not allow any of this. */
int carton_exec_watch(struct carton_context *ctx, bool last)
{
	long r = unblock_signals(ctx);

	ctx->traced = true;
	if (r >= 0)
		r = sys_call(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
	if (r >= 0 && last)
		r = close_others(ctx);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_PTRACE, r) : 0;
}

static void set_home(const struct carton_context *ctx, const struct carton_strings *env)
{
	for (uint32_t i = 0; i < env->count; i++)
		if (strncmp(env->items[i], ctx->home, 5) == 0)
			env->items[i] = ctx->home;
}

int carton_exec_exec(struct carton_context *ctx, const void *fields)
{
	const struct step_exec *f = fields;
	const char *const *args = f->args.items;
	const char *const *env = f->env.items;
	static const char *const nothing[] = {NULL};
	const char **init = f->args.items - CARTON_ARGS_SPARE;
	char number[24];
	int64_t image = f->init != CARTON_UNSET ? f->init : f->shield;
	long r = 0;

	if (ctx->image >= 0)
		image = ctx->image; /* it may have moved */
	if (!env)
		env = nothing;
	if (f->home && ctx->home[0])
		set_home(ctx, &f->env);
	r = carton_restore_umask(ctx); /* of a plan that ends otherwise than with this step */
	if (r < 0)
		return (int)r;
	if (ctx->fresh && !ctx->traced) { /* or it was done before */
		r = unblock_signals(ctx);
		if (r < 0)
			return (int)r;
	}
	if (ctx->traced && !ctx->closed) {
		r = close_others(ctx);
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_PTRACE, r);
	}
	if (image < 0) {
		r = carton_search_exec(&ctx->report, f->path, args, env);
		return (int)r;
	}
	init[0] = f->init == CARTON_UNSET ? "carton-exec"
	          : ctx->listening        ? "carton-held"
	                                  : "carton-init";
	init[1] = number;
	init[2] = f->path ? f->path : "";
	*put_number(number, ctx->channel < 0 ? UINT32_MAX : (uint64_t)ctx->channel) = '\0';
	r = ctx->channel < 0 ? 0 : sys_fcntl(ctx->channel, F_SETFD, 0);
	if (r == 0)
		r = sys_call(SYS_execveat, image, "", init, env, AT_EMPTY_PATH);
	return carton_fail(ctx, CARTON_CALL_EXECVE, r);
}
