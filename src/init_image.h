/* SPDX-License-Identifier: MIT */
/* The built-in init, a program of its own that is carried along: src/init.c. */
#ifndef CARTON_INIT_IMAGE_H
#define CARTON_INIT_IMAGE_H

#include "args.h"

extern const unsigned char carton_init_image[];
extern const unsigned long carton_init_size;

carton_decoder carton_decode_init; /* int64_t: true becomes a sealed memfd of the init */

#endif
