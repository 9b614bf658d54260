/* SPDX-License-Identifier: MIT */
/* The modules of lua/ as embed.lua compiles them into the program. */
#ifndef CARTON_MODULES_H
#define CARTON_MODULES_H

struct carton_module {
	const char *name; /* "carton.rootfs" */
	const unsigned char *data;
	unsigned long size;
};

extern const struct carton_module carton_modules[]; /* in the order of strcmp(3) */
extern const unsigned long carton_module_count;

#endif
