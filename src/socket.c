/* SPDX-License-Identifier: MIT */
/***
Connections to local services, and who serves there.
@module carton.exec
*/
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "error.h"
#include "process.h"

/***
Connect to a local stream socket. The descriptor does not block.
@function connect
@tparam string path
@treturn descriptor
@treturn table `{ pid =, uid =, gid = }` of who listens, as the caller's namespaces number them;
0 is a process that they do not show
@raise `carton.error`: `ENOENT`, `EACCES`, `ECONNREFUSED` nobody listens, `EAGAIN` too many wait,
`ENAMETOOLONG`
@see unix(7)
*/
static int exec_connect(lua_State *L)
{
	size_t length;
	const char *path = luaL_checklstring(L, 1, &length);
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ucred peer;
	socklen_t size = sizeof(peer);

	luaL_argcheck(L, length > 0 && strlen(path) == length, 1, "a path expected");
	if (length >= sizeof(address.sun_path))
		return carton_raise(L, "connect", path, ENAMETOOLONG);
	memcpy(address.sun_path, path, length);
	h->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->fd < 0 || connect(h->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    getsockopt(h->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return carton_raise(L, "connect", path, errno);
	lua_createtable(L, 0, 3);
	lua_pushinteger(L, peer.pid);
	lua_setfield(L, -2, "pid");
	lua_pushinteger(L, peer.uid);
	lua_setfield(L, -2, "uid");
	lua_pushinteger(L, peer.gid);
	lua_setfield(L, -2, "gid");
	return 2;
}

void carton_open_socket(lua_State *L)
{
	static const luaL_Reg functions[] = {{"connect", exec_connect}, {NULL, NULL}};

	luaL_setfuncs(L, functions, 0);
}
