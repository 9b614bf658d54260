/* SPDX-License-Identifier: MIT */
/* Lua's mathematics, loaded at first use: most containers are launched without a single sine, and a
 * library costs each start its mapping. Part of the program only; the module uses what the host
 * loads. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "step.h"

#ifdef __GLIBC__ /* elsewhere it is part of the C library, or linked */

static void *find(const char *name)
{
	static void *library;
	void *symbol = NULL;

	if (!library)
		library = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
	if (library)
		symbol = dlsym(library, name);
	if (!symbol) {
		fprintf(stderr, "carton: %s\n", dlerror());
		exit(CARTON_EXIT_SETUP); /* there is no way to raise it from here */
	}
	return symbol;
}

/* Hidden, so that other libraries keep to the real ones. */
#define FUNCTION(name, parameters, arguments)                                                      \
	__attribute__((visibility("hidden"))) double name parameters;                              \
	double name parameters                                                                     \
	{                                                                                          \
		static double(*real) parameters;                                                   \
                                                                                                   \
		if (!real)                                                                         \
			*(void **)&real = find(#name);                                             \
		return real arguments;                                                             \
	}

/* What every recipe needs sooner or later; from here on a double has no fraction. */
#define WHOLE 0x1p52

__attribute__((visibility("hidden"))) double floor(double x);
double floor(double x)
{
	double whole = x > -WHOLE && x < WHOLE ? (double)(long long)x : x;

	return whole > x ? whole - 1 : whole == x ? x : whole; /* x: of two zeros the one it was */
}

__attribute__((visibility("hidden"))) double ceil(double x);
double ceil(double x)
{
	return -floor(-x);
}

FUNCTION(acos, (double x), (x))
FUNCTION(asin, (double x), (x))
FUNCTION(atan2, (double y, double x), (y, x))
FUNCTION(cos, (double x), (x))
FUNCTION(cosh, (double x), (x))
FUNCTION(exp, (double x), (x))
FUNCTION(fmod, (double x, double y), (x, y))
FUNCTION(log, (double x), (x))
FUNCTION(log10, (double x), (x))
FUNCTION(log2, (double x), (x))
FUNCTION(pow, (double x, double y), (x, y))
FUNCTION(sin, (double x), (x))
FUNCTION(sinh, (double x), (x))
FUNCTION(sqrt, (double x), (x))
FUNCTION(tan, (double x), (x))
FUNCTION(tanh, (double x), (x))
#endif
