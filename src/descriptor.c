/* SPDX-License-Identifier: MIT */
/***
Processes and programs; plain descriptors: pipes, files, sockets, terminals, signals. Whatever
takes a table of fields is a function and a step, but for those that mean something in a new process
only.
@module carton.exec
*/
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "error.h"
#include "names.h"
#include "process.h"
#include "sys.h"
#include "util.h"

#define READ_SIZE 65536

static int check(lua_State *L)
{
	return carton_checkfd(L, 1, CARTON_DESCRIPTOR);
}

/***
Read what is there.
@function descriptor:read
@tparam[opt=65536] int size at most so many bytes
@treturn ?string|boolean nil at the end of the file, false when it would block
@raise `carton.error`
@see read(2)
*/
static int descriptor_read(lua_State *L)
{
	int fd = check(L);
	lua_Integer size = luaL_optinteger(L, 2, READ_SIZE);
	char space[READ_SIZE]; /* a byte read takes no more of Lua's memory than a byte */
	luaL_Buffer buffer;
	char *at = space;
	ssize_t n;
	int en;

	luaL_argcheck(L, size > 0 && size <= 1 << 30, 2, "out of range");
	if (size > READ_SIZE)
		at = luaL_buffinitsize(L, &buffer, (size_t)size);
	do
		n = read(fd, at, (size_t)size);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		if (at == space)
			lua_pushlstring(L, space, (size_t)n);
		else
			luaL_pushresultsize(&buffer, (size_t)n);
		return 1;
	}
	if (n < 0 && errno == EAGAIN) {
		lua_pushboolean(L, 0);
		return 1;
	}
	en = errno;
	if (n < 0 && !(en == EIO && isatty(fd))) /* EIO: its other side is closed, pty(7) */
		return carton_raise(L, "read", NULL, en);
	lua_pushnil(L);
	return 1;
}

/***
Write.
@function descriptor:write
@tparam string data
@tparam[opt=1] int first byte to begin with
@treturn int|boolean how many bytes were written, false when it would block
@raise `carton.error`: `EPIPE` nobody reads
@see write(2)
*/
static int descriptor_write(lua_State *L)
{
	int fd = check(L);
	size_t length;
	const char *data = luaL_checklstring(L, 2, &length);
	lua_Integer first = luaL_optinteger(L, 3, 1);
	sigset_t pipe_signal, before;
	struct timespec now = {0};
	ssize_t n;
	int en;

	luaL_argcheck(L, first >= 1 && (size_t)first <= length + 1, 3, "out of range");
	/* a program whose reader ends is not to be ended by it */
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
	do
		n = write(fd, data + first - 1, length - (size_t)first + 1);
	while (n < 0 && errno == EINTR);
	en = errno;
	if (n < 0 && en == EPIPE && !sigismember(&before, SIGPIPE))
		sigtimedwait(&pipe_signal, NULL, &now);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (n < 0 && en == EAGAIN)
		lua_pushboolean(L, 0);
	else if (n < 0)
		return carton_raise(L, "write", NULL, en);
	else
		lua_pushinteger(L, n);
	return 1;
}

/***
Have reading and writing return false instead of blocking.
@function descriptor:nonblocking
@tparam[opt=true] boolean on
@treturn descriptor itself
@see fcntl(2) O_NONBLOCK
*/
static int descriptor_nonblocking(lua_State *L)
{
	int fd = check(L);
	int flags = fcntl(fd, F_GETFL);
	bool on = lua_isnone(L, 2) || lua_toboolean(L, 2);

	if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
		return carton_raise(L, "nonblocking", NULL, errno);
	lua_settop(L, 1);
	return 1;
}

/***
Tell whether it is a terminal.
@function descriptor:is_terminal
@treturn boolean
@see isatty(3)
*/
static int descriptor_is_terminal(lua_State *L)
{
	lua_pushboolean(L, isatty(check(L)));
	return 1;
}

