/* SPDX-License-Identifier: MIT */
/* The default profile's filters, compiled from lua/carton/seccomp when Carton is built. */
#ifndef CARTON_FILTERS_H
#define CARTON_FILTERS_H

struct carton_filter {
	const char *opened; /* capabilities of the container that open something, commas between */
	const unsigned char *program;
	unsigned long length;
};

extern const struct carton_filter carton_default_filters[]; /* ends with a NULL name */

#endif
