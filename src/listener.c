/* SPDX-License-Identifier: MIT */
/***
System calls that wait for an answer, and a look into who makes them. What an answer says of a call
whose caller was killed or interrupted is nil or false: that is no error.
@module carton.listener
*/
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <lauxlib.h>

#include "error.h"
#include "look.h"
#include "process.h"
#include "sys.h"
#include "tables.h"
#include "util.h"

/* What older headers lack. */
#define NOTIF_ADDFD_SEND 2                      /* SECCOMP_ADDFD_FLAG_SEND */
#define NOTIF_SET_FLAGS  _IOW('!', 4, uint64_t) /* SECCOMP_IOCTL_NOTIF_SET_FLAGS */
#define SYNC_WAKE_UP     1                      /* SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP */
#define PIDFD_OF_THREAD  O_EXCL                 /* PIDFD_THREAD */
#define PAGE             4096

struct carton_listener {
	struct carton_handle handle;
	bool kept;                       /* `notif` is one that nobody has received yet */
	struct seccomp_notif *notif;     /* of the sizes that the kernel has, */
	struct seccomp_notif_resp *resp; /* in `space` */
	size_t notif_size, resp_size;
	uint64_t space[];
};

static size_t words(size_t size)
{
	return (size + sizeof(uint64_t) - 1) / sizeof(uint64_t);
}

struct carton_listener *carton_newlistener(lua_State *L, struct carton_handle *h)
{
	struct seccomp_notif_sizes sizes = {0};
	struct carton_listener *l;
	size_t notif, resp;
	uint64_t flags = SYNC_WAKE_UP;

