/* SPDX-License-Identifier: MIT */
/***
Makes a process that obeys a plan: clone, turns with the child, its report (the parent's side).
@module carton.exec
*/
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>

#include "error.h"
#include "init_image.h"
#include "names.h"
#include "plan_lua.h"
#include "primitive.h"
#include "process.h"
#include "sys.h"

#define CARTON_SPAWN "carton.spawn"
#define STACK_SIZE   (128 * 1024)
#define GUARD_SIZE   4096

#if defined(__SANITIZE_ADDRESS__) || !defined(CARTON_HAVE_RAW)
#define MAY_SHARE                                                                                  \
	false /* the sanitizer's idea of stacks, or a C library's errno, would be shared */
#else
#define MAY_SHARE true
#endif

/* What has to be undone when a launch comes to an end, however it ends. */
struct spawn {
	int channel; /* our end */
	int far;     /* the child's end, until it is cloned */
	int parent;  /* pidfd of ourselves */
	char *stack; /* of a child that shares our memory */
	void *shared;
	size_t shared_size;
	pid_t helper; /* first process of a plan with exec.fork, not reaped yet */
	struct carton_process *process;
	bool running; /* the plan is over and the program was executed */
	int dumpable; /* to be set again, or -1 */
	struct carton_handle
		*image; /* the init in memory, which the arena holds until it is collected */
};

/* What a child of its own memory and its parent both see. */
struct carton_shared {
	uint32_t progress;
	struct carton_report report;
	struct carton_trace trace[];
};

struct spawn_fields {
	struct carton_handle *cgroup;
	uint64_t namespaces;
	bool trace;
	int steps, sync; /* stack indexes */
};

/* A stack for a child that shares our memory. The last one is kept: a mapping costs more than its
 * use. */
static char *spare_stack;

