/* SPDX-License-Identifier: MIT */
/***
Namespaces: new ones, those of others, id maps. Whatever takes a table of fields is a function,
which does it here and now, and a step as well.
@module carton.namespace
*/
#include "primitive.h"

#include <stddef.h>

#include "handle.h"
#include "names.h"

#define CHECKED(check)                                                                             \
	{                                                                                          \
		NULL, check, 0, 0, NULL, NULL                                                      \
	}
#define END CHECKED(NULL)

/***
Leave namespaces for new ones.
@function unshare
@tparam table fields
@tparam {string,...} fields.kinds `cgroup ipc mnt net pid time user uts`; pid and time are for
children made later
@raise `carton.error`: `EPERM` not allowed, `ENOSPC` too many namespaces, `EINVAL` user namespace in
a process with threads
@see unshare(2), namespaces(7)
@usage carton.namespace.unshare{ kinds = { "mnt", "uts" } }
*/
const struct carton_field carton_unshare_fields[] = {{"kinds", carton_decode_choices,
                                                      offsetof(struct step_unshare, kinds), 1, NULL,
                                                      carton_namespace_names},
                                                     END};

static void check_enter(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	const struct step_enter *f = out;

	(void)field;
	if (f->kinds && f->process == CARTON_UNSET)
		carton_badfield(arena, "field 'kinds' goes with 'process'");
}

/***
Enter namespaces, several at once.
@function enter
@tparam table fields
@tparam[opt] {namespace,...} fields.namespaces handles, entered in this order; or
@tparam[opt] process fields.process a process, and
@tparam[opt] {string,...} fields.kinds which of its namespaces
@raise `carton.error`: `EPERM` not allowed, `EINVAL` a user namespace that we are in, or threads
@see setns(2)
*/
const struct carton_field carton_enter_fields[] = {
	{"namespaces", carton_decode_handles, offsetof(struct step_enter, namespaces), 0, NULL,
         CARTON_NAMESPACE},
	{"process", carton_decode_handle, offsetof(struct step_enter, process), 0, "#-1",
         CARTON_PROCESS},
	{"kinds", carton_decode_choices, offsetof(struct step_enter, kinds), 0, NULL,
         carton_namespace_names},
	CHECKED(check_enter)};

/***
Write the id maps of a new user namespace; setgroups(2) is denied before.
@function idmap
@tparam table fields
@tparam {table,...} fields.uids `{ container_id =, host_id =, size = }`, up to 340
@tparam {table,...} fields.gids likewise
@tparam[opt=0] int fields.pid a process in the namespace, 0: the caller
@tparam[opt=false] boolean fields.setgroups leave setgroups(2) allowed, which takes a privilege
@raise `carton.error`: `EPERM` not ids of ours, or maps are written, `EINVAL` entries overlap
@see user_namespaces(7)
*/
const struct carton_field carton_idmap_fields[] = {
	{"pid", carton_decode_integer, offsetof(struct step_idmap, pid), 0, NULL, NULL},
	{"uids", carton_decode_idmap, offsetof(struct step_idmap, uids), 1, NULL, NULL},
	{"gids", carton_decode_idmap, offsetof(struct step_idmap, gids), 1, NULL, NULL},
	{"setgroups", carton_decode_bool, offsetof(struct step_idmap, setgroups), 0, NULL, NULL},
	END};

/***
Enter a new time namespace whose clocks are set off.
@function time_offsets
@tparam table fields
@tparam[opt=0] int fields.monotonic seconds
@tparam[opt=0] int fields.boottime seconds
@raise `carton.error`: `ERANGE` before boot, `EPERM` not allowed
@see time_namespaces(7)
*/
const struct carton_field carton_time_offsets_fields[] = {
	{"monotonic", carton_decode_integer, offsetof(struct step_time_offsets, monotonic), 0, NULL,
         NULL},
	{"boottime", carton_decode_integer, offsetof(struct step_time_offsets, boottime), 0, NULL,
         NULL},
	END};

/***
Set the host name of the caller's uts namespace.
@function hostname
@tparam table fields `name`, up to 64 bytes
@raise `carton.error`: `EINVAL` too long, `EPERM` not allowed
@see sethostname(2)
*/
/***
Set the NIS domain name of the caller's uts namespace.
@function domainname
@tparam table fields `name`, up to 64 bytes
@see setdomainname(2)
*/
const struct carton_field carton_hostname_fields[] = {
	{"name", carton_decode_string, offsetof(struct step_hostname, name), 1, NULL, NULL}, END};

/***
Bring a network interface up.
@function network_up
@tparam table fields
@tparam string fields.interface for example `lo`
@raise `carton.error`: `ENODEV` no such interface, `EPERM` not allowed
@see netdevice(7)
*/
const struct carton_field carton_network_up_fields[] = {
	{"interface", carton_decode_string, offsetof(struct step_network_up, interface), 1, NULL,
         NULL},
	END};
