/* SPDX-License-Identifier: MIT */
/* What a child says on its channel, which may have fallen into other hands: messages of any length
 * and content, with descriptors and without, against a plan of a few steps. */
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "error.h"
#include "fuzz.h"
#include "launch.h"
#include "primitive.h"
#include "sys.h"

static const char steps[] =
	"return { { 'mount.bind', source = '/a', target = '/b' }, { 'sync', name = 'turn' },"
	" { 'exec.terminal' }, { 'exec.fork' }, { 'sync', name = 'nobody' },"
	" { 'exec.exec', args = { '/bin/true' } } }, { turn = function(p) p:pid() end }";

/* A process that has ended, and is not reaped: what is killed and waited for in its place. */
static pid_t make_ended(void)
{
	pid_t pid = fork();
	siginfo_t info;

	if (pid == 0)
		_exit(0);
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	return pid;
}

static void send_message(struct bytes *b, int channel, struct carton_report *report, size_t size)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec iov = {report, size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	unsigned int n = draw(b) % 4;
	int fds[2] = {2, 2};

	if (n == 1 || n == 2) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
	}
	sendmsg(channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Mostly messages that would be believed. */
static void send_all(struct bytes *b, int channel, uint32_t step)
{
	for (int i = 0; i < 8 && b->left; i++) {
		struct carton_report report = {.step = step};
		size_t size = sizeof(report);
		size_t n = sizeof(report.text) < b->left ? sizeof(report.text) : b->left;
		uint8_t odd = draw(b);

		report.kind = draw(b) % 5;
		report.errnum = (int32_t)draw_number(b, odd & 1 ? 4 : 1);
		report.call = (uint32_t)draw_number(b, odd & 2 ? 4 : 1);
		if (odd & 4)
			report.step = (uint32_t)draw_number(b, odd & 8 ? 4 : 1);
		if (odd & 16)
			size = draw(b);
		n = n < b->left ? n : b->left;
		memcpy(report.text, b->at, n / 4);
		b->at += n / 4;
		b->left -= n / 4;
		send_message(b, channel, &report, size);
	}
}

static int follow(lua_State *L)
{
	struct bytes *b = lua_touserdata(L, 1);
	struct carton_plan plan = {.channel = -1, .near = -1, .parent = -1};
	struct carton_needs needs = {0};
	struct carton_shared *shared = lua_newuserdatauv(L, sizeof(*shared), 0);
	struct spawn *s = lua_newuserdatauv(L, sizeof(*s), 0);
	struct spawn_fields f = {0};
	struct carton_arena arena;
	int pair[2], process;

	if (luaL_dostring(L, steps) != LUA_OK)
		abort();
	f.sync = lua_gettop(L);
	f.steps = f.sync - 1;
	memset(shared, 0, sizeof(*shared));
	memset(s, 0, sizeof(*s));
	carton_newarena(L, &arena);
	arena.lazy = true;
	carton_pack(&arena, f.steps, &plan, &needs);
	shared->progress = draw(b) % (plan.nsteps + 1);
	shared->forked = 1;
	plan.progress = &shared->progress;
	s->shared = shared;
	s->process = carton_newprocess(L);
	process = lua_gettop(L);
	s->process->pid = 1;
	s->process->ended = true;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	s->process->handle.fd = (int)sys_call(SYS_pidfd_open, *(pid_t *)lua_touserdata(L, 2), 0);
	carton_newhandle(L, CARTON_DESCRIPTOR)->fd = pair[0]; /* so that it is closed */
	s->channel = pair[0];
	send_all(b, pair[1], shared->progress);
	close(pair[1]);
	carton_follow(L, s, &f, &plan, &needs, process);
	return 0;
}

static unsigned int open_descriptors(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 64; fd++)
		n += sys_fcntl(fd, F_GETFD, 0) >= 0;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static pid_t ended;
	struct bytes b = {data, size};
	lua_State *L = fuzz_state();
	unsigned int before = open_descriptors();

	if (!ended)
		ended = make_ended();
	lua_pushcfunction(L, follow);
	lua_pushlightuserdata(L, &b);
	lua_pushlightuserdata(L, &ended);
	if (lua_pcall(L, 2, 0, 0) != LUA_OK)
		check_message(L);
	lua_settop(L, 0);
	lua_gc(L, LUA_GCCOLLECT);
	if (open_descriptors() != before)
		abort();
	return 0;
}
