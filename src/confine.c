/* SPDX-License-Identifier: MIT */
/* The perform side of what keeps a process to itself: its keyring, no further user namespaces, the
 * label of a security module. */
#include "sys.h"

#include "step.h"

#include <linux/errno.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <string.h>

#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State errno

#define INITIAL_USERNS "user:[4026531837]" /* that link is the same with every kernel */
#define LABEL_MAX      4096                /* a page: what the kernel takes in one write */

int carton_privilege_session_keyring(struct carton_context *ctx, const void *fields)
{
	const struct step_session_keyring *f = fields;
	long r = sys_call(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);

	if (r == -ENOSYS && f->optional)
		return 0;
	return r < 0 ? carton_fail(ctx, CARTON_CALL_KEYCTL, r) : 0;
}

/* A limit of the initial user namespace would be the whole host's. */
static int refuse_initial(struct carton_context *ctx)
{
	char link[64] = "";
	int dir = carton_proc_open(ctx, "self/ns", O_PATH | O_DIRECTORY);
	long n;

	if (dir < 0)
		return dir;
	n = sys_call(SYS_readlinkat, dir, "user", link, sizeof(link) - 1);
	sys_close(dir);
	if (n < 0)
		return carton_fail(ctx, CARTON_CALL_READ, n);
	return strcmp(link, INITIAL_USERNS) == 0
	               ? carton_fail(ctx, CARTON_CALL_CHECK_USERNS, -EINVAL)
	               : 0;
}

/* ENOSPC alone may pass: a limit further out is reached. Without a procfs it has to do. */
static bool is_raised(struct carton_context *ctx)
{
	char text[4] = "";
	int fd = carton_proc_open(ctx, "sys/user/max_user_namespaces", O_RDONLY);
	long n;

	if (fd < 0)
		return false;
	n = sys_read(fd, text, sizeof(text) - 1);
	sys_close(fd);
	return n < 1 || strcmp(text, "0\n") != 0;
}

int carton_privilege_no_userns(struct carton_context *ctx, const void *fields)
{
	const struct step_no_userns *f = fields;
	long r = 0;

	if (!f->check) {
		r = refuse_initial(ctx);
		if (r == 0)
			r = carton_proc_write(ctx, "sys/user/max_user_namespaces", "0", 1);
		return (int)r;
	}
	if (is_raised(ctx))
		return carton_fail(ctx, CARTON_CALL_CHECK_NO_USERNS, -EEXIST);
	/* To try is the proof. Where it succeeds, the process does not come to its program. */
	r = sys_call(SYS_unshare, CLONE_NEWUSER);
	if (r == 0)
		return carton_fail(ctx, CARTON_CALL_CHECK_NO_USERNS, -EEXIST);
	return r == -ENOSPC ? 0 : carton_fail(ctx, CARTON_CALL_UNSHARE, r);
}

static long read_label(struct carton_context *ctx, const char *path, char *text)
{
	int fd = carton_proc_open(ctx, path, O_RDONLY);
	long n;

	if (fd < 0)
		return fd;
	n = sys_read(fd, text, LABEL_MAX);
	sys_close(fd);
	return n;
}

/* Without the module there is no present label. The file that SELinux has is shared: where it says
 * what AppArmor's own does, it is that one's. */
static bool is_active(struct carton_context *ctx, unsigned int module)
{
	static const char apparmor[] = "thread-self/attr/apparmor/current";
	char label[LABEL_MAX], other[LABEL_MAX];
	long n = read_label(ctx, module == CARTON_APPARMOR ? apparmor : "thread-self/attr/current",
	                    label);

	if (n <= 0 || module == CARTON_APPARMOR)
		return n > 0;
	return read_label(ctx, apparmor, other) != n || memcmp(label, other, (size_t)n) != 0;
}

int carton_privilege_label(struct carton_context *ctx, const void *fields)
{
	static const struct {
		const char *path, *verb;
	} files[] = {
		[CARTON_SELINUX] = {"thread-self/attr/exec", ""},
		[CARTON_APPARMOR] = {"thread-self/attr/apparmor/exec", "exec "},
	};
	const struct step_label *f = fields;
	char text[LABEL_MAX];
	size_t verb = strlen(files[f->module].verb), length = strlen(f->label);

	if (length == 0 || verb + length >= sizeof(text))
		return carton_fail(ctx, CARTON_CALL_WRITE, -EINVAL);
	if (!is_active(ctx, f->module)) {
		carton_tell(ctx, files[f->module].path);
		return carton_fail(ctx, CARTON_CALL_CHECK_LABEL, -EOPNOTSUPP);
	}
	memcpy(text, files[f->module].verb, verb);
	memcpy(text + verb, f->label, length);
	return carton_proc_write(ctx, files[f->module].path, text, verb + length);
}
