/* SPDX-License-Identifier: MIT */
/* The built-in init as a sealed file in memory, which no image and no payload can change. */
#include "init_image.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "handle.h"
#include "step.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* A limit of file sizes holds for this one, too, and ends us by SIGXFSZ, whom nobody told. */
static long write_image(int fd)
{
	static const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
	struct rlimit before, high;
	struct timespec now = {0};
	sigset_t too_large, mask, pending;
	bool raised = false;
	ssize_t n;
	int en;

	sigemptyset(&too_large);
	sigaddset(&too_large, SIGXFSZ);
	sigpending(&pending);
	sigprocmask(SIG_BLOCK, &too_large, &mask);
	if (getrlimit(RLIMIT_FSIZE, &before) == 0 && before.rlim_cur < carton_init_size) {
		high = (struct rlimit){before.rlim_max, before.rlim_max};
		raised = setrlimit(RLIMIT_FSIZE, &none) == 0 || setrlimit(RLIMIT_FSIZE, &high) == 0;
	}
	n = write(fd, carton_init_image, carton_init_size);
	en = n < 0 ? errno : n < (ssize_t)carton_init_size ? EFBIG : 0;
	if (raised)
		setrlimit(RLIMIT_FSIZE, &before);
	if (en == EFBIG && !sigismember(&pending, SIGXFSZ))
		sigtimedwait(&too_large, NULL, &now);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	errno = en;
	return en ? -1 : 0;
}

int carton_open_image(void)
{
	int fd = memfd_create("carton-init", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	int en;

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 there was no MFD_EXEC */
		fd = memfd_create("carton-init", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (write_image(fd) == 0 &&
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
