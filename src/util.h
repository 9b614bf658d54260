/* SPDX-License-Identifier: MIT */
/* Small words for C that does not touch Lua. */
#ifndef CARTON_UTIL_H
#define CARTON_UTIL_H

#include <stddef.h>
#include <stdint.h>

#define countof(array) (sizeof(array) / sizeof((array)[0]))

/* Write `text` without its NUL and return the end. */
static inline char *put_text(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	return to;
}

/* Write a decimal number (at most 20 digits, no NUL) and return the end. */
static inline char *put_number(char *to, uint64_t number)
{
	char digits[20];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while (number /= 10);
	while (n)
		*to++ = digits[--n];
	return to;
}

/* Copy `text`, cut off where it does not fit. */
static inline void copy_text(char *to, size_t size, const char *text)
{
	size_t n = 0;

	for (; n + 1 < size && text[n]; n++)
		to[n] = text[n];
	to[n] = '\0';
}

#endif
