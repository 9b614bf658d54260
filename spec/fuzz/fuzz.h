/* SPDX-License-Identifier: MIT */
/* What the fuzz targets share: bytes to draw from, Lua values made of them. */
#ifndef CARTON_FUZZ_H
#define CARTON_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "carton.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t draw(struct bytes *b)
{
	if (b->left == 0)
		return 0;
	b->left--;
	return *b->at++;
}

static inline uint64_t draw_number(struct bytes *b, size_t size)
{
	uint64_t number = 0;

	while (size--)
		number = number << 8 | draw(b);
	return number;
}

/* Bytes of their own, so that reading past the end is seen; at most `most`, ended with a NUL. */
static inline char *draw_text(struct bytes *b, size_t most, size_t *length)
{
	size_t n = b->left < most ? b->left : most;
	char *copy = malloc(n + 1);

	memcpy(copy, b->at, n);
	copy[n] = '\0';
	b->at += n;
	b->left -= n;
	*length = n;
	return copy;
}

/* A file with these bytes, at its beginning. */
static inline int file_of(const void *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	lseek(fd, 0, SEEK_SET);
	return fd;
}

/* A state with Lua's library and the core as the global `core`, made once. */
static inline lua_State *fuzz_state(void)
{
	static lua_State *L;

	if (L) {
		lua_settop(L, 0);
		return L;
	}
	L = luaL_newstate();
	luaL_openlibs(L);
	luaL_requiref(L, "carton.core", luaopen_carton_core, 0);
	lua_setglobal(L, "core");
	return L;
}

/* What may be raised is an error with words, never one of Lua's own about our own code; those begin
 * so, where no Lua function is at work. Later in the message may be whatever was drawn. */
static inline void check_message(lua_State *L)
{
	static const char *const own[] = {"attempt to", "bad argument", "stack overflow"};
	const char *message = luaL_tolstring(L, -1, NULL);

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		if (strncmp(message, own[i], strlen(own[i])) == 0) {
			fprintf(stderr, "disorderly: %s\n", message);
			abort();
		}
	}
	lua_pop(L, 1);
}

#endif
