/* SPDX-License-Identifier: MIT */
/* Follows a child from clone to exec: its messages, turns with it, a look at what it executes (the
 * parent's side). */
#include "launch.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>

#include "error.h"
#include "guard.h"
#include "init_guard.h"
#include "names.h"
#include "primitive.h"
#include "sys.h"

int carton_fail_spawn(lua_State *L, const char *call, int errnum)
{
	struct carton_failure failure = {.step = "exec.spawn", .call = call, .errnum = errnum};

	return carton_raise_failure(L, &failure);
}

/* One message of the child, and a descriptor that may come with it; 0: the channel was closed. */
static ssize_t receive(int channel, struct carton_report *report, int *fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {report, sizeof(*report)};
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = &control,
	                         /* one and no more: with the padding there would be room for two */
	                         .msg_controllen = CMSG_LEN(sizeof(int))};
	struct cmsghdr *c;
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&message);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return n;
}

/* Let the child go on. One that has ended meanwhile has closed the channel, which is seen. */
static void answer(lua_State *L, const struct spawn *s)
{
	char reply = 1;
	ssize_t n;

	do
		n = send(s->channel, &reply, 1, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EPIPE && errno != ECONNRESET)
		carton_fail_spawn(L, "send", errno);
}

/* Run the function of a sync step; the child goes on when it returns. */
static void take_turn(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                      const struct carton_plan *plan, const struct carton_report *report,
                      int process)
{
	const struct step_sync *sync = plan->steps[report->step].fields;

	if (!lua_istable(L, f->sync) || lua_getfield(L, f->sync, sync->name) == LUA_TNIL)
		carton_misuse(L, "exec.spawn: no function '%s' in 'sync'", sync->name);
	lua_pushvalue(L, process);
	lua_call(L, 1, 0); /* spawn_finish() ends the child when it raises */
	answer(L, s);
}

/* The child of a child goes on only when we have it in hand. The handle is on top of the stack. */
static void take_descriptor(lua_State *L, struct spawn *s, const struct carton_plan *plan,
                            uint32_t step, int process, struct carton_handle *h)
{
	if (plan->steps[step].perform == carton_exec_fork) {
		s->helper = s->process->pid;
		close(s->process->handle.fd);
		s->process->handle.fd = h->fd;
		h->fd = -1;
		s->process->pid = s->shared->forked;
		if (plan->parent >= 0)
			carton_guard_add(L, CARTON_GUARD_PROCESS, s->process->handle.fd);
	} else if (plan->steps[step].perform == carton_privilege_notify) {
		s->listener = carton_newlistener(L, h);
		if (s->helper > 0) /* nobody else shall have the channel: await_message() */
			carton_reap_child(s->helper);
		s->helper = 0;
		lua_setiuservalue(L, process, CARTON_PROCESS_LISTENER);
	} else {
		lua_setiuservalue(L, process, CARTON_PROCESS_TERMINAL);
	}
	answer(L, s);
}

static int raise_report(lua_State *L, const struct spawn_fields *f,
                        const struct carton_report *report)
{
	struct carton_failure failure = {.call = carton_call_word(report->call),
	                                 .errnum = report->errnum,
	                                 .text = report->text,
	                                 .index = (lua_Integer)report->step + 1};

	if (lua_rawgeti(L, f->steps, failure.index) == LUA_TTABLE) {
		lua_rawgeti(L, -1, 1);
		failure.step = lua_tostring(L, -1);
		failure.fields = lua_gettop(L) - 1;
	}
	if (!failure.step)
		failure.step = "exec.spawn";
	return carton_raise_failure(L, &failure);
}

/* The channel is closed: was it exec, the end of a plan without one, or did somebody kill it? */
static void conclude(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                     const struct carton_plan *plan, const struct carton_needs *needs)
{
	struct carton_report report = {.errnum = EINTR};
	uint32_t done = __atomic_load_n(plan->progress, __ATOMIC_ACQUIRE);

	if (done + 1 >= (needs->exec ? needs->exec : plan->nsteps + 1)) {
		s->running = true;
		return;
	}
	carton_reap_within(s->process, 1);
	report.step = done < plan->nsteps ? done : 0;
	strcpy(report.text, "the process was killed before it came to exec");
	raise_report(L, f, &report);
}