static char *take_stack(void)
{
	char *stack = __atomic_exchange_n(&spare_stack, NULL, __ATOMIC_ACQ_REL);

	if (stack)
		return stack;
	stack = mmap(NULL, STACK_SIZE + GUARD_SIZE, PROT_READ | PROT_WRITE,
	             MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	if (stack == MAP_FAILED)
		return NULL;
	if (mprotect(stack, GUARD_SIZE, PROT_NONE) < 0) {
		munmap(stack, STACK_SIZE + GUARD_SIZE);
		return NULL;
	}
	return stack;
}

static void give_stack(char *stack)
{
	char *none = NULL;

	if (!__atomic_compare_exchange_n(&spare_stack, &none, stack, false, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_RELAXED))
		munmap(stack, STACK_SIZE + GUARD_SIZE);
}

/* A child that shares memory keeps reading the plan until it executes or ends: wait for it first.
 */
static int spawn_finish(lua_State *L) /* __close and __gc */
{
	struct spawn *s = luaL_checkudata(L, 1, CARTON_SPAWN);

	if (s->far >= 0)
		close(s->far);
	if (s->process && !s->running && s->process->handle.fd >= 0) {
		if (!s->process->ended) {
			sys_call(SYS_pidfd_send_signal, s->process->handle.fd, SIGKILL, NULL, 0);
			carton_reap(s->process, true);
		}
		close(s->process->handle.fd); /* nobody gets the handle */
		s->process->handle.fd = -1;
	}
	if (s->helper > 0)
		waitpid(s->helper, NULL, 0);
	if (s->channel >= 0)
		close(s->channel);
	if (s->parent >= 0)
		close(s->parent);
	if (s->stack)
		give_stack(s->stack);
	if (s->shared)
		munmap(s->shared, s->shared_size);
	if (s->dumpable >= 0)
		prctl(PR_SET_DUMPABLE, s->dumpable);
	if (s->image && s->image->fd >= 0) {
		close(s->image->fd);
		s->image->fd = -1;
	}
	s->image = NULL;
	s->channel = s->far = s->parent = s->dumpable = -1;
	s->stack = s->shared = NULL;
	s->process = NULL;
	s->helper = 0;
	return 0;
}

static struct spawn *new_spawn(lua_State *L)
{
	struct spawn *s = lua_newuserdatauv(L, sizeof(*s), 2);

	memset(s, 0, sizeof(*s));
	s->channel = s->far = s->parent = s->dumpable = -1;
	luaL_setmetatable(L, CARTON_SPAWN);
	return s;
}

void carton_open_spawn(lua_State *L)
{
	static const luaL_Reg meta[] = {
		{"__close", spawn_finish}, {"__gc", spawn_finish}, {NULL, NULL}};

	luaL_newmetatable(L, CARTON_SPAWN);
	luaL_setfuncs(L, meta, 0);
	lua_pop(L, 1);
}

#ifdef CARTON_HAVE_RAW
/* clone3(2) whose child begins at the top of its own stack, in our memory, and never returns. */
static long clone_on_stack(struct clone_args *args, const struct carton_plan *plan)
{
#if defined(__x86_64__)
	register long r8 __asm__("r8") = (long)plan;
	register long r9 __asm__("r9") = (long)carton_child;
	long ret;

	__asm__ volatile("syscall\n\t"
	                 "test %%rax, %%rax\n\t"
	                 "jnz 1f\n\t"
	                 "xor %%ebp, %%ebp\n\t"
	                 "mov %%r8, %%rdi\n\t"
	                 "call *%%r9\n\t"
	                 "hlt\n"
	                 "1:"
	                 : "=a"(ret)
	                 : "a"(SYS_clone3), "D"(args), "S"(sizeof(*args)), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return ret;
#else
	register long x8 __asm__("x8") = SYS_clone3;
	register long x0 __asm__("x0") = (long)args;
	register long x1 __asm__("x1") = sizeof(*args);
	register long x2 __asm__("x2") = (long)plan;
	register long x3 __asm__("x3") = (long)carton_child;

	__asm__ volatile("svc 0\n\t"
	                 "cbnz x0, 1f\n\t"
	                 "mov x29, xzr\n\t"
	                 "mov x0, x2\n\t"
	                 "blr x3\n\t"
	                 "brk 0\n"
	                 "1:"
	                 : "+r"(x0)
	                 : "r"(x8), "r"(x1), "r"(x2), "r"(x3)
	                 : "memory");
	return x0;
#endif
}
#endif

static long clone_child(struct clone_args *args, const struct carton_plan *plan, bool share)
{
	long pid;

#ifdef CARTON_HAVE_RAW
	if (share)
		return clone_on_stack(args, plan);
#endif
	(void)share;
	pid = sys_call(SYS_clone3, args, sizeof(*args));
	if (pid == 0)
		carton_child(plan);
	return pid;
}

static void read_fields(lua_State *L, struct carton_arena *arena, struct spawn_fields *f)
{
	static const struct carton_field known[] = {
		{"namespaces", carton_decode_choices, offsetof(struct spawn_fields, namespaces), 0,
	         NULL, carton_namespace_names},
		{"trace", carton_decode_bool, offsetof(struct spawn_fields, trace), 0, NULL, NULL},
		{NULL, NULL, 0, 0, NULL, NULL}};
	static const char *const own[] = {"steps", "sync", "cgroup"};

	lua_newtable(L); /* the plain fields alone */
	for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
		bool skip = false;

		for (size_t i = 0; i < 3; i++)
			skip = skip || (lua_type(L, -2) == LUA_TSTRING &&
			                strcmp(lua_tostring(L, -2), own[i]) == 0);
		if (!skip) {
			lua_pushvalue(L, -2);
			lua_pushvalue(L, -2);
			lua_rawset(L, -5);
		}
	}
	arena->step = "exec.spawn";
	carton_decode(arena, -1, known, f, NULL);
	lua_pop(L, 1);
	lua_pushliteral(L, "steps");
	lua_rawget(L, 1);
	f->steps = lua_gettop(L);
	lua_pushliteral(L, "sync");
	if (lua_rawget(L, 1) != LUA_TNIL)
		luaL_argexpected(L, lua_istable(L, -1), 1, "table of functions in 'sync'");
	f->sync = lua_gettop(L);
	lua_pushliteral(L, "cgroup");
	if (lua_rawget(L, 1) != LUA_TNIL)
		f->cgroup = luaL_checkudata(L, -1, CARTON_CGROUP);
}

static int fail_spawn(lua_State *L, const char *call, int errnum)
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
	                         .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&message);
	if (n > 0 && c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return n;
}