/***
Tell the size of a terminal.
@function descriptor:size
@treturn int rows
@treturn int columns
@raise `carton.error`: `ENOTTY`
@see ioctl_tty(2) TIOCGWINSZ
*/
static int descriptor_size(lua_State *L)
{
	struct winsize size;

	if (ioctl(check(L), TIOCGWINSZ, &size) < 0)
		return carton_raise(L, "size", NULL, errno);
	lua_pushinteger(L, size.ws_row);
	lua_pushinteger(L, size.ws_col);
	return 2;
}

/***
Set the size of a terminal.
@function descriptor:resize
@tparam int rows
@tparam int columns
@raise `carton.error`: `ENOTTY`
@see ioctl_tty(2) TIOCSWINSZ
*/
static int descriptor_resize(lua_State *L)
{
	int fd = check(L);
	struct winsize size = {.ws_row = (unsigned short)luaL_checkinteger(L, 2),
	                       .ws_col = (unsigned short)luaL_checkinteger(L, 3)};

	if (ioctl(fd, TIOCSWINSZ, &size) < 0)
		return carton_raise(L, "resize", NULL, errno);
	return 0;
}

/***
Have a terminal pass on every byte as it is.
@function descriptor:raw
@treturn string its settings until now, for `restore`
@raise `carton.error`: `ENOTTY`
@see termios(3) cfmakeraw
*/
static int descriptor_raw(lua_State *L)
{
	int fd = check(L);
	struct termios before, raw;

	if (tcgetattr(fd, &before) < 0)
		return carton_raise(L, "raw", NULL, errno);
	lua_pushlstring(L, (const char *)&before, sizeof(before));
	raw = before;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSADRAIN, &raw) < 0)
		return carton_raise(L, "raw", NULL, errno);
	return 1;
}

/***
Give a terminal its settings back.
@function descriptor:restore
@tparam string settings from `raw`
@raise `carton.error`: `ENOTTY`
@see termios(3)
*/
static int descriptor_restore(lua_State *L)
{
	int fd = check(L);
	size_t length;
	const char *saved = luaL_checklstring(L, 2, &length);
	struct termios settings;

	luaL_argcheck(L, length == sizeof(settings), 2, "not the settings of a terminal");
	memcpy(&settings, saved, sizeof(settings));
	if (tcsetattr(fd, TCSADRAIN, &settings) < 0)
		return carton_raise(L, "restore", NULL, errno);
	return 0;
}

/***
Take one signal out of a descriptor of `signals`.
@function descriptor:read_signal
@treturn ?string its name, nil when there is none
@treturn ?int the process that sent it
@see signalfd(2)
*/
static int descriptor_read_signal(lua_State *L)
{
	struct signalfd_siginfo info;
	ssize_t n;

	do
		n = read(check(L), &info, sizeof(info));
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return carton_raise(L, "read_signal", NULL, errno);
	if (n != sizeof(info)) {
		lua_pushnil(L);
		return 1;
	}
	carton_push_signal(L, (int)info.ssi_signo);
	lua_pushinteger(L, info.ssi_pid);
	return 2;
}

/***
Make a pipe.
@function pipe
@treturn descriptor the end to read from
@treturn descriptor the end to write to
@raise `carton.error`: `EMFILE` too many descriptors
@see pipe(2)
*/
static int exec_pipe(lua_State *L)
{
	struct carton_handle *r = carton_newhandle(L, CARTON_DESCRIPTOR);
	struct carton_handle *w = carton_newhandle(L, CARTON_DESCRIPTOR);
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return carton_raise(L, "pipe", NULL, errno);
	r->fd = pair[0];
	w->fd = pair[1];
	return 2;
}

