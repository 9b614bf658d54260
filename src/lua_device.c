/* SPDX-License-Identifier: MIT */
/***
Programs that decide which devices the processes of a cgroup may open: load one, attach it.
@module carton.cgroup
*/
#include "tables.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

#include <lauxlib.h>

#include "error.h"
#include "handle.h"
#include "sys.h"
#include "util.h"

#define LOG_SIZE 65536

static long sys_bpf(unsigned int command, union bpf_attr *attr)
{
	return sys_call(SYS_bpf, command, attr, sizeof(*attr));
}

static uint64_t address(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

/* What the verifier found fault with is the last line before its figures. */
static const char *last_line(char *log)
{
	char *figures = strstr(log, "\nprocessed ");
	const char *line;

	if (figures)
		*figures = '\0';
	line = strrchr(log, '\n');
	return line ? line + 1 : log;
}

/***
Load a program that decides on devices.
@function load_devices
@tparam string program instructions of extended BPF, as `carton.ebpf` makes them
@treturn descriptor of the program, which lives while that is open or it is attached
@raise `carton.error`: `EPERM` takes CAP_BPF or CAP_SYS_ADMIN outside of user namespaces; `EINVAL`,
`EACCES` the kernel does not take it, with what its verifier says
@see bpf(2)
*/
static int cgroup_load_devices(lua_State *L)
{
	size_t size;
	const char *program = luaL_checklstring(L, 1, &size);
	struct carton_failure failure = {.step = "load_devices"};
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);
	union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE};
	long fd;

	luaL_argcheck(L, size > 0 && size % sizeof(struct bpf_insn) == 0, 1,
	              "whole instructions expected");
	attr.insns = address(program);
	attr.insn_cnt = (uint32_t)(size / sizeof(struct bpf_insn));
	attr.license = address("MIT");
	memcpy(attr.prog_name, "carton_devices", sizeof("carton_devices"));
	fd = sys_bpf(BPF_PROG_LOAD, &attr);
	if (fd == -EINVAL || fd == -EACCES) { /* once more, to hear why */
		char *log = lua_newuserdatauv(L, LOG_SIZE, 0);

		log[0] = '\0';
		attr.log_buf = address(log);
		attr.log_size = LOG_SIZE;
		attr.log_level = 1;
		fd = sys_bpf(BPF_PROG_LOAD, &attr);
		log[LOG_SIZE - 1] = '\0';
		failure.text = last_line(log);
	}
	if (fd < 0) {
		failure.errnum = (int)-fd;
		return carton_raise_failure(L, &failure);
	}
	h->fd = (int)fd; /* close-on-exec: the kernel sees to it */
	lua_settop(L, 2);
	return 1;
}

/***
Have a program decide on the devices of a cgroup of v2 and all below it, besides those of the
groups above; it goes with the cgroup.
@function attach_devices
@tparam directory directory
@tparam descriptor program from `load_devices`
@tparam[opt] descriptor replaced the one in whose place it is put, at once
@raise `carton.error`: `EPERM` not allowed, or a group above lets nobody add; `ENOENT` the one to
replace is not attached; `EBADF`, `EINVAL` no cgroup of v2, no such program
@see bpf(2)
*/
static int cgroup_attach_devices(lua_State *L)
{
	union bpf_attr attr = {.attach_type = BPF_CGROUP_DEVICE, .attach_flags = BPF_F_ALLOW_MULTI};
	long r;

	attr.target_fd = (uint32_t)carton_checkfd(L, 1, CARTON_CGROUP);
	attr.attach_bpf_fd = (uint32_t)carton_checkfd(L, 2, CARTON_DESCRIPTOR);
	if (!lua_isnoneornil(L, 3)) {
		attr.attach_flags |= BPF_F_REPLACE;
		attr.replace_bpf_fd = (uint32_t)carton_checkfd(L, 3, CARTON_DESCRIPTOR);
	}
	r = sys_bpf(BPF_PROG_ATTACH, &attr);
	if (r < 0) {
		lua_getfield(L, 1, "name");
		lua_pushvalue(L, 1);
		lua_call(L, 1, 1);
		return carton_raise(L, "attach_devices", lua_tostring(L, -1), (int)-r);
	}
	return 0;
}

void carton_open_device(lua_State *L)
{
	static const luaL_Reg functions[] = {{"load_devices", cgroup_load_devices},
	                                     {"attach_devices", cgroup_attach_devices},
	                                     {NULL, NULL}};

	luaL_setfuncs(L, functions, 0);
}