/* The pid behind a pidfd, as our procfs numbers it: pidfd_open(2), /proc/PID/fdinfo. */
static pid_t pid_of(int pidfd)
{
	char path[48], text[512];
	const char *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strstr(text, "Pid:");
	return at ? (pid_t)strtol(at + 4, NULL, 10) : 0;
}

/* Run the function of a sync step; the child goes on when it returns. */
static void take_turn(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                      const struct carton_plan *plan, const struct carton_report *report,
                      int process)
{
	const struct step_sync *sync = plan->steps[report->step].fields;
	char reply = 1;
	int status;

	if (!lua_istable(L, f->sync) || lua_getfield(L, f->sync, sync->name) == LUA_TNIL)
		carton_misuse(L, "exec.spawn: no function '%s' in 'sync'", sync->name);
	lua_pushvalue(L, process);
	status = lua_pcall(L, 1, 0, 0);
	if (status != LUA_OK)
		reply = 0;
	send(s->channel, &reply, 1, MSG_NOSIGNAL);
	if (status != LUA_OK)
		lua_error(L); /* spawn_finish() ends the child */
}

/* The child of a child goes on only when we have it in hand. */
static void take_descriptor(lua_State *L, struct spawn *s, const struct carton_plan *plan,
                            uint32_t step, int process, int fd)
{
	struct carton_handle *h;
	char reply = 1;

	if (plan->steps[step].perform == carton_exec_fork) {
		s->helper = s->process->pid;
		close(s->process->handle.fd);
		s->process->handle.fd = fd;
		s->process->pid = pid_of(fd);
	} else {
		h = carton_newhandle(L, CARTON_DESCRIPTOR);
		h->fd = fd;
		lua_setiuservalue(L, process, CARTON_PROCESS_TERMINAL);
	}
	send(s->channel, &reply, 1, MSG_NOSIGNAL);
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
	struct pollfd ended = {.fd = s->process->handle.fd, .events = POLLIN};

	if (done + 1 >= (needs->exec ? needs->exec : plan->nsteps + 1)) {
		s->running = true;
		return;
	}
	if (poll(&ended, 1, 1000) == 1)
		carton_reap(s->process, true);
	report.step = done < plan->nsteps ? done : 0;
	strcpy(report.text, "the process was killed before it came to exec");
	raise_report(L, f, &report);
}

static void follow(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                   const struct carton_plan *plan, const struct carton_needs *needs, int process)
{
	struct carton_report report = {0};
	ssize_t n;
	int fd;

	for (;;) {
		n = receive(s->channel, &report, &fd);
		if (n == 0 || n == -ECONNRESET) { /* it was killed with our reply unread */
			conclude(L, s, f, plan, needs);
			return;
		}
		if (n < 0)
			fail_spawn(L, "recvmsg", (int)-n);
		report.text[sizeof(report.text) - 1] = '\0';
		if (report.step == UINT32_MAX && needs->exec) /* the built-in init speaks of it */
			report.step = needs->exec - 1;
		/* nobody speaks of another step than the one that is being done */
		if (n != sizeof(report) || report.step >= plan->nsteps ||
		    report.step != __atomic_load_n(plan->progress, __ATOMIC_ACQUIRE)) {
			if (fd >= 0)
				close(fd);
			fail_spawn(L, "recvmsg", EPROTO);
		}
		if (report.kind == CARTON_REPORT_FD && fd >= 0) {
			take_descriptor(L, s, plan, report.step, process, fd);
			continue;
		}
		if (report.kind == CARTON_REPORT_FD)
			fail_spawn(L, "recvmsg", EMFILE); /* it had no place here */
		if (fd >= 0)
			close(fd);
		if (report.kind == CARTON_REPORT_SYNC &&
		    plan->steps[report.step].perform == carton_exec_sync)
			take_turn(L, s, f, plan, &report, process);
		else if (report.kind == CARTON_REPORT_FAILED)
			raise_report(L, f, &report);
		else
			fail_spawn(L, "recvmsg", EPROTO);
	}
}

