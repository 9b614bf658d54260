/* SPDX-License-Identifier: MIT */
/* The built-in init, a program of its own that is carried along: src/init.c. */
#ifndef CARTON_INIT_IMAGE_H
#define CARTON_INIT_IMAGE_H

#include "args.h"

extern const unsigned char carton_init_image[];
extern const unsigned long carton_init_size;

/* The init as a sealed file in memory: a descriptor or -errno. */
int carton_open_image(void);
/* The same, whose handle the arena holds; raises. */
int carton_new_image(struct carton_arena *arena);

carton_decoder carton_decode_init; /* int64_t: true becomes a sealed memfd of the init */

#endif
