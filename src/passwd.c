/* SPDX-License-Identifier: MIT */
/* Strict lookup of users and groups in the /etc/passwd and /etc/group of a root file system. The
 * files belong to an image, so they may be anything: devices, endless, or full of nonsense. */
#include "sys.h"

#include "passwd.h"

#include <linux/errno.h>
#include <string.h>

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State errno

#define FILE_MAX (16 << 20)
#define NO_ID    UINT32_MAX /* (uid_t)-1 means "as it is" to setresuid(2) */

struct reader {
	int fd;
	bool ended;
	long result; /* -errno of a read that failed */
	uint32_t at, have, total;
	char chunk[2048];
	char field[CARTON_HOME_MAX]; /* of the line; empty when it was longer than any name or id */
};

/* Decimal digits without a leading zero or sign, below (uid_t)-1. */
static bool parse_id(const char *text, uint32_t *id)
{
	uint64_t number = 0;

	if (!*text || (text[0] == '0' && text[1]))
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		number = number * 10 + (uint64_t)(*text - '0');
		if (number >= NO_ID)
			return false;
	}
	*id = (uint32_t)number;
	return true;
}

/* Nothing that somebody could take for a number, and nothing that the files could not hold. */
static bool is_name(const char *text)
{
	if (!*text || (*text >= '0' && *text <= '9') || *text == '+' || *text == '-')
		return false;
	for (; *text; text++)
		if ((unsigned char)*text <= ' ' || *text == ':' || *text == ',' || *text == '/' ||
		    *text == 0x7f)
			return false;
	return true;
}

/* A device may act when it is only opened: 0 when it is a file, or -errno. */
static int look_first(struct carton_context *ctx, const char *path)
{
	struct stat st;
	int fd = carton_root_open(ctx, path, 0);
	long r;

	if (fd < 0)
		return fd;
	r = sys_fstat(fd, &st);
	if (r == 0 && !carton_is_regular(fd, &st))
		r = -EINVAL;
	sys_close(fd);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_CHECK_PASSWD, r) : 0;
}