static void push_trace(lua_State *L, const struct carton_plan *plan)
{
	uint64_t start = plan->nsteps ? plan->trace[0].began : 0;

	lua_createtable(L, (int)plan->nsteps, 0);
	for (uint32_t i = 0; i < plan->nsteps && plan->trace[i].began; i++) {
		const struct carton_trace *t = &plan->trace[i];

		lua_createtable(L, 0, 4);
		lua_pushinteger(L, i + 1);
		lua_setfield(L, -2, "step");
		lua_pushinteger(L, (lua_Integer)(t->began - start));
		lua_setfield(L, -2, "began");
		if (t->ended) {
			lua_pushinteger(L, (lua_Integer)(t->ended - t->began));
			lua_setfield(L, -2, "took");
			lua_pushinteger(L, t->errnum);
			lua_setfield(L, -2, "errno");
		}
		lua_rawseti(L, -2, i + 1);
	}
}

/* What is there to tell apart: our own file, which a program must not be. */
static bool is_own_file(const struct stat *st)
{
	struct stat own;

	return stat("/proc/self/exe", &own) < 0 ||
	       (own.st_dev == st->st_dev && own.st_ino == st->st_ino);
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
	if (is_own_file(&st)) {
		report.step = needs->exec - 1;
		raise_report(L, f, &report); /* spawn_finish() ends it */
	}
	return ptrace(PTRACE_DETACH, s->process->pid, 0, 0) == 0;
}

/* Wait for a watched child to execute or fail; false: start it again, without watching. */
static bool watch(lua_State *L, struct spawn *s, const struct spawn_fields *f,
                  const struct carton_plan *plan, const struct carton_needs *needs)
{
	siginfo_t info;
	long r;

	for (;;) {
		memset(&info, 0, sizeof(info));
		r = sys_call(SYS_waitid, CARTON_P_PIDFD, s->process->handle.fd, &info,
		             WSTOPPED | WEXITED | WNOWAIT, NULL);
		if (r == -EINTR)
			continue;
		if (r < 0)
			fail_spawn(L, "waitid", (int)-r);
		if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED)
			break;
		if (info.si_status == SIGTRAP) {
			if (!look_at_program(L, s, f, needs))
				return false;
			s->running = true;
			return true;
		}
		if (ptrace(PTRACE_CONT, s->process->pid, 0, info.si_status) < 0)
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

/* Only a program whose end we see to, and whose first process it is: or others could outlive the
 * look. */
static bool may_watch(const struct spawn_fields *f, const struct carton_needs *needs)
{
	return needs->shield && !needs->channel && needs->parent && needs->descriptors &&
	       needs->exec && f->namespaces & CLONE_NEWPID;
}

struct launch {
	struct carton_arena *arena;
	struct carton_plan *plan;
	struct carton_needs needs;
	struct spawn_fields fields;
};

/* Make the process, left on top of the stack; false: it has to be done again without watching. */
static bool launch(lua_State *L, struct launch *l, bool watched)
{
	struct carton_plan *plan = l->plan;
	const struct spawn_fields *f = &l->fields;
	struct carton_needs needs = l->needs;
	struct clone_args args = {0};
	sigset_t all, before;
	int pair[2], process, pidfd = -1;
	bool share, quiet, done = true;
	struct spawn *s;
	long pid;

	plan->watched = watched;
	if (needs.shield && !watched && plan->image < 0)
		plan->image = carton_new_image(l->arena);
	needs.channel = needs.channel || plan->image >= 0; /* the init may fail, too */
	/* who shares memory is killed together when a cgroup has none left */
	share = MAY_SHARE && !needs.own_memory && !f->cgroup && !(f->namespaces & CLONE_NEWTIME);
	quiet = (share && !needs.channel) || watched;

	s = new_spawn(L);
	s->image = l->arena->image;
	lua_toclose(L, lua_gettop(L));
	s->process = carton_newprocess(L);
	process = lua_gettop(L);
	lua_pushvalue(L, process); /* alive as long as what undoes the launch */
	lua_setiuservalue(L, process - 1, 1);
	lua_pushvalue(L, l->arena->anchor);
	lua_setiuservalue(L, process - 1, 2);

	if (share && !f->trace) {
		plan->progress = carton_alloc(l->arena, sizeof(uint32_t));
		plan->report = carton_alloc(l->arena, sizeof(*plan->report));
	} else {
		struct carton_shared *shared;

		s->shared_size =
			sizeof(*shared) + (f->trace ? plan->nsteps * sizeof(shared->trace[0]) : 0);
		shared = mmap(NULL, s->shared_size, PROT_READ | PROT_WRITE,
		              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (shared == MAP_FAILED)
			return fail_spawn(L, "mmap", errno);
		s->shared = shared;
		plan->progress = &shared->progress;
		plan->report = &shared->report;
		if (f->trace)
			plan->trace = shared->trace;
	}
	if (share) {
		s->stack = take_stack();
		if (!s->stack)
			return fail_spawn(L, "mmap", errno);
		args.stack = (uint64_t)(uintptr_t)(s->stack + GUARD_SIZE);
		args.stack_size = STACK_SIZE;
		s->dumpable = prctl(PR_GET_DUMPABLE); /* a change of ids in the child clears it */
		args.flags |= CLONE_VM;
	}
	plan->channel = plan->near = -1;
	if (!quiet) {
		plan->report = NULL;
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return fail_spawn(L, "socketpair", errno);
		s->channel = plan->near = pair[0];
		s->far = plan->channel = pair[1];
	} else if (!watched) { /* we sleep until it has executed or failed: vfork(2) */
		args.flags |= CLONE_VFORK;
	}
	if (needs.parent) {
		s->parent = plan->parent = (int)sys_call(SYS_pidfd_open, getpid(), 0);
		if (s->parent < 0)
			return fail_spawn(L, "pidfd_open", -plan->parent);
	}
	args.flags |= f->namespaces | CLONE_PIDFD | CLONE_CLEAR_SIGHAND;
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	args.exit_signal = SIGCHLD;
	if (f->cgroup) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)f->cgroup->fd;
	}
	/* no handler of ours may run in the child, on its stack and in our memory */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = clone_child(&args, plan, share);
	if (pid > 0) {
		s->process->handle.fd = pidfd;
		s->process->pid = (pid_t)pid;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid < 0) {
		lua_getfield(L, 1, "namespaces");
		return fail_spawn(L, "clone3", (int)-pid);
	}
	if (!quiet) {
		close(s->far);
		s->far = -1;
		follow(L, s, f, plan, &needs, process);
	} else if (watched) {
		done = watch(L, s, f, plan, &needs);
	} else if (plan->report->kind == CARTON_REPORT_FAILED) {
		raise_report(L, f, plan->report);
	} else {
		conclude(L, s, f, plan, &needs);
	}
	if (done && plan->trace) {
		push_trace(L, plan);
		lua_setiuservalue(L, process, CARTON_PROCESS_TRACE);
	}
	lua_settop(L, process);
	return done;
}