/***
Make a pair of connected sockets, which pass messages whole.
@function socketpair
@treturn descriptor
@treturn descriptor
@raise `carton.error`: `EMFILE` too many descriptors
@see socketpair(2), unix(7)
*/
static int exec_socketpair(lua_State *L)
{
	struct carton_handle *a = carton_newhandle(L, CARTON_DESCRIPTOR);
	struct carton_handle *b = carton_newhandle(L, CARTON_DESCRIPTOR);
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return carton_raise(L, "socketpair", NULL, errno);
	a->fd = pair[0];
	b->fd = pair[1];
	return 2;
}

/***
Open a file.
@function open
@tparam string path
@tparam[opt="r"] string mode `r` read, `w` write a new or emptied file, `a` append, `rw` both, `x`
write, and it must be new
@treturn descriptor
@raise `carton.error`
@see open(2)
*/
static int exec_open(lua_State *L)
{
	static const char *const modes[] = {"r", "w", "a", "rw", "x", NULL};
	static const int flags[] = {O_RDONLY, O_WRONLY | O_CREAT | O_TRUNC,
	                            O_WRONLY | O_CREAT | O_APPEND, O_RDWR | O_CREAT,
	                            O_WRONLY | O_CREAT | O_EXCL};
	const char *path = luaL_checkstring(L, 1);
	int mode = luaL_checkoption(L, 2, "r", modes);
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);

	h->fd = open(path, flags[mode] | O_CLOEXEC | O_NOCTTY, 0666);
	if (h->fd < 0)
		return carton_raise(L, "open", path, errno);
	return 1;
}

/***
Open anew what a handle refers to, as a tree of `mount.open_tree` with its own options.
@function reopen
@tparam handle what
@tparam[opt="r"] string mode `r` or `rw`
@treturn descriptor
@raise `carton.error`
@see proc_pid_fd(5)
*/
static int exec_reopen(lua_State *L)
{
	static const char *const modes[] = {"r", "rw", NULL};
	struct carton_handle *what = carton_tohandle(L, 1), *h;
	int mode = luaL_checkoption(L, 2, "r", modes);
	const char *path;

	luaL_argexpected(L, what && what->fd >= 0, 1, "open handle");
	h = carton_newhandle(L, CARTON_DESCRIPTOR);
	path = lua_pushfstring(L, "/proc/self/fd/%d", what->fd);
	h->fd = open(path, (mode ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY);
	if (h->fd < 0)
		return carton_raise(L, "open", path, errno);
	lua_pop(L, 1); /* path */
	return 1;
}

/***
Tell what is open at a descriptor.
@function file_type
@tparam handle|int what
@treturn string `file`, `directory`, `char`, `block`, `fifo`, `socket`, `link` or `other`
@treturn boolean whether it only stands for a path, as one of open(2) `O_PATH`
@raise `carton.error`: `EBADF` not open
@see fstat(2)
*/
static int exec_file_type(lua_State *L)
{
	static const struct {
		mode_t mode;
		const char *name;
	} types[] = {{S_IFREG, "file"},  {S_IFDIR, "directory"}, {S_IFCHR, "char"},
	             {S_IFBLK, "block"}, {S_IFIFO, "fifo"},      {S_IFSOCK, "socket"},
	             {S_IFLNK, "link"}};
	struct carton_handle *h = carton_tohandle(L, 1);
	int fd = h ? h->fd : (int)luaL_checkinteger(L, 1);
	const char *name = "other";
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) < 0)
		return carton_raise(L, "file_type", lua_pushfstring(L, "%d", fd), errno);
	for (size_t i = 0; i < countof(types); i++)
		if ((st.st_mode & S_IFMT) == types[i].mode)
			name = types[i].name;
	lua_pushstring(L, name);
	lua_pushboolean(L, (flags & O_PATH) != 0);
	return 2;
}

/***
Open /dev/null.
@function null
@treturn descriptor for reading and writing
*/
static int exec_null(lua_State *L)
{
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);

	h->fd = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (h->fd < 0)
		return carton_raise(L, "open", "/dev/null", errno);
	return 1;
}

