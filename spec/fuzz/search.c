/* SPDX-License-Identifier: MIT */
/* A search in a PATH of any content, and the look at a file of any content for why it could not be
 * executed. Nothing is: execve(2) is replaced by an answer. */
#include <linux/errno.h>
#include <stdbool.h>

#include "fuzz.h"

#include "sys.h"

static const uint8_t *answers;
static size_t nanswers;

static long next_answer(const char *path, const char *const args[], const char *const env[])
{
	static const long known[] = {-ENOENT, -ENOTDIR, -EACCES, -ENOEXEC, -ELOOP};

	if (!path || !args || !env)
		abort();
	if (nanswers == 0)
		return -ENOEXEC;
	nanswers--;
	return known[*answers++ % 5];
}

static long call(long n, long a, long b, long c, long d)
{
	if (n == SYS_execve)
		return next_answer((const void *)a, (const void *)b, (const void *)c);
	return carton_sys6(n, a, b, c, d, 0, 0);
}

#undef sys_call
#define four_of(n, a, b, c, d, ...) call(n, (long)(a), (long)(b), (long)(c), (long)(d))
#define sys_call(...)               four_of(__VA_ARGS__, 0, 0, 0, 0)

static void give_back(char *text)
{
	free(text);
}

#include "../../src/search.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = {data, size};
	struct carton_report report = {0};
	char file[40] = "/proc/self/fd/";
	size_t length, most = draw(&b) % 32;
	const char *args[] = {NULL, NULL}, *env[] = {"A=b", NULL, NULL};
	char *name = draw_text(&b, most, &length), *path;
	int fd;

	answers = b.at;
	nanswers = b.left < 8 ? b.left : 8;
	b.at += nanswers;
	b.left -= nanswers;
	fd = file_of(b.at, b.left);
	*put_number(file + strlen(file), (uint64_t)fd) = '\0';
	find_reason(&report, file, -ENOENT);
	if (!memchr(report.text, 0, sizeof(report.text)))
		abort();
	path = draw_text(&b, 10000, &length);
	args[0] = name;
	env[1] = path;
	if (carton_search_exec(&report, NULL, args, env) >= 0)
		abort();
	close(fd);
	give_back(path);
	give_back(name);
	return 0;
}