/***
Make a process that performs a plan and then is the program. Returns when the program is executed.
@function spawn
@tparam table fields
@tparam {table,...} fields.steps the plan; without an `exec.exec` the process ends after the last
step
@tparam[opt={}] {string,...} fields.namespaces kinds that are new for it
@tparam[opt] table fields.sync function for each `sync` step, called with the process
@tparam[opt] directory fields.cgroup the cgroup (v2) that it is born into, of `carton.cgroup`
@tparam[opt=false] boolean fields.trace keep what each step took, for `process:trace()`
@treturn process
@raise `carton.error` of the step that failed, with `step`, `index`, `path`, `errno`; nothing runs
then
@see clone3(2), clone(2)
@usage local p <close> = carton.exec.spawn{ steps = { { "exec.exec", args = { "/bin/true" } } } }
*/
int carton_spawn(lua_State *L)
{
	struct carton_arena arena;
	struct launch l = {.arena = &arena};
	int top;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	luaL_checkstack(L, 40, NULL);
	carton_newarena(L, &arena);
	arena.lazy = true;
	read_fields(L, &arena, &l.fields);
	/* not on the stack: an error in here leaves this function before the child is ended */
	l.plan = carton_alloc(&arena, sizeof(*l.plan));
	l.plan->parent = -1;
	carton_pack(&arena, l.fields.steps, l.plan, &l.needs);
	top = lua_gettop(L);
	if (!launch(L, &l, may_watch(&l.fields, &l.needs))) {
		lua_closeslot(L, top + 1); /* which ends what was begun */
		lua_settop(L, top);
		launch(L, &l, false);
	}
	return 1;
}
