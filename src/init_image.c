/* SPDX-License-Identifier: MIT */
/* The built-in init as a sealed file in memory, which no image and no payload can change. */
#include "init_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "handle.h"
#include "step.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

int carton_open_image(void)
{
	int fd = memfd_create("carton-init", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	int en;

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 there was no MFD_EXEC */
		fd = memfd_create("carton-init", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (write(fd, carton_init_image, carton_init_size) == (ssize_t)carton_init_size &&
	    fchmod(fd, 0111) == 0 && /* nobody shall look into it: carton_lower_capabilities() */
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0)
		return fd;
	en = errno;
	close(fd);
	return -en;
}

int carton_new_image(struct carton_arena *arena)
{
	lua_State *L = arena->L;
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);
	int fd = carton_open_image();

	if (fd < 0)
		carton_raise(L, "init", "memfd", -fd);
	h->fd = fd;
	arena->image = h;
	lua_rawseti(L, arena->anchor, (lua_Integer)lua_rawlen(L, arena->anchor) + 1);
	return h->fd;
}

void carton_decode_init(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;

	*(int64_t *)out = CARTON_UNSET;
	if (arena->absent)
		return;
	carton_expect(arena, lua_isboolean(L, -1), "boolean");
	if (!lua_toboolean(L, -1))
		return;
	if (arena->lazy && field->aux)
		*(int64_t *)out = CARTON_WANTED;
	else
		*(int64_t *)out = carton_new_image(arena);
}