/* 1 when the file is open, 0 when there is none, -errno. */
static int open_file(struct carton_context *ctx, const char *path, struct reader *r)
{
	struct stat st;
	long result;

	/* A FIFO must not block us, a terminal not become ours. */
	r->fd = look_first(ctx, path);
	if (r->fd == 0)
		r->fd = carton_root_openat(ctx, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	r->ended = false;
	r->result = 0;
	r->at = r->have = r->total = 0;
	if (r->fd == -ENOENT)
		return 0;
	if (r->fd >= 0) {
		result = sys_fstat(r->fd, &st);
		if (result == 0 && carton_is_regular(r->fd, &st))
			return 1;
		sys_close(r->fd);
		r->fd = carton_fail(ctx, CARTON_CALL_CHECK_PASSWD, result < 0 ? result : -EINVAL);
	}
	carton_tell(ctx, path);
	return r->fd;
}

static int close_file(struct carton_context *ctx, const char *path, struct reader *r)
{
	sys_close(r->fd);
	if (r->result == 0)
		return 0;
	carton_tell(ctx, path);
	return carton_fail(ctx, CARTON_CALL_READ, r->result);
}

/* The end of the file ends a line. */
static char next_byte(struct reader *r)
{
	if (r->at == r->have) {
		long n = r->ended ? 0 : sys_read(r->fd, r->chunk, sizeof(r->chunk));

		if (n > 0 && r->total + (uint32_t)n > FILE_MAX)
			n = -EFBIG;
		if (n <= 0) {
			r->ended = true;
			r->result = n < 0 ? n : r->result;
			return '\n';
		}
		r->total += (uint32_t)n;
		r->have = (uint32_t)n;
		r->at = 0;
	}
	return r->chunk[r->at++];
}

/* Read one field; returns what ended it: ':', '\n', or ',' in a list. */
static char next_field(struct reader *r, bool list)
{
	size_t n = 0;
	char c;

	for (;;) {
		c = next_byte(r);
		if (c == ':' || c == '\n' || (list && c == ','))
			break;
		if (n < sizeof(r->field))
			r->field[n] = c;
		n += n < sizeof(r->field);
	}
	r->field[n < sizeof(r->field) ? n : 0] = '\0';
	return c;
}

/* One line of /etc/passwd: true when it is a whole one. */
static bool next_user(struct reader *r, const char *name, bool *match,
                      struct carton_account *account)
{
	bool has_uid = false, has_gid = false;
	char end = ':';

	*match = false;
	account->home[0] = '\0';
	for (int i = 0; end == ':'; i++) {
		end = next_field(r, false);
		if (i == 0)
			*match = name && strcmp(r->field, name) == 0;
		else if (i == 2)
			has_uid = parse_id(r->field, &account->uid);
		else if (i == 3)
			has_gid = parse_id(r->field, &account->gid);
		else if (i == 5 && r->field[0] == '/')
			memcpy(account->home, r->field, sizeof(r->field));
	}
	return has_uid && has_gid;
}

/* One line of /etc/group, likewise; tells whether its name is `name` and `user` is a member. */
static bool next_group(struct reader *r, const char *name, const char *user, bool *match,
                       bool *member, uint32_t *gid)
{
	bool has_gid = false;
	char end = ':';

	*match = *member = false;
	for (int i = 0; end != '\n'; i += end == ':') {
		end = next_field(r, i == 3);
		if (i == 0)
			*match = name && strcmp(r->field, name) == 0;
		else if (i == 2)
			has_gid = parse_id(r->field, gid);
		else if (i == 3 && user && strcmp(r->field, user) == 0)
			*member = true;
	}
	return has_gid;
}

int carton_passwd_user(struct carton_context *ctx, const char *user, bool gid,
                       struct carton_account *account)
{
	static const char path[] = "/etc/passwd";
	struct carton_account listed = {0};
	bool number = parse_id(user, &account->uid), found = false, match;
	struct reader r;
	int result;

	account->gid = 0;
	account->named = !number;
	account->home[0] = '\0';
	if (!number && !is_name(user)) {
		carton_tell(ctx, user);
		return carton_fail(ctx, CARTON_CALL_CHECK_USER, -EINVAL);
	}
	result = open_file(ctx, path, &r);
	if (result < 0)
		return number && !gid ? 0 : result;
	if (result > 0) {
		while (!found && !r.ended) {
			if (next_user(&r, number ? NULL : user, &match, &listed) &&
			    (number ? listed.uid == account->uid : match)) {
				*account = listed;
				account->named = !number;
				found = true; /* the first one counts: getpwnam(3) */
			}
		}
		result = close_file(ctx, path, &r);
		if (result < 0)
			return number && !gid ? 0 : result;
	}
	if (found || number)
		return 0; /* an id that nobody lists has group 0, as with other engines */
	carton_tell(ctx, user);
	return carton_fail(ctx, CARTON_CALL_CHECK_USER, -ENOENT);
}

int carton_passwd_group(struct carton_context *ctx, const char *group, uint32_t *gid)
{
	static const char path[] = "/etc/group";
	bool found = false, match, member;
	struct reader r;
	uint32_t g;
	int result;

	if (parse_id(group, gid))
		return 0;
	if (!is_name(group)) {
		carton_tell(ctx, group);
		return carton_fail(ctx, CARTON_CALL_CHECK_GROUP, -EINVAL);
	}
	result = open_file(ctx, path, &r);
	if (result < 0)
		return result;
	if (result > 0) {
		while (!found && !r.ended) {
			if (next_group(&r, group, NULL, &match, &member, &g) && match) {
				*gid = g;
				found = true;
			}
		}
		result = close_file(ctx, path, &r);
		if (result < 0)
			return result;
	}
	if (found)
		return 0;
	carton_tell(ctx, group);
	return carton_fail(ctx, CARTON_CALL_CHECK_GROUP, -ENOENT);
}

int carton_passwd_groups(struct carton_context *ctx, const char *user, uint32_t *groups,
                         uint32_t *count)
{
	static const char path[] = "/etc/group";
	bool match, member;
	struct reader r;
	uint32_t g, i;
	int result = open_file(ctx, path, &r);

	if (result <= 0)
		return result;
	while (!r.ended && r.result == 0) {
		if (!next_group(&r, NULL, user, &match, &member, &g) || !member)
			continue;
		for (i = 0; i < *count && groups[i] != g; i++)
			;
		if (i < *count)
			continue;
		if (i == CARTON_GROUPS_MAX)
			r.result = -E2BIG;
		else
			groups[(*count)++] = g;
	}
	return close_file(ctx, path, &r);
}
