/* SPDX-License-Identifier: MIT */
/* The perform side of `privilege.landlock`: a ruleset from rights, paths and ports, and to be held
 * to it. */
#include "sys.h"

#include "step.h"

#include <linux/errno.h>
#include <string.h>

#include "landlock.h"
#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State errno

enum { RULE_PATH_BENEATH = 1, RULE_NET_PORT };

struct ruleset_attr { /* struct landlock_ruleset_attr, of ABI 6 */
	uint64_t handled_fs, handled_tcp, scopes;
};

struct path_attr { /* struct landlock_path_beneath_attr */
	uint64_t access;
	int32_t parent;
} __attribute__((packed));

struct port_attr { /* struct landlock_net_port_attr */
	uint64_t access, port;
};

struct right {
	const char *missing; /* what is said where the kernel lacks it */
	int bit;
	int abi;
};

#define LINUX_1 "5.13"
#define LINUX_2 "5.19"
#define LINUX_3 "6.2"
#define LINUX_4 "6.7"
#define LINUX_5 "6.10"
#define LINUX_6 "6.12"
#define X(name, bit, abi)                                                                          \
	{#name ", which Linux " LINUX_##abi " has (Landlock ABI " #abi ")", bit, abi},
static const struct right fs_rights[] = {CARTON_LANDLOCK_FS(X)};
static const struct right tcp_rights[] = {CARTON_LANDLOCK_TCP(X)};
static const struct right scopes[] = {CARTON_LANDLOCK_SCOPES(X)};
#undef X

/* Take out what this kernel lacks where that was allowed, and otherwise say what it is. */
static int bound_rights(struct carton_context *ctx, const struct right *rights, size_t count,
                        long abi, bool optional, uint64_t *set)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t bit = (uint64_t)1 << rights[i].bit;

		if (!(*set & bit) || rights[i].abi <= abi)
			continue;
		if (!optional) {
			carton_tell(ctx, rights[i].missing);
			return carton_fail(ctx, CARTON_CALL_CHECK_LANDLOCK, -EOPNOTSUPP);
		}
		*set &= ~bit;
	}
	return 0;
}

static long add_rule(int ruleset, int kind, const void *attr)
{
	return sys_call(CARTON_SYS_LANDLOCK_ADD_RULE, ruleset, kind, attr, 0);
}

static int allow_path(struct carton_context *ctx, int ruleset, const struct carton_path_rule *rule,
                      uint64_t handled)
{
	struct path_attr attr = {.access = rule->access & handled};
	int fd = carton_root_open(ctx, rule->path, rule->nofollow ? CARTON_OPEN_NOFOLLOW : 0);
	struct stat st;
	long r;

	if (fd == -ENOENT && rule->optional) /* grants nothing */
		return 0;
	if (fd < 0) {
		carton_tell(ctx, rule->path);
		return fd;
	}
	r = sys_fstat(fd, &st);
	if (r == 0 && !S_ISDIR(st.st_mode)) {
		r = rule->access & CARTON_LANDLOCK_FILE ? 0 : -ENOTDIR;
		attr.access &= CARTON_LANDLOCK_FILE; /* the others mean nothing there */
	}
	attr.parent = fd;
	if (r == 0 && attr.access) /* none is left where the kernel lacks what was optional */
		r = add_rule(ruleset, RULE_PATH_BENEATH, &attr);
	sys_close(fd);
	if (r == 0)
		return 0;
	carton_tell(ctx, rule->path);
	return carton_fail(ctx, CARTON_CALL_LANDLOCK_RULE, r);
}

static int allow_ports(struct carton_context *ctx, int ruleset, const struct carton_ports *ports,
                       uint64_t access, bool optional)
{
	for (uint32_t i = 0; i < ports->count; i++) {
		struct port_attr attr = {.access = access, .port = ports->items[i]};
		long r = add_rule(ruleset, RULE_NET_PORT, &attr);

		if (r == -EAFNOSUPPORT && optional) /* without TCP there is nothing to allow */
			return 0;
		if (r < 0)
			return carton_fail(ctx, CARTON_CALL_LANDLOCK_RULE, r);
	}
	return 0;
}

static int fill(struct carton_context *ctx, int ruleset, const struct step_landlock *f,
                const struct ruleset_attr *attr)
{
	int r = 0;

	for (uint32_t i = 0; i < f->rules.count && attr->handled_fs && r == 0; i++)
		r = allow_path(ctx, ruleset, &f->rules.items[i], attr->handled_fs);
	if (r == 0 && attr->handled_tcp & CARTON_LANDLOCK_bind_tcp)
		r = allow_ports(ctx, ruleset, &f->tcp.bind, CARTON_LANDLOCK_bind_tcp,
		                f->tcp.optional);
	if (r == 0 && attr->handled_tcp & CARTON_LANDLOCK_connect_tcp)
		r = allow_ports(ctx, ruleset, &f->tcp.connect, CARTON_LANDLOCK_connect_tcp,
		                f->tcp.optional);
	return r;
}

int carton_privilege_landlock(struct carton_context *ctx, const void *fields)
{
	const struct step_landlock *f = fields;
	struct ruleset_attr attr = {f->handled, 0, f->scopes.set};
	long abi = sys_call(CARTON_SYS_LANDLOCK_CREATE_RULESET, NULL, 0, CARTON_LANDLOCK_VERSION);
	long ruleset;
	int r;

	if (f->tcp.has_bind)
		attr.handled_tcp |= CARTON_LANDLOCK_bind_tcp;
	if (f->tcp.has_connect)
		attr.handled_tcp |= CARTON_LANDLOCK_connect_tcp;
	if (!attr.handled_fs && !attr.handled_tcp && !attr.scopes) /* it would restrict nothing */
		return carton_fail(ctx, CARTON_CALL_LANDLOCK_CREATE, -EINVAL);
	if (abi < 1) {
		bool needed = (attr.handled_fs && !f->optional) ||
		              (attr.handled_tcp && !f->tcp.optional) ||
		              (attr.scopes && !f->scopes.optional);

		return needed ? carton_fail(ctx, CARTON_CALL_LANDLOCK_CREATE,
		                            abi < 0 ? abi : -ENOSYS)
		              : 0;
	}
	r = bound_rights(ctx, fs_rights, countof(fs_rights), abi, f->optional, &attr.handled_fs);
	if (r == 0)
		r = bound_rights(ctx, tcp_rights, countof(tcp_rights), abi, f->tcp.optional,
		                 &attr.handled_tcp);
	if (r == 0)
		r = bound_rights(ctx, scopes, countof(scopes), abi, f->scopes.optional,
		                 &attr.scopes);
	if (r < 0)
		return r;
	if (!attr.handled_fs && !attr.handled_tcp && !attr.scopes)
		return 0; /* all of it was optional */

	/* an older kernel takes the longer structure as long as what it does not know is zero */
	ruleset = sys_call(CARTON_SYS_LANDLOCK_CREATE_RULESET, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return carton_fail(ctx, CARTON_CALL_LANDLOCK_CREATE, ruleset);
	r = fill(ctx, (int)ruleset, f, &attr);
	if (r == 0) {
		long restricted = sys_call(CARTON_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0);

		if (restricted < 0)
			r = carton_fail(ctx, CARTON_CALL_LANDLOCK_RESTRICT, restricted);
	}
	sys_close((int)ruleset);
	return r;
}
