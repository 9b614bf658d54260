/* SPDX-License-Identifier: MIT */
/* File systems that are made: fsopen(2), its parameters, fsmount(2). */
#include "step.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#include "sys.h"
#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State

/* The kernel's own words about a file system that did not come to be: "e tmpfs: Bad value ...". */
static void tell_log(struct carton_context *ctx, int fs)
{
	char line[sizeof(ctx->report.text)];
	long n = sys_read(fs, line, sizeof(line) - 1);

	if (n <= 0)
		return;
	while (n > 0 && line[n - 1] == '\n')
		n--;
	line[n] = '\0';
	carton_tell(ctx, n > 2 && line[1] == ' ' ? line + 2 : line);
}

int carton_configure(struct carton_context *ctx, int fs, const char *key, const char *value)
{
	long r = value ? sys_fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0)
	               : sys_fsconfig(fs, FSCONFIG_SET_FLAG, key, NULL, 0);

	if (r < 0) {
		carton_tell(ctx, key);
		tell_log(ctx, fs);
		return carton_fail(ctx, CARTON_CALL_FSCONFIG, r);
	}
	return 0;
}

int carton_configure_all(struct carton_context *ctx, int fs, const struct carton_options *data)
{
	int r = 0;

	for (uint32_t i = 0; i < data->count && r == 0; i++)
		r = carton_configure(ctx, fs, data->items[i].key, data->items[i].value);
	return r;
}

int carton_create_mount(struct carton_context *ctx, int fs, uint64_t attributes)
{
	long r = sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	enum carton_call call = CARTON_CALL_FSCONFIG;

	if (r == 0) {
		call = CARTON_CALL_FSMOUNT;
		r = sys_fsmount(fs, (unsigned int)attributes);
	}
	if (r < 0) {
		tell_log(ctx, fs);
		carton_fail(ctx, call, r);
	}
	sys_close(fs);
	return (int)r;
}

#define FIRST_CGROUP_NAMESPACE "cgroup:[4026531835]" /* PROC_CGROUP_INIT_INO of linux/proc_ns.h */

/* Whether a mount of cgroup2 sets flags for the whole machine: cgroups(7), nsdelegate. */
static bool sets_cgroup_flags(struct carton_context *ctx)
{
	char name[64];
	int directory = carton_proc_open(ctx, "self/ns", O_PATH | O_DIRECTORY);
	long n;

	if (directory < 0)
		return true;
	n = sys_call(SYS_readlinkat, directory, "cgroup", name, sizeof(name));
	sys_close(directory);
	return n < 0 || ((size_t)n == strlen(FIRST_CGROUP_NAMESPACE) &&
	                 memcmp(name, FIRST_CGROUP_NAMESPACE, (size_t)n) == 0);
}

/* Set what is set already, from the end of a line of mountinfo: "cgroup2 cgroup2 rw,nsdelegate". */
static int repeat_flags(struct carton_context *ctx, int fs, char *options)
{
	int r = 0;

	while (options && *options && r == 0) {
		char *next = strchr(options, ',');

		if (next)
			*next++ = '\0';
		if (strcmp(options, "rw") != 0 && strcmp(options, "ro") != 0 &&
		    strcmp(options, "seclabel") != 0 && !strchr(options, '='))
			r = carton_configure(ctx, fs, options, NULL);
		options = next;
	}
	return r;
}

/* The options of the hierarchy in a line, or NULL: it is of another file system. */
static char *cgroup_options(char *line)
{
	static const char type[] = " - cgroup2 ";
	char *at = strstr(line, type);

	at = at ? strchr(at + sizeof(type) - 1, ' ') : NULL; /* the source */
	return at ? at + 1 : NULL;
}

/* Who mounts cgroup2 in the first cgroup namespace sets the flags of the one hierarchy that there
 * is: those that nobody names are taken away from the whole machine. */
static int keep_cgroup_flags(struct carton_context *ctx, int fs, bool named)
{
	char buffer[4096 + 1], *end;
	size_t length = 0;
	long n;
	int fd;

	if (!sets_cgroup_flags(ctx))
		return 0;
	fd = carton_proc_open(ctx, "self/mountinfo", O_RDONLY);
	if (fd < 0)
		return fd;
	for (;;) { /* line by line, of which the kernel makes none longer than a page */
		n = sys_read(fd, buffer + length, sizeof(buffer) - 1 - length);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		length += (size_t)n;
		buffer[length] = '\0';
		while ((end = strchr(buffer, '\n'))) {
			char *options;

			*end = '\0';
			options = cgroup_options(buffer);
			if (options) {
				sys_close(fd);
				return repeat_flags(ctx, fs, options);
			}
			length -= (size_t)(end + 1 - buffer);
			memmove(buffer, end + 1, length + 1);
		}
		if (length == sizeof(buffer) - 1) /* of many layers: no line of ours */
			length = 0;
	}
	sys_close(fd);
	if (n == 0 && named)
		return 0;
	return carton_fail(ctx, CARTON_CALL_CHECK_FLAGS, n < 0 ? n : -EPERM);
}

int carton_filesystem_create(struct carton_context *ctx, const struct step_filesystem *f)
{
	long fs = sys_fsopen(f->type);
	int r;

	if (fs < 0) {
		carton_tell(ctx, f->type);
		return carton_fail(ctx, CARTON_CALL_FSOPEN, fs);
	}
	r = carton_configure(ctx, (int)fs, "source", f->source ? f->source : f->type);
	if (r == 0 && strcmp(f->type, "cgroup2") == 0)
		r = keep_cgroup_flags(ctx, (int)fs, f->data.count > 0);
	if (r == 0)
		r = carton_configure_all(ctx, (int)fs, &f->data);
	if (r < 0) {
		sys_close((int)fs);
		return r;
	}
	return carton_create_mount(ctx, (int)fs, f->options.set);
}
