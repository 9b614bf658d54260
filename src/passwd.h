/* SPDX-License-Identifier: MIT */
/* Strict lookup of users and groups in the /etc/passwd and /etc/group of a root file system. */
#ifndef CARTON_PASSWD_H
#define CARTON_PASSWD_H

#include <stdbool.h>
#include <stdint.h>

#include "step.h"

#define CARTON_GROUPS_MAX 256

struct carton_account {
	uint32_t uid;
	uint32_t gid;               /* as listed; 0 for an id that is not */
	bool named;                 /* asked for by name, not by number */
	char home[CARTON_HOME_MAX]; /* as listed, an absolute path; or empty */
};

/* Find a user by name or decimal id (only decimal digits: "1" is always uid 1). 0 or -errno.
 * Without `gid` an id is taken as it is, whatever the file. */
int carton_passwd_user(struct carton_context *ctx, const char *user, bool gid,
                       struct carton_account *account);
/* Find a group by name or decimal id. */
int carton_passwd_group(struct carton_context *ctx, const char *group, uint32_t *gid);
/* Add the groups that list the user as a member to `groups` of CARTON_GROUPS_MAX places. */
int carton_passwd_groups(struct carton_context *ctx, const char *user, uint32_t *groups,
                         uint32_t *count);

#endif
