/* SPDX-License-Identifier: MIT */
/***
What the exec primitives are told. Each is a function of `carton.exec` and a step, but for those
that mean something in a new process only.
@module carton.exec
*/
#include "primitive.h"

#include <stddef.h>

#include "handle.h"
#include "init_image.h"

#define END                                                                                        \
	{                                                                                          \
		NULL, NULL, 0, 0, NULL, NULL                                                       \
	}

const struct carton_field carton_no_fields[] = {END};

/***
Wait for the parent, which runs the function registered with that name. Step only.
@function sync
@tparam table fields
@tparam string fields.name as in the field `sync` of `exec.spawn`
@raise `carton.error`: what the function raised
@usage { "sync", name = "idmap" }
*/
const struct carton_field carton_sync_fields[] = {
	{"name", carton_decode_string, offsetof(struct step_sync, name), 1, NULL, NULL}, END};

/***
Change the working directory, and see that it is inside of the root.
@function chdir
@tparam table fields `path`
@raise `carton.error`: `ENOENT` no such directory, or it cannot be reached from the root
@see chdir(2)
*/
/***
Change the root without a mount namespace. Not a wall against root; see `mount.pivot_root`.
@function chroot
@tparam table fields `path`
@see chroot(2)
*/
const struct carton_field carton_chdir_fields[] = {
	{"path", carton_decode_string, offsetof(struct step_chdir, path), 1, NULL, NULL}, END};

/***
Make the caller the leader of a new session, without a controlling terminal.
@function setsid
@see setsid(2)
*/
/***
Make the caller the leader of a new process group.
@function setpgid
@see setpgid(2)
*/
/***
Go on in a child, which is inside of an entered pid namespace and stays a child of the parent. Step
only.
@function fork
@see clone(2) CLONE_PARENT
*/

/***
Make a terminal the controlling one. The caller leads a session.
@function controlling
@tparam table fields
@tparam[opt=0] int fields.fd descriptor of the terminal
@see ioctl_tty(2)
*/
static const struct carton_range descriptor_range = {0, INT32_MAX};
const struct carton_field carton_controlling_fields[] = {{"fd", carton_decode_integer,
                                                          offsetof(struct step_controlling, fd), 0,
                                                          NULL, &descriptor_range},
                                                         END};

/***
Say which descriptors the program gets; all others are closed when it is executed. Step only.
@function descriptors
@tparam table fields
@tparam list fields.fds entry 1 becomes descriptor 0 and so on: a handle, a number, or false to
leave it as it is
@see dup(2), close_range(2)
*/
const struct carton_field carton_descriptors_fields[] = {
	{"fds", carton_decode_fds, offsetof(struct step_descriptors, fds), 1, NULL, NULL}, END};

/***
Open a pseudo-terminal of the new root's devpts as 0, 1, 2 and controlling terminal; the parent gets
its other side (`process:terminal()`). Step only.
@function terminal
@tparam table fields
@tparam[opt="/dev/pts/ptmx"] string fields.ptmx
@tparam[opt] string fields.console bind the terminal there too
@tparam[opt=0] int fields.rows
@tparam[opt=0] int fields.columns
@raise `carton.error`: `EINVAL` there is no devpts
@see pty(7), ioctl_tty(2)
*/
static const struct carton_range window_range = {0, UINT16_MAX};
const struct carton_field carton_terminal_fields[] = {
	{"ptmx", carton_decode_string, offsetof(struct step_terminal, ptmx), 0, "/dev/pts/ptmx",
         NULL},
	{"console", carton_decode_string, offsetof(struct step_terminal, console), 0, NULL, NULL},
	{"rows", carton_decode_integer, offsetof(struct step_terminal, rows), 0, NULL,
         &window_range},
	{"columns", carton_decode_integer, offsetof(struct step_terminal, columns), 0, NULL,
         &window_range},
	END};

/***
End when the parent ends. A change of ids or capabilities undoes it: repeat it afterwards. Step
only.
@function die_with_parent
@tparam table fields
@tparam[opt="SIGKILL"] string fields.signal
@raise `carton.error`: `ESRCH` the parent is gone already
@see prctl(2) PR_SET_PDEATHSIG
*/
const struct carton_field carton_die_fields[] = {{"signal", carton_decode_signal,
                                                  offsetof(struct step_die_with_parent, signal), 0,
                                                  "SIGKILL", NULL},
                                                 END};

/***
Execute a program in the place of the caller.
@function exec
@tparam table fields
@tparam {string,...} fields.args the program and its arguments, at least one
@tparam[opt={}] table fields.env `{ "NAME=VALUE", ... }` or `{ NAME = "VALUE" }`; nothing is
inherited
@tparam[opt] string fields.path the file, when it is not `args[1]` searched in PATH
@tparam[opt=false] boolean fields.home HOME in `env` becomes that of the user of `privilege.user`,
where /etc/passwd lists one
@tparam[opt=false] boolean fields.init run it as the child of a built-in init that reaps and passes
signals on
@tparam[opt=false] boolean fields.shield find and execute it from a small program in memory, so that
a path or link of an image (`/proc/self/exe`, `/proc/self/fd/7`) reaches neither the caller's own
file nor its descriptors
@raise `carton.error`: `ENOENT`, `EACCES`, `ENOEXEC`; `call` and `text` say when an interpreter or
loader is missing
@see execve(2)
*/
/***
The same as `exec`, by a name that says what it does to the caller.
@function replace
@tparam table fields as of `exec`
@see exec
*/
const struct carton_field carton_exec_fields[] = {
	{"args", carton_decode_args, offsetof(struct step_exec, args), 1, NULL, NULL},
	{"env", carton_decode_env, offsetof(struct step_exec, env), 0, NULL, NULL},
	{"path", carton_decode_string, offsetof(struct step_exec, path), 0, NULL, NULL},
	{"home", carton_decode_bool, offsetof(struct step_exec, home), 0, NULL, NULL},
	{"init", carton_decode_init, offsetof(struct step_exec, init), 0, "#-1", NULL},
	{"shield", carton_decode_init, offsetof(struct step_exec, shield), 0, "#-1", "lazy"},
	END};
