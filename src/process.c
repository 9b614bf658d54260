/* SPDX-License-Identifier: MIT */
/***
Processes as pidfds: wait, signal, how they ended.
@module carton.exec
*/
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "guard.h"
#include "names.h"
#include "step.h"
#include "sys.h"

struct carton_process *carton_newprocess(lua_State *L)
{
	return carton_newbox(L, CARTON_PROCESS, sizeof(struct carton_process), 3);
}

struct carton_process *carton_checkprocess(lua_State *L, int arg)
{
	struct carton_process *p = luaL_checkudata(L, arg, CARTON_PROCESS);

	if (p->handle.fd < 0)
		luaL_error(L, "closed process");
	return p;
}

/* The signal that ended the program below our init, as its wait status: 0x80 is for a core. 0 when
 * it was none, or /proc does not tell. The pid is its own until it is reaped. */
static int ended_below_init(pid_t pid, int code)
{
	char path[40], name[24] = "";
	int fd, status = 0;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, name, sizeof(name) - 1) < 0 ||
	    sscanf(name, CARTON_INIT_ENDED "%d", &status) != 1 || (status & 0x7f) != code - 128)
		status = 0;
	close(fd);
	return status;
}

/* 1: info tells of its end, 0: it has not ended, -errno. */
static int wait_for(struct carton_process *p, siginfo_t *info, bool block, int flags)
{
	long r;

	memset(info, 0, sizeof(*info));
	do
		r = sys_call(SYS_waitid, CARTON_P_PIDFD, p->handle.fd, info,
		             WEXITED | flags | (block ? 0 : WNOHANG), &p->usage);
	while (r == -EINTR);
	return r < 0 ? (int)r : info->si_pid != 0;
}