	if (sys_call(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
		memset(&sizes, 0, sizeof(sizes)); /* what our headers say */
	notif = sizes.seccomp_notif > sizeof(*l->notif) ? sizes.seccomp_notif : sizeof(*l->notif);
	resp = sizes.seccomp_notif_resp > sizeof(*l->resp) ? sizes.seccomp_notif_resp
	                                                   : sizeof(*l->resp);
	l = carton_newbox(L, CARTON_LISTENER,
	                  sizeof(*l) + (words(notif) + words(resp)) * sizeof(uint64_t), 0);
	l->handle.fd = h->fd;
	h->fd = -1;
	l->notif = (void *)l->space;
	l->resp = (void *)(l->space + words(notif));
	l->notif_size = notif;
	l->resp_size = resp;
	ioctl(l->handle.fd, NOTIF_SET_FLAGS, flags); /* faster where there is it: Linux 6.6 */
	return l;
}

int carton_listener_fd(const struct carton_listener *l)
{
	return l->handle.fd;
}

void carton_listener_close(struct carton_listener *l)
{
	if (l->handle.fd >= 0)
		close(l->handle.fd);
	l->handle.fd = -1;
}

/* 1: there is one, 0: there is none, -EPIPE: there will be none any more, -errno. */
static int take(struct carton_listener *l)
{
	for (;;) {
		struct pollfd ready = {.fd = l->handle.fd, .events = POLLIN};

		/* what poll(2) has seen, receiving does not wait for: whoever is gone by then is
		 * ENOENT */
		if (poll(&ready, 1, 0) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (!(ready.revents & POLLIN))
			return ready.revents ? -EPIPE : 0;
		memset(l->notif, 0, l->notif_size);
		if (ioctl(l->handle.fd, SECCOMP_IOCTL_NOTIF_RECV, l->notif) == 0)
			return 1;
		if (errno != ENOENT && errno != EINTR)
			return -errno;
	}
}

/* 1: answered, 0: nobody waits for it any more, -errno. */
static int answer(struct carton_listener *l, uint64_t id, int64_t value, int errnum, uint32_t flags)
{
	memset(l->resp, 0, l->resp_size);
	l->resp->id = id;
	l->resp->val = value;
	l->resp->error = -errnum;
	l->resp->flags = flags;
	if (ioctl(l->handle.fd, SECCOMP_IOCTL_NOTIF_SEND, l->resp) == 0)
		return 1;
	return errno == ENOENT || errno == EINPROGRESS ? 0 : -errno;
}

int carton_listener_pass(struct carton_listener *l, int channel)
{
	struct pollfd closed = {.fd = channel};
	int r = take(l);

	if (r != 1)
		return r == -EPIPE ? 0 : r;
	if (poll(&closed, 1, 0) > 0) { /* POLLHUP: nobody else has its other end */
		l->kept = true;
		return 0;
	}
	r = answer(l, l->notif->id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
	return r < 0 ? r : 0;
}

static struct carton_listener *check(lua_State *L)
{
	carton_checkfd(L, 1, CARTON_LISTENER);
	return lua_touserdata(L, 1);
}

static uint64_t check_id(lua_State *L)
{
	return (uint64_t)luaL_checkinteger(L, 2);
}

/* Whether the call still waits: then its thread has not ended since it was received, and its number
 * is nobody else's. */
static bool is_waiting(const struct carton_listener *l, uint64_t id)
{
	return ioctl(l->handle.fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

/***
Take a call that waits, without waiting for one.
@function listener:receive
@treturn ?int|boolean its id; nil: there is none, false: there will be none any more
@treturn int the thread, as the caller's pid namespace numbers it
@treturn int number of the system call
@treturn int architecture: linux/audit.h
@treturn int six arguments follow
@raise `carton.error`
@see seccomp_unotify(2) SECCOMP_IOCTL_NOTIF_RECV
*/
static int listener_receive(lua_State *L)
{
	struct carton_listener *l = check(L);
	int r = l->kept ? 1 : take(l);

	l->kept = false;
	if (r == 0) {
		lua_pushnil(L);
		return 1;
	}
	if (r == -EPIPE) {
		lua_pushboolean(L, 0);
		return 1;
	}
	if (r < 0)
		return carton_raise(L, "receive", NULL, -r);
	lua_pushinteger(L, (lua_Integer)l->notif->id);
	lua_pushinteger(L, l->notif->pid);
	lua_pushinteger(L, l->notif->data.nr);
	lua_pushinteger(L, l->notif->data.arch);
	for (int i = 0; i < 6; i++)
		lua_pushinteger(L, (lua_Integer)l->notif->data.args[i]);
	return 10;
}

static int push_answered(lua_State *L, int r)
{
	if (r < 0)
		return carton_raise(L, "reply", NULL, -r);
	lua_pushboolean(L, r);
	return 1;
}

/***
Have a call return.
@function listener:reply
@tparam int id
@tparam int value
@treturn boolean false when nobody waits for it any more
@raise `carton.error`
@see seccomp_unotify(2) SECCOMP_IOCTL_NOTIF_SEND
*/
static int listener_reply(lua_State *L)
{
	return push_answered(L, answer(check(L), check_id(L), luaL_checkinteger(L, 3), 0, 0));
}

/***
Have a call fail.
@function listener:deny
@tparam int id
@tparam int errno from 1
@treturn boolean false when nobody waits for it any more
@raise `carton.error`
@see seccomp_unotify(2) SECCOMP_IOCTL_NOTIF_SEND
*/
static int listener_deny(lua_State *L)
{
	struct carton_listener *l = check(L);
	lua_Integer errnum = luaL_checkinteger(L, 3);

	luaL_argcheck(L, errnum > 0 && errnum < 4096, 3, "not an errno");
	return push_answered(L, answer(l, check_id(L), 0, (int)errnum, 0));
}

/***
Have the kernel go on with a call, as if nobody had been asked. What its pointers point at may have
changed since.
@function listener:continue
@tparam int id
@treturn boolean false when nobody waits for it any more
@raise `carton.error`
@see seccomp_unotify(2) SECCOMP_USER_NOTIF_FLAG_CONTINUE
*/
static int listener_continue(lua_State *L)
{
	return push_answered(L,
	                     answer(check(L), check_id(L), 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
}

/***
Tell whether a call still waits.
@function listener:is_valid
@tparam int id
@treturn boolean
@see seccomp_unotify(2) SECCOMP_IOCTL_NOTIF_ID_VALID
*/
static int listener_is_valid(lua_State *L)
{
	lua_pushboolean(L, is_waiting(check(L), check_id(L)));
	return 1;
}

/***
Give the caller a descriptor.
@function listener:add_descriptor
@tparam int id
@tparam handle|int what it stays open here, too
@tparam[opt] table options `cloexec` (false), `at` (its number there; what is open there is
replaced), `reply` (the call returns that number, at once)
@treturn ?int its number there; nil when nobody waits any more
@raise `carton.error`: `EMFILE` the caller has too many, `EBADF`
@see seccomp_unotify(2) SECCOMP_IOCTL_NOTIF_ADDFD
*/
static int listener_add_descriptor(lua_State *L)
{
	struct carton_listener *l = check(L);
	struct carton_handle *h = carton_tohandle(L, 3);
	struct seccomp_notif_addfd add = {.id = check_id(L)};
	int r;

	luaL_argexpected(L, h || lua_isinteger(L, 3), 3, "a handle or the number of a descriptor");
	add.srcfd = (uint32_t)(h ? h->fd : (int)lua_tointeger(L, 3));
	if (lua_istable(L, 4)) {
		lua_getfield(L, 4, "cloexec");
		lua_getfield(L, 4, "reply");
		lua_getfield(L, 4, "at");
		add.newfd_flags = lua_toboolean(L, -3) ? O_CLOEXEC : 0;
		if (lua_toboolean(L, -2))
			add.flags |= NOTIF_ADDFD_SEND;
		if (!lua_isnil(L, -1)) {
			add.newfd = (uint32_t)luaL_checkinteger(L, -1);
			add.flags |= SECCOMP_ADDFD_FLAG_SETFD;
		}
	}
	r = ioctl(l->handle.fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
	if (r < 0 && errno != ENOENT && errno != EINPROGRESS)
		return carton_raise(L, "add_descriptor", NULL, errno);
	if (r < 0)
		lua_pushnil(L);
	else
		lua_pushinteger(L, r);
	return 1;
}

/* Nothing, or nil and why: nobody waits any more, or it is not to be had. */
static int push_failure(lua_State *L, const struct carton_listener *l, uint64_t id, int errnum)
{
	lua_pushnil(L);
	lua_pushstring(L, is_waiting(l, id) ? carton_errno_name(errnum) : "ENOENT");
	return 2;
}

/***
Copy memory of the caller.
@function listener:read
@tparam int id
@tparam int pid
@tparam int address
@tparam int size at most so many bytes, up to 16 MiB
@tparam[opt=false] boolean text only to the first NUL, which has to be within `size` + 1 bytes
@treturn ?string nil when it is not to be had
@treturn ?string why: `EFAULT` no such memory, `ENAMETOOLONG` no NUL, `ENOENT` nobody waits any more
@see process_vm_readv(2)
*/
static int listener_read(lua_State *L)
{
	struct carton_listener *l = check(L);
	uint64_t id = check_id(L);
	pid_t pid = (pid_t)luaL_checkinteger(L, 3);
	uint64_t address = (uint64_t)luaL_checkinteger(L, 4);
	lua_Integer size = luaL_checkinteger(L, 5);
	bool text = lua_toboolean(L, 6);
	size_t wanted, got = 0;
	const char *end = NULL;
	luaL_Buffer buffer;
	char *to;

	luaL_argcheck(L, size >= 0 && size <= 16 << 20, 5, "out of range");
	wanted = (size_t)size + (text ? 1 : 0);
	to = luaL_buffinitsize(L, &buffer, wanted);
	while (got < wanted && !end) {
		/* page by page: a string may end right before memory that is not there */
		size_t step = PAGE - (address + got) % PAGE;
		struct iovec here, there;
		ssize_t n;

		step = !text || step > wanted - got ? wanted - got : step;
		here = (struct iovec){to + got, step};
		there = (struct iovec){(void *)(uintptr_t)(address + got), step};
		n = process_vm_readv(pid, &here, 1, &there, 1, 0);
		if (n <= 0)
			return push_failure(L, l, id, n < 0 ? errno : EFAULT);
		if (text)
			end = memchr(to + got, '\0', (size_t)n);
		got += (size_t)n;
	}
	if (text && !end)
		return push_failure(L, l, id, ENAMETOOLONG);
	if (!is_waiting(l, id)) /* it may have been somebody else's */
		return push_failure(L, l, id, ENOENT);
	luaL_pushresultsize(&buffer, end ? (size_t)(end - to) : got);
	return 1;
}

/* A file of the caller's procfs directory that is certainly its own; -errno. */
static int open_own(const struct carton_listener *l, uint64_t id, pid_t pid, const char *name,
                    int flags)
{
	char path[64];
	int fd, en;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (is_waiting(l, id))
		return fd;
	en = ENOENT;
	close(fd);
	return -en;
}

/***
Change memory of the caller.
@function listener:write
@tparam int id
@tparam int pid
@tparam int address
@tparam string bytes
@treturn ?boolean true; nil when it can't be
@treturn ?string why: `EFAULT` no such memory, `ENOENT` nobody waits any more
@see proc(5) /proc/PID/mem
*/
static int listener_write(lua_State *L)
{
	struct carton_listener *l = check(L);
	uint64_t id = check_id(L);
	pid_t pid = (pid_t)luaL_checkinteger(L, 3);
	uint64_t address = (uint64_t)luaL_checkinteger(L, 4);
	size_t length, done = 0;
	const char *bytes = luaL_checklstring(L, 5, &length);
	/* the file stays that of the caller's memory, whoever gets its number */
	int fd = open_own(l, id, pid, "mem", O_RDWR), en = 0;

	if (fd < 0)
		return push_failure(L, l, id, -fd);
	while (done < length && !en) {
		ssize_t n = pwrite(fd, bytes + done, length - done, (off_t)(address + done));

		if (n <= 0)
			en = n < 0 && errno != EIO ? errno : EFAULT;
		else
			done += (size_t)n;
	}
	close(fd);
	if (en)
		return push_failure(L, l, id, en == EINVAL ? EFAULT : en);
	lua_pushboolean(L, 1);
	return 1;
}

/***
Open the caller's root or working directory.
@function listener:directory
@tparam int id
@tparam int pid
@tparam string which `root` or `cwd`
@treturn ?directory nil when it can't be
@treturn ?string why: `ENOENT` nobody waits any more
@see proc(5) /proc/PID/root
*/
static int listener_directory(lua_State *L)
{
	static const char *const which[] = {"root", "cwd", NULL};
	struct carton_listener *l = check(L);
	uint64_t id = check_id(L);
	pid_t pid = (pid_t)luaL_checkinteger(L, 3);
	const char *name = which[luaL_checkoption(L, 4, NULL, which)];
	struct carton_handle *h = carton_newhandle(L, CARTON_DIRECTORY);
	int fd = open_own(l, id, pid, name, O_PATH | O_DIRECTORY);

	if (fd < 0)
		return push_failure(L, l, id, -fd);
	h->fd = fd;
	return 1;
}

/* The process that a thread belongs to; 0 when it can't be told. */
static pid_t leader_of(const struct carton_listener *l, uint64_t id, pid_t pid)
{
	int fd = open_own(l, id, pid, "status", O_RDONLY);
	char text[512];
	const char *at;
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	at = strstr(text, "\nTgid:");
	return at ? (pid_t)strtol(at + 6, NULL, 10) : 0;
}

/* A pidfd of the thread, or of its process where the kernel has none of threads. */
static long open_pidfd(const struct carton_listener *l, uint64_t id, pid_t *pid, unsigned int flags)
{
	long fd = -EINVAL;

	if (flags)
		fd = sys_call(SYS_pidfd_open, *pid, flags);
	if (fd == -EINVAL) {
		*pid = leader_of(l, id, *pid);
		fd = *pid ? sys_call(SYS_pidfd_open, *pid, 0) : -ENOENT;
	}
	if (fd >= 0 && !is_waiting(l, id)) {
		close((int)fd);
		fd = -ENOENT;
	}
	return fd;
}

/***
Have a handle of the process that makes the call.
@function listener:process
@tparam int id
@tparam int pid
@treturn ?process nil when it can't be
@treturn ?string why: `ENOENT` nobody waits any more
@see pidfd_open(2)
*/
static int listener_process(lua_State *L)
{
	struct carton_listener *l = check(L);
	uint64_t id = check_id(L);
	pid_t pid = (pid_t)luaL_checkinteger(L, 3);
	struct carton_process *p = carton_newprocess(L);
	long fd = open_pidfd(l, id, &pid, 0);

	if (fd < 0)
		return push_failure(L, l, id, (int)-fd);
	p->handle.fd = (int)fd;
	p->pid = pid;
	return 1;
}

/***
Have a copy of one of the caller's descriptors.
@function listener:descriptor
@tparam int id
@tparam int pid
@tparam int number the caller's
@treturn ?descriptor nil when it can't be
@treturn ?string why: `EBADF` not open there, `EPERM`, `ENOENT` nobody waits any more
@see pidfd_getfd(2)
*/
static int listener_descriptor(lua_State *L)
{
	struct carton_listener *l = check(L);
	uint64_t id = check_id(L);
	pid_t pid = (pid_t)luaL_checkinteger(L, 3);
	int number = (int)luaL_checkinteger(L, 4);
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);
	long pidfd = open_pidfd(l, id, &pid, PIDFD_OF_THREAD), fd;

	if (pidfd < 0)
		return push_failure(L, l, id, (int)-pidfd);
	fd = sys_call(SYS_pidfd_getfd, pidfd, number, 0);
	close((int)pidfd);
	if (fd < 0)
		return push_failure(L, l, id, (int)-fd);
	h->fd = (int)fd;
	return 1;
}

void carton_open_listener(lua_State *L)
{
	static const luaL_Reg methods[] = {{"receive", listener_receive},
	                                   {"reply", listener_reply},
	                                   {"deny", listener_deny},
	                                   {"continue", listener_continue},
	                                   {"is_valid", listener_is_valid},
	                                   {"add_descriptor", listener_add_descriptor},
	                                   {"read", listener_read},
	                                   {"write", listener_write},
	                                   {"directory", listener_directory},
	                                   {"process", listener_process},
	                                   {"descriptor", listener_descriptor},
	                                   {"look", carton_listener_look},
	                                   {NULL, NULL}};

	carton_newhandletype(L, CARTON_DIRECTORY, NULL); /* which mount.open_root gives, too */
	carton_newhandletype(L, CARTON_LISTENER, methods);
}
