/* SPDX-License-Identifier: MIT */
/***
Makes a process that obeys a plan: what has to be there before clone, and undone after (the parent's
side).
@module carton.exec
*/
#include "launch.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>

#include "apart.h"
#include "error.h"
#include "guard.h"
#include "init_guard.h"
#include "init_image.h"
#include "names.h"
#include "primitive.h"
#include "sys.h"
#include "util.h"

#define CARTON_SPAWN "carton.spawn"
#define STACK_SIZE   (128 * 1024)
#define GUARD_SIZE   4096
#define END_TIMEOUT  10 /* seconds for a child to end after SIGKILL */
#define TIMEOUT      60 /* seconds, where none is given */

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

void carton_reap_child(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* A child of the child that has not been taken in hand: it is ours, too, and its pid namespace does
 * not end before it is reaped. Its parent has ended, so there will be no other. */
static void end_forked(const struct spawn *s)
{
	pid_t pid = s->shared && s->helper == 0 ? s->shared->forked : 0;
	siginfo_t info;

	if (pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
		carton_reap_child(pid);
	}
}

/* False: it is stuck in the kernel or in a frozen cgroup v1, or its tracer keeps its end. */
static bool end_process(struct carton_process *p)
{
	sys_call(SYS_pidfd_send_signal, p->handle.fd, SIGKILL, NULL, 0);
	return carton_reap_within(p, END_TIMEOUT) == 1;
}

/* A child that shares memory keeps reading the plan until it executes or ends: wait for it first.
 */
static int spawn_finish(lua_State *L) /* __close and __gc */
{
	struct spawn *s = luaL_checkudata(L, 1, CARTON_SPAWN);

	if (s->far >= 0)
		close(s->far);
	if (s->process && !s->running && s->process->handle.fd >= 0) {
		if (!s->process->ended && !end_process(s->process))
			s->stack = NULL;      /* the kernel may still write there */
		close(s->process->handle.fd); /* nobody gets the handle */
		s->process->handle.fd = -1;
		end_forked(s);
	}
	if (s->listener && !s->running)
		carton_listener_close(s->listener);
	if (s->helper > 0)
		carton_reap_child(s->helper);
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
	s->stack = NULL;
	s->shared = NULL;
	s->process = NULL;
	s->listener = NULL;
	s->helper = 0;
	carton_guard_settle();
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

/* Asked once: a filter that forbids namespaces answers ENOSYS, as it can't look into this call. */
static bool lacks_clone3(void)
{
	static int answer = -1;

	if (answer < 0)
		answer = sys_call(SYS_clone3, NULL, 0) == -ENOSYS; /* EINVAL where it is there */
	return answer;
}

/* The older call has no place for some flags, and leaves the handlers to the child. */
static long clone_older(const struct clone_args *args)
{
	unsigned long flags = args->flags & ~CLONE_CLEAR_SIGHAND;
	struct {
		uint64_t handler, flags, restorer, mask;
	} action;
	long pid;

	if (flags & (CSIGNAL | CLONE_INTO_CGROUP)) /* CLONE_NEWTIME is among the former */
		return -ENOSYS;
	pid = sys_call(SYS_clone, flags | args->exit_signal, 0, args->pidfd, 0, 0);
	for (int i = 1; pid == 0 && i <= 64; i++) {
		if (sys_call(SYS_rt_sigaction, i, NULL, &action, 8) < 0 || action.handler <= 1)
			continue; /* SIG_DFL or SIG_IGN */
		memset(&action, 0, sizeof(action));
		sys_call(SYS_rt_sigaction, i, &action, NULL, 8);
	}
	return pid;
}

static long clone_child(struct clone_args *args, const struct carton_plan *plan, bool share)
{
	long pid;

	if (share)
		return clone_on_stack(args, plan);
	pid = lacks_clone3() ? clone_older(args) : sys_call(SYS_clone3, args, sizeof(*args));
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
	static const char *const own[] = {"steps", "sync", "cgroup", "timeout"};

	lua_newtable(L); /* the plain fields alone */
	for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
		bool skip = false;

		for (size_t i = 0; i < countof(own); i++)
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
	lua_pushliteral(L, "timeout");
	if (lua_rawget(L, 1) != LUA_TNIL)
		luaL_argexpected(L, lua_type(L, -1) == LUA_TNUMBER, 1,
		                 "number of seconds in 'timeout'");
	f->timeout = luaL_optnumber(L, -1, TIMEOUT);
	luaL_argcheck(L, f->timeout > 0, 1, "'timeout': a number of seconds above 0 expected");
	if (f->timeout > INT_MAX / 1000)
		f->timeout = INT_MAX / 1000;
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

/* Where progress, report and trace are, so that both sides see them. */
static void share_state(lua_State *L, struct spawn *s, struct launch *l, bool share)
{
	struct carton_plan *plan = l->plan;
	struct carton_shared *shared;

	if (share && !l->fields.trace) {
		plan->progress = carton_alloc(l->arena, sizeof(uint32_t));
		plan->report = plan->watched ? carton_alloc(l->arena, sizeof(*plan->report)) : NULL;
		return;
	}
	s->shared_size = sizeof(*shared);
	if (l->fields.trace)
		s->shared_size += plan->nsteps * sizeof(shared->trace[0]);
	shared = mmap(NULL, s->shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	              0);
	if (shared == MAP_FAILED)
		carton_fail_spawn(L, "mmap", errno);
	s->shared = shared;
	plan->progress = &shared->progress;
	plan->forked = &shared->forked;
	plan->report = plan->watched ? &shared->report : NULL;
	plan->trace = l->fields.trace ? shared->trace : NULL;
}

static void share_memory(lua_State *L, struct spawn *s, struct clone_args *args)
{
	s->stack = take_stack();
	if (!s->stack)
		carton_fail_spawn(L, "mmap", errno);
	args->stack = (uint64_t)(uintptr_t)(s->stack + GUARD_SIZE);
	args->stack_size = STACK_SIZE;
	args->flags |= CLONE_VM;
	s->dumpable = prctl(PR_GET_DUMPABLE); /* a change of ids in the child clears it */
}

static long clone_blocked(struct clone_args args, const struct carton_plan *plan, bool share,
                          struct carton_process *process)
{
	bool hide = !share && carton_hide_lua;
	sigset_t all, before;
	int pidfd = -1;
	long pid;

	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	/* no handler of ours may run in the child, on its stack and in our memory */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	if (hide)
		carton_hide_lua(true);
	pid = clone_child(&args, plan, share);
	if (hide)
		carton_hide_lua(false);
	if (pid > 0) {
		process->handle.fd = pidfd;
		process->pid = (pid_t)pid;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

/* Make the process, left on top of the stack; false: it has to be done again without watching. */
static bool launch(lua_State *L, struct launch *l, bool watched)
{
	struct carton_plan *plan = l->plan;
	const struct spawn_fields *f = &l->fields;
	struct carton_needs needs = l->needs;
	struct clone_args args = {0};
	int pair[2], process;
	bool share, done = true;
	struct spawn *s;
	long pid;

	plan->watched = watched;
	plan->own_mounts = f->namespaces & CLONE_NEWNS;
	if (needs.shield && !watched && plan->image < 0)
		plan->image = carton_new_image(l->arena);
	/* who shares memory is killed together when a cgroup has none left */
	share = CARTON_MAY_SHARE && !lacks_clone3() && !needs.own_memory && !f->cgroup &&
	        !(f->namespaces & CLONE_NEWTIME);

	s = new_spawn(L);
	s->image = l->arena->image;
	lua_toclose(L, lua_gettop(L));
	s->process = carton_newprocess(L);
	process = lua_gettop(L);
	s->process->below_init = plan->image >= 0 && !needs.shield;
	lua_pushvalue(L, process); /* alive as long as what undoes the launch */
	lua_setiuservalue(L, process - 1, 1);
	lua_pushvalue(L, l->arena->anchor);
	lua_setiuservalue(L, process - 1, 2);

	share_state(L, s, l, share);
	if (share)
		share_memory(L, s, &args);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return carton_fail_spawn(L, "socketpair", errno);
	s->channel = plan->near = pair[0];
	s->far = plan->channel = pair[1];
	if (needs.parent) {
		s->parent = plan->parent = (int)sys_call(SYS_pidfd_open, getpid(), 0);
		if (s->parent < 0)
			return carton_fail_spawn(L, "pidfd_open", -plan->parent);
	}
	args.flags |= f->namespaces | CLONE_PIDFD | CLONE_CLEAR_SIGHAND;
	args.exit_signal = SIGCHLD;
	if (f->cgroup) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)f->cgroup->fd;
	}
	pid = clone_blocked(args, plan, share, s->process);
	if (pid < 0) {
		lua_getfield(L, 1, "namespaces");
		return carton_fail_spawn(L, "clone3", (int)-pid);
	}
	close(s->far);
	s->far = -1;
	if (needs.parent && !needs.forks) /* before it can execute: else its child does */
		carton_guard_add(L, CARTON_GUARD_PROCESS, s->process->handle.fd);
	if (watched)
		done = carton_watch(L, s, f, plan, &needs);
	else
		carton_follow(L, s, f, plan, &needs, process);
	if (done && plan->trace) {
		s->running = false; /* without memory for it nobody gets the process */
		push_trace(L, plan);
		lua_setiuservalue(L, process, CARTON_PROCESS_TRACE);
		s->running = true;
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
@tparam[opt=60] number fields.timeout seconds that the new process has until it executes the
program; what a `sync` function takes does not count, and the time begins anew after it
@treturn process
@raise `carton.error` of the step that failed, with `step`, `index`, `path`, `errno`; `ETIMEDOUT` it
is not done in time; nothing runs then
@see clone3(2), clone(2)
@usage local p <close> = carton.exec.spawn{ steps = { { "exec.exec", args = { "/bin/true" } } } }
*/
int carton_spawn(lua_State *L)
{
	struct carton_arena arena;
	struct launch l = {.arena = &arena};
	struct carton_apart *apart = NULL;
	int top;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	luaL_checkstack(L, 40, NULL);
	if (carton_hide_lua) {
		apart = carton_new_apart_owner(L);
		lua_toclose(L, lua_gettop(L));
	}
	carton_newarena(L, &arena);
	arena.apart = apart;
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