/***
Have a handle of a descriptor that is open already.
@function descriptor
@tparam int number it is duplicated: the handle owns the copy
@treturn descriptor
@raise `carton.error`: `EBADF` not open
@see fcntl(2) F_DUPFD_CLOEXEC
*/
static int exec_descriptor(lua_State *L)
{
	lua_Integer number = luaL_checkinteger(L, 1);
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);

	h->fd = fcntl((int)number, F_DUPFD_CLOEXEC, 3);
	if (h->fd < 0)
		return carton_raise(L, "descriptor", NULL, errno);
	return 1;
}

/***
Open a pseudo-terminal of the caller's own /dev.
@function terminal_pair
@treturn descriptor the near side
@treturn descriptor the far side, for a program
@see pty(7)
*/
static int exec_terminal_pair(lua_State *L)
{
	struct carton_handle *near = carton_newhandle(L, CARTON_DESCRIPTOR);
	struct carton_handle *far = carton_newhandle(L, CARTON_DESCRIPTOR);
	int unlock = 0;

	near->fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (near->fd < 0)
		return carton_raise(L, "open", "/dev/ptmx", errno);
	if (ioctl(near->fd, TIOCSPTLCK, &unlock) == 0)
		far->fd = ioctl(near->fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (far->fd < 0)
		return carton_raise(L, "terminal_pair", NULL, errno);
	return 2;
}

/* The names in a table, the only argument. */
static void to_set(lua_State *L, sigset_t *set)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	sigemptyset(set);
	for (lua_Integer i = 1; lua_rawgeti(L, 1, i) != LUA_TNIL; i++, lua_pop(L, 1)) {
		int number = lua_type(L, -1) == LUA_TSTRING
		                     ? carton_signal_number(lua_tostring(L, -1))
		                     : 0;

		luaL_argcheck(L, number != 0, 1, "unknown signal");
		sigaddset(set, number);
	}
}

/***
Receive signals through a descriptor, which is readable when one is there. They are blocked from now
on.
@function signals
@tparam {string,...} names
@treturn descriptor with `read_signal`
@raise `carton.error`
@see signalfd(2)
*/
static int exec_signals(lua_State *L)
{
	struct carton_handle *h;
	sigset_t set;

	to_set(L, &set);
	h = carton_newhandle(L, CARTON_DESCRIPTOR);
	h->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (h->fd < 0)
		return carton_raise(L, "signals", NULL, errno);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return 1;
}

/***
Let signals act as usual again.
@function unblock
@tparam {string,...} names
*/
static int exec_unblock(lua_State *L)
{
	sigset_t set;

	to_set(L, &set);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	return 0;
}

void carton_open_descriptor(lua_State *L)
{
	static const luaL_Reg methods[] = {{"read", descriptor_read},
	                                   {"write", descriptor_write},
	                                   {"nonblocking", descriptor_nonblocking},
	                                   {"is_terminal", descriptor_is_terminal},
	                                   {"size", descriptor_size},
	                                   {"resize", descriptor_resize},
	                                   {"raw", descriptor_raw},
	                                   {"restore", descriptor_restore},
	                                   {"read_signal", descriptor_read_signal},
	                                   {NULL, NULL}};
	static const luaL_Reg functions[] = {{"pipe", exec_pipe},
	                                     {"socketpair", exec_socketpair},
	                                     {"open", exec_open},
	                                     {"reopen", exec_reopen},
	                                     {"file_type", exec_file_type},
	                                     {"null", exec_null},
	                                     {"descriptor", exec_descriptor},
	                                     {"terminal_pair", exec_terminal_pair},
	                                     {"signals", exec_signals},
	                                     {"unblock", exec_unblock},
	                                     {NULL, NULL}};

	carton_newhandletype(L, CARTON_DESCRIPTOR, methods);
	luaL_setfuncs(L, functions, 0);
}
