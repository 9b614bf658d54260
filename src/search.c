/* SPDX-License-Identifier: MIT */
/* Finding a program and executing it; and when that fails, why: shared by plan and init. */
#include "sys.h"

#include "search.h"

#include <elf.h>
#include <linux/errno.h>
#include <linux/limits.h>
#include <stdbool.h>

#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State errno

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define NOEXEC_FLAG  0x0008 /* ST_NOEXEC of statfs(2) */

#if __SIZEOF_POINTER__ == 8
typedef Elf64_Ehdr elf_header;
typedef Elf64_Phdr elf_segment;
#define ELF_CLASS ELFCLASS64
#else
typedef Elf32_Ehdr elf_header;
typedef Elf32_Phdr elf_segment;
#define ELF_CLASS ELFCLASS32
#endif

static bool has_slash(const char *text)
{
	while (*text && *text != '/')
		text++;
	return *text == '/';
}

static const char *variable(const char *const env[], const char *name)
{
	for (; *env; env++) {
		const char *a = *env, *b = name;

		while (*b && *a == *b)
			a++, b++;
		if (!*b && *a == '=')
			return a + 1;
	}
	return NULL;
}

static bool is_missing(const char *path)
{
	long fd = sys_openat(AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);

	if (fd >= 0)
		sys_close((int)fd);
	return fd == -ENOENT || fd == -ENOTDIR;
}

/* What ends the name of an interpreter, see load_script() of the kernel: '\r' is a part of it. */
static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* "#! /bin/sh -e": is the interpreter there? */
static void look_at_script(struct carton_report *report, char *line, long length)
{
	long begin = 2, end;

	while (begin < length && (line[begin] == ' ' || line[begin] == '\t'))
		begin++;
	for (end = begin; end < length && line[end] && !is_blank(line[end]); end++)
		;
	line[end] = '\0';
	if (end > begin && is_missing(line + begin)) {
		report->call = CARTON_CALL_WHY_INTERPRETER;
		copy_text(report->text, sizeof(report->text), line + begin);
	}
}

static void look_at_elf(struct carton_report *report, int fd, const elf_header *header)
{
	elf_segment segment;
	char loader[sizeof(report->text)];
	long n;

	if (header->e_ident[EI_CLASS] != ELF_CLASS || header->e_phentsize != sizeof(segment))
		return;
	for (unsigned int i = 0; i < header->e_phnum && i < 64; i++) {
		n = sys_call(SYS_pread64, fd, &segment, sizeof(segment),
		             header->e_phoff + i * sizeof(segment));
		if (n != (long)sizeof(segment))
			return;
		if (segment.p_type != PT_INTERP || segment.p_filesz >= sizeof(loader))
			continue;
		n = sys_call(SYS_pread64, fd, loader, segment.p_filesz, segment.p_offset);
		if (n != (long)segment.p_filesz)
			return;
		loader[n] = '\0';
		if (is_missing(loader)) {
			report->call = CARTON_CALL_WHY_LOADER;
			copy_text(report->text, sizeof(report->text), loader);
		}
		return;
	}
}

/* execve(2) says ENOENT of a program that is there when what would run it is not. */
static void find_reason(struct carton_report *report, const char *path, long result)
{
	union {
		elf_header header;
		char line[256];
	} head;
	struct statfs fs;
	struct stat st;
	long n, fd;

	/* a FIFO must not block us */
	fd = sys_openat(AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (result == -EACCES && sys_fstatfs((int)fd, &fs) == 0 && fs.f_flags & NOEXEC_FLAG)
		report->call = CARTON_CALL_WHY_NOEXEC;
	n = sys_fstat((int)fd, &st);
	sys_close((int)fd);
	if (n < 0 || !S_ISREG(st.st_mode) || result != -ENOENT)
		return;
	fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
	if (fd < 0)
		return;
	n = sys_read((int)fd, &head, sizeof(head) - 1);
	if (n > 2 && head.line[0] == '#' && head.line[1] == '!')
		look_at_script(report, head.line, n);
	else if (n >= (long)sizeof(head.header) && head.line[0] == 0x7f && head.line[1] == 'E')
		look_at_elf(report, (int)fd, &head.header);
	sys_close((int)fd);
}

static long execute(struct carton_report *report, const char *path, const char *const args[],
                    const char *const env[])
{
	long r = sys_call(SYS_execve, path, args, env);

	report->call = CARTON_CALL_EXECVE;
	report->text[0] = '\0';
	find_reason(report, path, r);
	return r;
}

long carton_search_exec(struct carton_report *report, const char *path, const char *const args[],
                        const char *const env[])
{
	char candidate[PATH_MAX];
	const char *list = variable(env, "PATH");
	long result = -ENOENT;

	if (path || has_slash(args[0]))
		return execute(report, path ? path : args[0], args, env);
	report->call = CARTON_CALL_EXECVE;
	if (!args[0][0])
		return -ENOENT;
	for (list = list && *list ? list : DEFAULT_PATH; *list;) {
		const char *name = args[0];
		size_t n = 0;
		long r;

		while (*list && *list != ':' && n < sizeof(candidate) - 2)
			candidate[n++] = *list++;
		while (*list && *list != ':') /* longer than any path */
			list++, n = 0;
		if (*list == ':')
			list++;
		if (n == 0 || candidate[0] != '/') /* the working directory is not searched */
			continue;
		candidate[n++] = '/';
		while (*name && n < sizeof(candidate) - 1)
			candidate[n++] = *name++;
		candidate[n] = '\0';
		if (*name)
			continue;
		if (result == -ENOENT && is_missing(candidate))
			continue;
		r = execute(report, candidate, args, env);
		if (report->call != CARTON_CALL_EXECVE ||
		    (r != -ENOENT && r != -ENOTDIR && r != -EACCES))
			return r;
		if (r == -EACCES)
			result = r;
	}
	report->text[0] = '\0';
	return result;
}