int carton_reap(struct carton_process *p, bool block)
{
	siginfo_t info;
	int r, below = 0;

	if (p->ended)
		return 1;
	r = wait_for(p, &info, block, p->below_init ? WNOWAIT : 0);
	if (r > 0 && p->below_init) {
		if (info.si_code == CLD_EXITED && info.si_status > 128)
			below = ended_below_init(p->pid, info.si_status);
		r = wait_for(p, &info, false, 0);
	}
	if (r <= 0)
		return r;
	p->ended = true;
	p->code = !below ? info.si_code : below & 0x80 ? CLD_DUMPED : CLD_KILLED;
	p->status = below ? below & 0x7f : info.si_status;
	return 1;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* poll(2) that goes on after a signal; timeout in seconds, negative: none. */
static int poll_for(struct pollfd *fds, nfds_t count, double timeout)
{
	double end = now() + timeout;
	int r;

	do {
		int ms = -1;

		if (timeout >= 0) {
			double left = (end - now()) * 1000;

			ms = left <= 0 ? 0 : left > 1e9 ? 1000000000 : (int)(left + 0.999);
		}
		r = poll(fds, count, ms);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

int carton_reap_within(struct carton_process *p, double timeout)
{
	struct pollfd fd = {.fd = p->handle.fd, .events = POLLIN};
	struct timespec pause = {.tv_nsec = 5000000};
	double end = now() + timeout;
	int r;

	for (;;) {
		r = poll_for(&fd, 1, end - now() > 0 ? end - now() : 0);
		if (r <= 0)
			return r;
		r = carton_reap(p, false);
		if (r != 0 || now() >= end)
			return r;
		nanosleep(&pause, NULL);
	}
}

static void push_status(lua_State *L, const struct carton_process *p)
{
	lua_createtable(L, 0, 6);
	if (p->code == CLD_EXITED) {
		lua_pushinteger(L, p->status);
		lua_setfield(L, -2, "code");
		lua_pushliteral(L, "exited");
	} else {
		lua_pushinteger(L, 128 + p->status);
		lua_setfield(L, -2, "code");
		carton_push_signal(L, p->status);
		lua_setfield(L, -2, "signal");
		lua_pushboolean(L, p->code == CLD_DUMPED);
		lua_setfield(L, -2, "core_dumped");
		lua_pushliteral(L, "signalled");
	}
	lua_setfield(L, -2, "cause");
	lua_createtable(L, 0, 3);
	lua_pushnumber(L,
	               (double)p->usage.ru_utime.tv_sec + (double)p->usage.ru_utime.tv_usec / 1e6);
	lua_setfield(L, -2, "user");
	lua_pushnumber(L,
	               (double)p->usage.ru_stime.tv_sec + (double)p->usage.ru_stime.tv_usec / 1e6);
	lua_setfield(L, -2, "system");
	lua_pushinteger(L, (lua_Integer)p->usage.ru_maxrss * 1024);
	lua_setfield(L, -2, "maxrss");
	lua_setfield(L, -2, "usage");
}

/***
Wait for the end of a child.
@function process:wait
@tparam[opt] number timeout seconds; without it, as long as it takes
@treturn ?table `{ code =, cause = "exited" | "signalled", signal = "SIGKILL", core_dumped =, usage
= { user =, system =, maxrss = } }` (seconds, bytes; code is 128+n after a signal), or nil when time
is up
@raise `carton.error`: `ECHILD` not a child of ours
@see waitid(2)
*/
static int process_wait(lua_State *L)
{
	struct carton_process *p = luaL_checkudata(L, 1, CARTON_PROCESS);
	double timeout = luaL_optnumber(L, 2, -1);
	int r;

	if (!p->ended) {
		carton_checkprocess(L, 1);
		if (timeout != 0)
			carton_guard_await(L);
		r = timeout >= 0 ? carton_reap_within(p, timeout) : carton_reap(p, true);
		if (r < 0)
			return carton_raise(L, "wait", NULL, -r);
		if (r == 0) {
			lua_pushnil(L);
			return 1;
		}
	}
	push_status(L, p);
	return 1;
}

static int to_signal(lua_State *L, int arg)
{
	int number;

	if (lua_isinteger(L, arg))
		return (int)lua_tointeger(L, arg);
	number = carton_signal_number(luaL_checkstring(L, arg));
	return number ? number : luaL_argerror(L, arg, "unknown signal");
}

/***
Send a signal.
@function process:kill
@tparam[opt="SIGKILL"] string|int signal name or number
@tparam[opt] table options `{ group = true }`: to all of the process group that it leads
@treturn boolean false when the process has ended already
@raise `carton.error`: `EPERM` not ours to signal
@see pidfd_send_signal(2)
*/
static int process_kill(lua_State *L)
{
	struct carton_process *p = luaL_checkudata(L, 1, CARTON_PROCESS);
	int signal = lua_isnoneornil(L, 2) ? SIGKILL : to_signal(L, 2);
	bool group = false;
	long r;

	if (lua_istable(L, 3)) {
		lua_getfield(L, 3, "group");
		group = lua_toboolean(L, -1);
	}
	if (p->ended) {
		lua_pushboolean(L, 0);
		return 1;
	}
	carton_checkprocess(L, 1);
	if (group && p->pid <= 1) /* kill(2) takes these for our own group and for everybody */
		r = -EPERM;
	else if (group) /* our child and not reaped: the number is still its own */
		r = kill(-p->pid, signal) < 0 ? -errno : 0;
	else
		r = sys_call(SYS_pidfd_send_signal, p->handle.fd, signal, NULL, 0);
	if (r < 0 && r != -ESRCH)
		return carton_raise(L, "kill", NULL, (int)-r);
	lua_pushboolean(L, r == 0);
	return 1;
}

/***
Tell the process id, as the caller's pid namespace numbers it.
@function process:pid
@treturn int
*/
static int process_pid(lua_State *L)
{
	struct carton_process *p = luaL_checkudata(L, 1, CARTON_PROCESS);

	lua_pushinteger(L, p->pid);
	return 1;
}

/***
Look whether the process has not ended yet.
@function process:is_alive
@treturn boolean
*/
static int process_is_alive(lua_State *L)
{
	struct carton_process *p = luaL_checkudata(L, 1, CARTON_PROCESS);
	struct pollfd fd = {.fd = p->handle.fd, .events = POLLIN};

	lua_pushboolean(L, !p->ended && p->handle.fd >= 0 && poll_for(&fd, 1, 0) == 0);
	return 1;
}

/***
The near side of the terminal that a step `exec.terminal` opened.
@function process:terminal
@treturn ?descriptor
*/
static int process_terminal(lua_State *L)
{
	luaL_checkudata(L, 1, CARTON_PROCESS);
	lua_getiuservalue(L, 1, CARTON_PROCESS_TERMINAL);
	return 1;
}

/***
What each step took, when the process was spawned with `trace`.
@function process:trace
@treturn ?{table,...} `{ step = index, began = microseconds, took = microseconds, errno = 0 }`
*/
static int process_trace(lua_State *L)
{
	luaL_checkudata(L, 1, CARTON_PROCESS);
	lua_getiuservalue(L, 1, CARTON_PROCESS_TRACE);
	return 1;
}

/***
The listener of a step `privilege.notify`.
@function process:listener
@treturn ?listener
*/
static int process_listener(lua_State *L)
{
	luaL_checkudata(L, 1, CARTON_PROCESS);
	lua_getiuservalue(L, 1, CARTON_PROCESS_LISTENER);
	return 1;
}

/***
Have a handle of any process.
@function open_process
@tparam int pid
@treturn process which can be waited for only by its parent
@raise `carton.error`: `ESRCH` no such process
@see pidfd_open(2)
*/
static int exec_open_process(lua_State *L)
{
	lua_Integer pid = luaL_checkinteger(L, 1);
	struct carton_process *p = carton_newprocess(L);
	long fd = sys_call(SYS_pidfd_open, pid == 0 ? getpid() : pid, 0);

	if (fd < 0)
		return carton_raise(L, "open_process", lua_pushfstring(L, "%I", (LUAI_UACINT)pid),
		                    (int)-fd);
	p->handle.fd = (int)fd;
	p->pid = pid == 0 ? getpid() : (pid_t)pid;
	return 1;
}

/***
Wait until one of several children ends.
@function wait_any
@tparam {process,...} processes
@tparam[opt] number timeout seconds
@treturn ?int its place in the list, nil when time is up
@treturn ?table its status, as of `process:wait`
@see poll(2), waitid(2)
*/
static int exec_wait_any(lua_State *L)
{
	double timeout = luaL_optnumber(L, 2, -1);
	lua_Unsigned n;
	struct pollfd *fds;
	int r;

	luaL_checktype(L, 1, LUA_TTABLE);
	n = lua_rawlen(L, 1);
	luaL_argcheck(L, n > 0 && n < 1000000, 1, "list of processes expected");
	fds = lua_newuserdatauv(L, n * sizeof(*fds), 0);
	for (lua_Unsigned i = 0; i < n; i++) {
		struct carton_process *p;

		lua_rawgeti(L, 1, (lua_Integer)i + 1);
		p = luaL_checkudata(L, -1, CARTON_PROCESS);
		lua_pop(L, 1);
		fds[i].fd = p->ended ? -1 : p->handle.fd;
		fds[i].events = POLLIN;
		fds[i].revents = 0;
		if (p->ended) {
			lua_pushinteger(L, (lua_Integer)i + 1);
			push_status(L, p);
			return 2;
		}
	}
	carton_guard_await(L);
	r = poll_for(fds, n, timeout);
	if (r < 0)
		return carton_raise(L, "wait_any", NULL, -r);
	for (lua_Unsigned i = 0; i < n && r > 0; i++) {
		if (fds[i].revents) {
			struct carton_process *p;

			lua_pushinteger(L, (lua_Integer)i + 1);
			lua_rawgeti(L, 1, (lua_Integer)i + 1);
			p = lua_touserdata(L, -1);
			r = carton_reap(p, true);
			if (r < 0)
				return carton_raise(L, "wait_any", NULL, -r);
			lua_pop(L, 1);
			push_status(L, p);
			return 2;
		}
	}
	lua_pushnil(L);
	return 1;
}

/***
Wait until something is ready.
@function poll
@tparam {table,...} list of `{ handle or descriptor, "r" | "w" | "rw" | "p" }`; a process is ready
when it has ended
@tparam[opt] number timeout seconds
@treturn {int,...} places in the list of what is ready; empty when time is up
@see poll(2)
*/
static int exec_poll(lua_State *L)
{
	double timeout = luaL_optnumber(L, 2, -1);
	struct pollfd *fds;
	lua_Unsigned n;
	lua_Integer ready = 0;
	bool again;
	int r;

	luaL_checktype(L, 1, LUA_TTABLE);
	n = lua_rawlen(L, 1);
	luaL_argcheck(L, n < 1000000, 1, "list is too long");
	fds = lua_newuserdatauv(L, (n + 1) * sizeof(*fds), 0);
	for (lua_Unsigned i = 0; i < n; i++) {
		const char *events;
		struct carton_handle *h;

		lua_rawgeti(L, 1, (lua_Integer)i + 1);
		luaL_argexpected(L, lua_istable(L, -1), 1, "list of { handle, events }");
		lua_rawgeti(L, -1, 1);
		h = carton_tohandle(L, -1);
		fds[i].fd = h ? h->fd : (int)luaL_checkinteger(L, -1);
		lua_rawgeti(L, -2, 2);
		events = luaL_optstring(L, -1, "r");
		fds[i].events = (short)((strchr(events, 'r') ? POLLIN : 0) |
		                        (strchr(events, 'w') ? POLLOUT : 0) |
		                        (strchr(events, 'p') ? POLLPRI : 0));
		fds[i].revents = 0;
		lua_pop(L, 3);
	}
	fds[n].fd = carton_guard_starting(); /* -1: it is there */
	fds[n].events = 0;                   /* that it could not start, which is POLLHUP */
	fds[n].revents = 0;
	do {
		double before = now();

		r = poll(fds, n + 1,
		         timeout < 0     ? -1
		         : timeout > 1e6 ? 1000000000
		                         : (int)(timeout * 1000 + 0.999));
		if (timeout >= 0)
			timeout = timeout - (now() - before) > 0 ? timeout - (now() - before) : 0;
		again = r < 0 && errno == EINTR;
		if (r > 0 && fds[n].revents) {
			carton_guard_await(L);
			fds[n].fd = -1;
			again = --r == 0;
		}
	} while (again);
	if (r < 0)
		return carton_raise(L, "poll", NULL, errno);
	lua_createtable(L, r, 0);
	for (lua_Unsigned i = 0; i < n; i++) {
		if (fds[i].revents) {
			lua_pushinteger(L, (lua_Integer)i + 1);
			lua_rawseti(L, -2, ++ready);
		}
	}
	return 1;
}

/***
Tell a signal's number.
@function signal_number
@tparam string|int signal `"SIGTERM"` or `"TERM"`; a number is given back
@treturn int
@raise a string for a name that is none
@see signal(7)
*/
static int exec_signal_number(lua_State *L)
{
	lua_pushinteger(L, to_signal(L, 1));
	return 1;
}

/***
Tell a signal's name.
@function signal_name
@tparam int number
@treturn ?string `"SIGTERM"`, `"SIGRTMIN+3"`; nil for one without a name
@see signal(7)
*/
static int exec_signal_name(lua_State *L)
{
	carton_push_signal(L, (int)luaL_checkinteger(L, 1));
	return 1;
}

/***
Stop the calling process, as ^Z does; returns when it is continued.
@function stop_self
@see signal(7)
*/
static int exec_stop_self(lua_State *L)
{
	(void)L;
	raise(SIGSTOP);
	return 0;
}

void carton_open_process(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{"wait", process_wait},         {"kill", process_kill},
		{"pid", process_pid},           {"is_alive", process_is_alive},
		{"terminal", process_terminal}, {"trace", process_trace},
		{"listener", process_listener}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"spawn", carton_spawn},
	                                     {"open_process", exec_open_process},
	                                     {"wait_any", exec_wait_any},
	                                     {"poll", exec_poll},
	                                     {"signal_number", exec_signal_number},
	                                     {"signal_name", exec_signal_name},
	                                     {"stop_self", exec_stop_self},
	                                     {"guard", carton_guard},
	                                     {NULL, NULL}};

	carton_newhandletype(L, CARTON_PROCESS, methods);
	luaL_setfuncs(L, functions, 0);
}