/* Milliseconds until the child has to say something, at least 0. */
static int time_left(const struct spawn_fields *f, int64_t began)
{
	int64_t left = began + (int64_t)(f->timeout * 1000) - (int64_t)sys_microseconds() / 1000;

	return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* Programs of a container that is entered can stop whoever enters it, or freeze the cgroup. */
static void fail_late(lua_State *L, const struct spawn_fields *f, const struct carton_plan *plan)
{
	struct carton_report report = {.errnum = ETIMEDOUT};
	uint32_t done = __atomic_load_n(plan->progress, __ATOMIC_ACQUIRE);

	report.step = done < plan->nsteps ? done : 0;
	snprintf(report.text, sizeof(report.text), "not finished within %g s", f->timeout);
	raise_report(L, f, &report); /* spawn_finish() ends the child */
}

/* Until the child says something; what its filter asks is answered. Nobody but our own code has run
 * there as long as the channel is open: the program's exec closes what was its last copy. */
static void await_message(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                          const struct carton_plan *plan)
{
	struct pollfd fds[] = {{.fd = s->channel, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	int64_t began = (int64_t)sys_microseconds() / 1000;
	int r = 0;

	if (s->listener)
		fds[1].fd = carton_listener_fd(s->listener);
	while (r >= 0 && !fds[0].revents) {
		int left = time_left(f, began);

		r = poll(fds, 2, left);
		if (r < 0)
			r = errno == EINTR ? 0 : -errno;
		else if (r == 0 && left == 0)
			fail_late(L, f, plan);
		else if (!fds[0].revents && fds[1].revents & POLLIN)
			r = carton_listener_pass(s->listener, s->channel);
		else if (!fds[0].revents && fds[1].revents)
			fds[1].fd = -1; /* nobody is left behind it */
	}
	if (r < 0)
		carton_fail_spawn(L, "poll", -r);
}

/* What a step may say besides that it failed. */
static bool is_expected(const struct carton_step *step, uint32_t kind)
{
	if (kind == CARTON_REPORT_SYNC)
		return step->perform == carton_exec_sync;
	return kind == CARTON_REPORT_FD &&
	       (step->perform == carton_exec_fork || step->perform == carton_exec_terminal ||
	        step->perform == carton_privilege_notify);
}

void carton_follow(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                   const struct carton_plan *plan, const struct carton_needs *needs, int process)
{
	struct carton_report report = {0};
	int top = lua_gettop(L);
	ssize_t n;

	for (;;) {
		struct carton_handle *h; /* there before the descriptor is */

		lua_settop(L, top);
		await_message(L, s, f, plan);
		h = carton_newhandle(L, CARTON_DESCRIPTOR);
		n = receive(s->channel, &report, &h->fd);
		if (n == 0 || n == -ECONNRESET) { /* it was killed with our reply unread */
			conclude(L, s, f, plan, needs);
			return;
		}
		if (n < 0)
			carton_fail_spawn(L, "recvmsg", (int)-n);
		report.text[sizeof(report.text) - 1] = '\0';
		if (report.step == UINT32_MAX && needs->exec) /* the built-in init speaks of it */
			report.step = needs->exec - 1;
		/* nobody speaks of another step than the one that is being done */
		if (n != sizeof(report) || report.step >= plan->nsteps ||
		    report.step != __atomic_load_n(plan->progress, __ATOMIC_ACQUIRE))
			carton_fail_spawn(L, "recvmsg", EPROTO);
		if (report.kind == CARTON_REPORT_FAILED)
			raise_report(L, f, &report);
		if (!is_expected(&plan->steps[report.step], report.kind))
			carton_fail_spawn(L, "recvmsg", EPROTO);
		if (report.kind == CARTON_REPORT_SYNC)
			take_turn(L, s, f, plan, &report, process);
		else if (h->fd < 0)
			carton_fail_spawn(L, "recvmsg", EMFILE); /* it had no place here */
		else
			take_descriptor(L, s, plan, report.step, process, h);
	}
}

/* Whether a program is the file that we run, taken from us: on our own mount. The same file on a
 * mount of the container is one that the container has anyway. Ours stays the same, and is looked
 * up once. */
static bool is_own_file(const char *path, const struct stat *st)
{
	static const char self[] = "/proc/self/exe";
	static struct stat own;
	static uint64_t own_mount;
	static bool known;
	uint64_t mount;

	if (!known && stat(self, &own) < 0)
		return true;
	if (!known && sys_mount_id(AT_FDCWD, self, 0, &own_mount) < 0)
		own_mount = 0;
	known = true;
	if (own.st_dev != st->st_dev || own.st_ino != st->st_ino)
		return false;
	return own_mount == 0 || sys_mount_id(AT_FDCWD, path, 0, &mount) < 0 || mount == own_mount;
}

/* A program that is stopped before its first instruction: an image may have named our own file, as
 * "#!/proc/self/exe", to get at it later. False: it can't be told. */
static bool look_at_program(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                            const struct carton_needs *needs)
{
	struct carton_report report = {.call = CARTON_CALL_CHECK_OWN, .errnum = EPERM};
	char path[48];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)s->process->pid);
	if (stat(path, &st) < 0)
		return false;
	if (is_own_file(path, &st)) {
		report.step = needs->exec - 1;
		raise_report(L, f, &report); /* spawn_finish() ends it */
	}
	return ptrace(PTRACE_DETACH, s->process->pid, 0, 0) == 0;
}

static bool is_fault(int sig)
{
	return sig == SIGILL || sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGSYS;
}

#define STOP_INTERVAL 50 /* milliseconds until a stop other than that of exec is seen */

/* Wait for a stop or the end of a watched child. poll(2) tells of its exec, which closes the
 * channel, and of its end; of any other stop nothing does. */
static void await_stop(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                       const struct carton_plan *plan, siginfo_t *info)
{
	struct pollfd channel = {.fd = s->channel, .events = POLLIN};
	int64_t began = (int64_t)sys_microseconds() / 1000;
	long r;

	for (;;) {
		if (!channel.revents) {
			int left = time_left(f, began);

			if (left == 0)
				fail_late(L, f, plan);
			poll(&channel, 1, left < STOP_INTERVAL ? left : STOP_INTERVAL);
		}
		memset(info, 0, sizeof(*info));
		r = sys_call(SYS_waitid, CARTON_P_PIDFD, s->process->handle.fd, info,
		             WSTOPPED | WEXITED | WNOWAIT | (channel.revents ? 0 : WNOHANG), NULL);
		if (r < 0 && r != -EINTR)
			carton_fail_spawn(L, "waitid", (int)-r);
		if (r == 0 && info->si_pid != 0)
			return;
	}
}

bool carton_watch(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                  const struct carton_plan *plan, const struct carton_needs *needs)
{
	siginfo_t info;
	long r;

	for (;;) {
		await_stop(L, s, f, plan, &info);
		if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED)
			break;
		if (info.si_status == SIGTRAP) {
			if (!look_at_program(L, s, f, needs))
				return false;
			s->running = true;
			return true;
		}
		if (is_fault(info.si_status)) /* a first process that is traced outlives it */
			r = sys_call(SYS_pidfd_send_signal, s->process->handle.fd, SIGKILL, NULL,
			             0);
		else
			r = ptrace(PTRACE_CONT, s->process->pid, 0, info.si_status);
		if (r < 0)
			return false;
	}
	if (plan->report->kind == CARTON_REPORT_FAILED) {
		if (plan->report->call == CARTON_CALL_PTRACE) /* traced already, or not allowed */
			return false;
		raise_report(L, f, plan->report);
	}
	conclude(L, s, f, plan, needs);
	return true;
}
