/* SPDX-License-Identifier: MIT */
/* /etc/passwd and /etc/group of an image: every lookup in files of any content. The lookups inside
 * of a root are replaced: there is one file. */
#include <stdbool.h>

#include "fuzz.h"
#include "step.h"

#include "passwd.h"

static int file;

int carton_root_open(struct carton_context *ctx, const char *path, int flags)
{
	(void)ctx, (void)path, (void)flags;
	return dup(file);
}

int carton_root_openat(struct carton_context *ctx, const char *path, int flags, unsigned int mode)
{
	(void)ctx, (void)path, (void)flags, (void)mode;
	lseek(file, 0, SEEK_SET);
	return dup(file);
}

bool carton_is_regular(int fd, const struct stat *st)
{
	return fd >= 0 && st;
}

void carton_tell(struct carton_context *ctx, const char *text)
{
	strncpy(ctx->report.text, text, sizeof(ctx->report.text) - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint32_t groups[CARTON_GROUPS_MAX];
	struct bytes b = {data, size};
	struct carton_context ctx = {0};
	struct carton_account account;
	uint32_t gid, count = 0;
	size_t length, most = draw(&b) % 16;
	char *name = draw_text(&b, most, &length);

	file = file_of(b.at, b.left);
	if (carton_passwd_user(&ctx, name, draw(&b) % 2, &account) == 0 &&
	    (account.uid == UINT32_MAX || (account.home[0] && account.home[0] != '/')))
		abort();
	if (carton_passwd_group(&ctx, name, &gid) == 0 && gid == UINT32_MAX)
		abort();
	if (carton_passwd_groups(&ctx, name, groups, &count) == 0 && count > CARTON_GROUPS_MAX)
		abort();
	for (uint32_t i = 0; i < count; i++)
		if (groups[i] == UINT32_MAX) /* as it is, to setgroups(2) */
			abort();
	close(file);
	free(name);
	return 0;
}
