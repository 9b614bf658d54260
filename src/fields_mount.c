/* SPDX-License-Identifier: MIT */
/***
Mounts, and what a root is made of besides. Whatever takes a table of fields is a function, which
does it here and now, and a step as well.
@module carton.mount
*/
#include "primitive.h"

#include <stddef.h>
#include <string.h>
#include <sys/mount.h>

#include "handle.h"
#include "names.h"
#include "util.h"

#define TARGET(type)                                                                               \
	{                                                                                          \
		"target", carton_decode_string, offsetof(struct type, target), 1, NULL, NULL       \
	}
#define BOOL(type, n, def)                                                                         \
	{                                                                                          \
#n, carton_decode_bool, offsetof(struct type, n), 0, def, NULL                     \
	}
#define OPTIONS(type)                                                                              \
	{                                                                                          \
		"options", carton_decode_options, offsetof(struct type, options), 0, NULL, NULL    \
	}
#define CHECKED(check)                                                                             \
	{                                                                                          \
		NULL, check, 0, 0, NULL, NULL                                                      \
	}
#define END CHECKED(NULL)

static void check_bind(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	const struct step_bind *f = out;

	(void)field;
	if (!f->source == (f->tree < 0))
		carton_badfield(arena, "one of the fields 'source' and 'tree' expected");
	if (f->tree >= 0 && f->propagation & MS_SLAVE)
		carton_badfield(
			arena,
			"field 'propagation': a tree has no master and cannot be made a slave");
}

/***
Make a part of the tree visible at another place.
@function bind
@tparam table fields
@tparam[opt] string fields.source path on the host (of the calling process); this or `tree`
@tparam[opt] tree fields.tree a handle, of which a copy is bound; one of `create` can be bound
only once before Linux 6.15
@tparam string fields.target path inside the root file system
@tparam[opt=false] boolean fields.recursive with all that is mounted below the source
@tparam[opt=true] boolean fields.create make a missing target
@tparam[opt=false] boolean fields.optional do nothing when the source does not exist
@tparam[opt=false] boolean fields.nofollow refuse symbolic links in the target
@tparam[opt] namespace fields.idmap user namespace whose maps the mount gets
@tparam[opt] {string,...} fields.options `ro nosuid nodev noexec nosymfollow noatime ...`, recursive
with `recursive`
@tparam[opt] string fields.propagation `private`, `rslave`, ...; without `r` of the uppermost mount
alone
@raise `carton.error`: `ENOENT` no such source, `EPERM` not allowed to mount, `EINVAL` a
non-recursive bind of a tree with locked mounts
@see mount_setattr(2), open_tree(2), move_mount(2)
@usage carton.mount.bind{ source = "/srv", target = "/mnt", options = { "ro" } }
*/
const struct carton_field carton_bind_fields[] = {
	{"source", carton_decode_string, offsetof(struct step_bind, source), 0, NULL, NULL},
	{"tree", carton_decode_tree, offsetof(struct step_bind, tree), 0, "#-1", NULL},
	TARGET(step_bind),
	BOOL(step_bind, recursive, NULL),
	BOOL(step_bind, create, "true"),
	BOOL(step_bind, optional, NULL),
	BOOL(step_bind, nofollow, NULL),
	{"idmap", carton_decode_handle, offsetof(struct step_bind, idmap), 0, "#-1",
         CARTON_NAMESPACE},
	OPTIONS(step_bind),
	{"propagation", carton_decode_choices_one, offsetof(struct step_bind, propagation), 0, NULL,
         carton_propagation_names},
	CHECKED(check_bind)};

/***
Attach a detached tree. A tree can be attached once; see `bind` for copies.
@function attach
@tparam table fields
@tparam tree fields.tree from `open_tree` or `create`
@tparam string fields.target path inside the root file system
@tparam[opt=true] boolean fields.create make a missing target
@tparam[opt=false] boolean fields.nofollow refuse symbolic links in the target
@raise `carton.error`: `EINVAL` attached already
@see move_mount(2)
*/
const struct carton_field carton_attach_fields[] = {
	{"tree", carton_decode_handle, offsetof(struct step_attach, tree), 1, NULL, CARTON_TREE},
	TARGET(step_attach),
	BOOL(step_attach, create, "true"),
	BOOL(step_attach, nofollow, NULL),
	END};

#define FILESYSTEM(def_nofollow)                                                                   \
	TARGET(step_filesystem), BOOL(step_filesystem, create, "true"),                            \
		BOOL(step_filesystem, nofollow, def_nofollow), OPTIONS(step_filesystem)
#define CONSTANT(word)                                                                             \
	{                                                                                          \
		"type", carton_decode_constant, offsetof(struct step_filesystem, type), 0, word,   \
			word                                                                       \
	}
#define PARAMETER(name, kind, key)                                                                 \
	{                                                                                          \
		name, carton_decode_##kind, offsetof(struct step_filesystem, data), 0, NULL, key   \
	}

/***
Mount an empty file system in memory.
@function tmpfs
@tparam table fields
@tparam string fields.target path inside the root file system
@tparam[opt] string|int fields.size bytes above 0, or with a suffix: `"64m"`, `"50%"` (the kernel's
default: half of the memory)
@tparam[opt="1777"] string fields.mode of its root
@tparam[opt] string|int fields.inodes how many files it can hold
@tparam[opt] {string,...} fields.options mount attributes
@raise `carton.error`: `EINVAL` with the kernel's words about a bad parameter
@see tmpfs(5)
*/
const struct carton_field carton_tmpfs_fields[] = {
	CONSTANT("tmpfs"),
	FILESYSTEM(NULL),
	PARAMETER("size", size_parameter, "size"),
	PARAMETER("mode", mode_parameter, "mode"),
	PARAMETER("inodes", count_parameter, "nr_inodes"),
	END};

/***
Mount the processes of the caller's pid namespace.
@function proc
@tparam table fields
@tparam string fields.target path inside the root file system, through no symbolic link
@tparam[opt] string fields.subset `"pid"`: only processes
@tparam[opt] string|int fields.hidepid `off`, `noaccess`, `invisible`, `ptraceable`
@tparam[opt] string|int fields.gid who may see all the same
@tparam[opt] {string,...} fields.options mount attributes
@raise `carton.error`: `EPERM` the caller's own /proc is masked, `ELOOP` the target is a symbolic
link
@see proc(5)
*/
const struct carton_field carton_proc_fields[] = {CONSTANT("proc"),
                                                  FILESYSTEM("true"),
                                                  PARAMETER("subset", parameter, "subset"),
                                                  PARAMETER("hidepid", parameter, "hidepid"),
                                                  PARAMETER("gid", parameter, "gid"),
                                                  END};

/***
Mount the devices as the caller's network namespace sees them.
@function sysfs
@tparam table fields `target`, `options`, `create`, `nofollow` (true)
@raise `carton.error`: `EPERM` the network namespace is not the user namespace's own
@see sysfs(5)
*/
const struct carton_field carton_sysfs_fields[] = {CONSTANT("sysfs"), FILESYSTEM("true"), END};

/***
Mount a new instance of pseudo-terminals.
@function devpts
@tparam table fields `target`, `options`, `create`, `nofollow` (true) and
@tparam[opt="0600"] string fields.mode of the terminals
@tparam[opt="0000"] string fields.ptmxmode of its ptmx
@tparam[opt] int fields.gid owner of the terminals
@raise `carton.error`: `EINVAL` an id that is not mapped
@see pts(4)
*/
const struct carton_field carton_devpts_fields[] = {
	CONSTANT("devpts"),
	FILESYSTEM("true"),
	PARAMETER("mode", mode_parameter, "mode"),
	PARAMETER("ptmxmode", mode_parameter, "ptmxmode"),
	PARAMETER("gid", parameter, "gid"),
	PARAMETER("max", parameter, "max"),
	END};

/***
Mount the POSIX message queues of the caller's ipc namespace.
@function mqueue
@tparam table fields `target`, `options`, `create`, `nofollow` (true)
@see mq_overview(7)
*/
const struct carton_field carton_mqueue_fields[] = {CONSTANT("mqueue"), FILESYSTEM("true"), END};

/***
Mount the cgroup v2 tree as the caller's cgroup namespace sees it. In the first one, where flags
such as nsdelegate are those of the whole machine, what is set stays set.
@function cgroup
@tparam table fields `target`, `options`, `create`, `nofollow` (true), `data`
@raise `carton.error`: `EPERM` no mount of it is seen there that would tell its flags
@see cgroups(7)
*/
const struct carton_field carton_cgroup_fields[] = {
	CONSTANT("cgroup2"),
	FILESYSTEM("true"),
	{"data", carton_decode_data, offsetof(struct step_filesystem, data), 0, NULL, NULL},
	END};

/***
Mount a file system of any type.
@function filesystem
@tparam table fields `target`, `options`, `create`, `nofollow` and
@tparam string fields.type as in /proc/filesystems
@tparam[opt] string fields.source what it is made of: a device
@tparam[opt] table fields.data parameters by name: a string, a number, or true for a flag
@raise `carton.error`: `ENODEV` no such type, `EINVAL` with the kernel's words about a bad parameter
@see fsopen(2), fsconfig(2), fsmount(2)
*/
const struct carton_field carton_filesystem_fields[] = {
	{"type", carton_decode_string, offsetof(struct step_filesystem, type), 1, NULL, NULL},
	{"source", carton_decode_string, offsetof(struct step_filesystem, source), 0, NULL, NULL},
	FILESYSTEM(NULL),
	{"data", carton_decode_data, offsetof(struct step_filesystem, data), 0, NULL, NULL},
	END};

/* Where changes go is said once: beside `temporary`, an upper directory would stay empty. */
static void check_overlay(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	static const char *const layers[] = {"lowerdir", "lowerdir+", "datadir+", "upperdir",
	                                     "workdir"};
	const struct step_overlay *f = out;

	(void)field;
	if (f->lower.count == 0)
		carton_badfield(arena, "field 'lower': a list of at least one path expected");
	if (f->temporary && (f->upper || f->work))
		carton_badfield(arena, "fields 'temporary' and '%s' exclude each other",
		                f->upper ? "upper" : "work");
	if (!f->upper != !f->work)
		carton_badfield(arena, "field '%s' is missing, which goes with '%s'",
		                f->upper ? "work" : "upper", f->upper ? "upper" : "work");
	if (f->size && !f->temporary)
		carton_badfield(arena, "field 'size' goes with 'temporary'");
	for (uint32_t i = 0; i < f->data.count; i++)
		for (size_t k = 0; k < countof(layers); k++)
			if (strcmp(f->data.items[i].key, layers[k]) == 0)
				carton_badfield(arena,
				                "field 'data': '%s' is set by the fields 'lower', "
				                "'upper' and 'work'",
				                layers[k]);
}

/***
Mount layers as one tree.
@function overlay
@tparam table fields `target`, `create`, `options`, `data` (for example `userxattr = true` without
root) and
@tparam {string,...} fields.lower absolute paths on the host, the uppermost first; any number (above
255 bytes in all: Linux 6.7)
@tparam[opt] string fields.upper where changes go, with `work` beside it on the same file system
@tparam[opt] string fields.work an empty directory
@tparam[opt=false] boolean fields.temporary upper and work on a tmpfs that goes with the mount,
instead of `upper` and `work`
@tparam[opt] string|int fields.size of that tmpfs
@raise `carton.error`: `ENOENT` a layer is missing, its path is in `text`
@see mount(8)
*/
const struct carton_field carton_overlay_fields[] = {
	{"lower", carton_decode_strings, offsetof(struct step_overlay, lower), 1, NULL, NULL},
	{"upper", carton_decode_string, offsetof(struct step_overlay, upper), 0, NULL, NULL},
	{"work", carton_decode_string, offsetof(struct step_overlay, work), 0, NULL, NULL},
	BOOL(step_overlay, temporary, NULL),
	{"size", carton_decode_size, offsetof(struct step_overlay, size), 0, NULL, NULL},
	TARGET(step_overlay),
	BOOL(step_overlay, create, "true"),
	{"data", carton_decode_data, offsetof(struct step_overlay, data), 0, NULL, NULL},
	OPTIONS(step_overlay),
	CHECKED(check_overlay)};

/***
Change the attributes of a mount.
@function setattr
@tparam table fields
@tparam string fields.target path inside the root file system
@tparam {string,...} fields.options `ro` sets, `rw` clears, and so on
@tparam[opt=false] boolean fields.recursive of all mounts below it too
@tparam[opt=false] boolean fields.below of all mounts below it, but not of the target itself: `ro
nosuid nodev noexec`
@tparam[opt=false] boolean fields.optional do nothing when the target does not exist
@tparam[opt] namespace fields.idmap user namespace whose maps the mount gets
@raise `carton.error`: `EPERM` an attribute is locked, `EINVAL` not a mount
@see mount_setattr(2)
*/
const struct carton_field carton_setattr_fields[] = {
	TARGET(step_setattr),
	BOOL(step_setattr, recursive, NULL),
	BOOL(step_setattr, below, NULL),
	BOOL(step_setattr, optional, NULL),
	{"options", carton_decode_options, offsetof(struct step_setattr, options), 1, NULL, NULL},
	{"idmap", carton_decode_handle, offsetof(struct step_setattr, idmap), 0, "#-1",
         CARTON_NAMESPACE},
	END};

/***
Say which mounts are passed on between this tree and others.
@function propagation
@tparam table fields
@tparam[opt="/"] string fields.target path inside the root file system
@tparam string fields.propagation `private`, `slave`, `shared`, `unbindable`; `rprivate` and so on
for all below
@see mount_namespaces(7)
*/
const struct carton_field carton_propagation_fields[] = {
	{"target", carton_decode_string, offsetof(struct step_propagation, target), 0, "/", NULL},
	{"propagation", carton_decode_choices_one, offsetof(struct step_propagation, propagation),
         1, NULL, carton_propagation_names},
	END};

/***
Move a mount.
@function move
@tparam table fields `source` and `target`, paths inside the root file system
@see move_mount(2)
*/
const struct carton_field carton_move_fields[] = {
	{"source", carton_decode_string, offsetof(struct step_move, source), 1, NULL, NULL},
	TARGET(step_move),
	END};

/***
Take the uppermost mount off its place.
@function unmount
@tparam table fields
@tparam string fields.target path inside the root file system; its last component is not followed
@tparam[opt=false] boolean fields.detach at once, and in truth when nobody uses it any more
@tparam[opt=false] boolean fields.force even when the server is gone
@raise `carton.error`: `EINVAL` nothing is mounted there, `EBUSY` in use
@see umount2(2)
*/
const struct carton_field carton_unmount_fields[] = {TARGET(step_unmount),
                                                     BOOL(step_unmount, detach, NULL),
                                                     BOOL(step_unmount, force, NULL), END};

/***
Make another tree the root and take the old one off.
@function pivot_root
@tparam[opt] table fields
@tparam[opt] string fields.new_root a mount; in a plan: what earlier steps mounted on `/`
@tparam[opt] string fields.put_old where the old root goes; nowhere when it is not given
@raise `carton.error`: `EINVAL` the new root is not a mount, or the old one is shared, `EBUSY` it is
the root already
@see pivot_root(2)
*/
const struct carton_field carton_pivot_root_fields[] = {
	{"new_root", carton_decode_string, offsetof(struct step_pivot_root, new_root), 0, NULL,
         NULL},
	{"put_old", carton_decode_string, offsetof(struct step_pivot_root, put_old), 0, NULL, NULL},
	END};

/***
Make a directory.
@function mkdir
@tparam table fields
@tparam string fields.target path inside the root file system
@tparam[opt="0755"] string fields.mode whatever the umask and the directory above it say
@tparam[opt=true] boolean fields.parents make what is missing above it
@tparam[opt=true] boolean fields.optional one that is there already is fine, unless `mode` is given
and it has another
@raise `carton.error`: `EEXIST` there is a directory with another mode, `EPERM` a set-group-ID bit
that the caller can't give
@see mkdir(2)
*/
const struct carton_field carton_mkdir_fields[] = {
	TARGET(step_mkdir),
	{"mode", carton_decode_mode, offsetof(struct step_mkdir, mode), 0, "#-1", NULL},
	BOOL(step_mkdir, parents, "true"),
	BOOL(step_mkdir, optional, "true"),
	END};

/***
Write a file from a string.
@function write
@tparam table fields
@tparam string fields.target path inside the root file system; one that exists must be a regular
file
@tparam string fields.content any bytes
@tparam[opt="0644"] string fields.mode of the file; when it is not given, one that exists keeps its
own
@tparam[opt=false] boolean fields.append instead of replacing
@tparam[opt=true] boolean fields.create make a missing file
@see open(2)
*/
const struct carton_field carton_write_fields[] = {
	TARGET(step_write),
	{"content", carton_decode_bytes, offsetof(struct step_write, content), 1, NULL, NULL},
	{"mode", carton_decode_mode, offsetof(struct step_write, mode), 0, "#-1", NULL},
	BOOL(step_write, append, NULL),
	BOOL(step_write, create, "true"),
	END};

/***
Make a symbolic link.
@function symlink
@tparam table fields
@tparam string fields.path where the link is, inside the root file system
@tparam string fields.target what it holds
@tparam[opt=false] boolean fields.optional one that is there already and holds the same is fine
@raise `carton.error`: `EEXIST` there is something else
@see symlink(2)
*/
const struct carton_field carton_symlink_fields[] = {
	TARGET(step_symlink),
	{"path", carton_decode_string, offsetof(struct step_symlink, path), 1, NULL, NULL},
	BOOL(step_symlink, optional, NULL),
	END};

/***
Make a device node, or bind the host's where nodes may not be made. What is given of `type`, `major`
and `minor` has to be what the host's node is, which need not exist when all three are given.
@function device
@tparam table fields
@tparam string fields.path inside the root file system
@tparam[opt] string fields.source the host's node, by default the same path
@tparam[opt] string fields.type `char` or `block`, by default the host's
@tparam[opt] int fields.major by default the host's
@tparam[opt] int fields.minor by default the host's
@tparam[opt] string fields.mode by default `"0666"`; a bound node has the host's and no other
@tparam[opt=false] boolean fields.bind bind the host's node
@raise `carton.error`: `ENODEV` the node is not that device, `EPERM` nodes may not be made here, or
the bound node has another mode; `EACCES` the mount is nodev, so that no node there can be opened
@see mknod(2)
*/
const struct carton_field carton_device_fields[] = {
	{"path", carton_decode_string, offsetof(struct step_device, path), 1, NULL, NULL},
	{"source", carton_decode_string, offsetof(struct step_device, source), 0, NULL, NULL},
	{"type", carton_decode_choice, offsetof(struct step_device, type), 0, NULL,
         carton_device_names},
	{"major", carton_decode_id, offsetof(struct step_device, major), 0, "#-1", NULL},
	{"minor", carton_decode_id, offsetof(struct step_device, minor), 0, "#-1", NULL},
	{"mode", carton_decode_mode, offsetof(struct step_device, mode), 0, "#-1", NULL},
	BOOL(step_device, bind, NULL),
	END};

/***
Hide what is at these paths: a file behind /dev/null, a directory behind an empty one.
@function mask
@tparam table fields
@tparam {string,...} fields.paths inside the root file system; those that do not exist are passed
over
@see mount_setattr(2)
*/
/***
Make these paths read-only, with all below them.
@function readonly
@tparam table fields
@tparam {string,...} fields.paths inside the root file system; those that do not exist are passed
over
@see mount_setattr(2)
*/
const struct carton_field carton_paths_fields[] = {
	{"paths", carton_decode_strings, offsetof(struct step_paths, paths), 1, NULL, NULL}, END};

/***
Hide paths and make others read-only, after the last mount; in a plan after `mount.pivot_root`. A
path below `/proc` or `/sys` counts in every procfs and sysfs of the root, wherever it is mounted
and whatever part of it; a `*` there stands for the rest of a name.
@function protect
@tparam table fields
@tparam[opt] {string,...} fields.masked as of `mask`
@tparam[opt] {string,...} fields.readonly as of `readonly`; `/sys` itself makes each sysfs
read-only, but not what is mounted below it
@raise `carton.error`: `EBUSY` a mount covers a directory above a procfs or sysfs, `EAGAIN` somebody
moves one
@see proc_pid_mountinfo(5), mount_setattr(2)
@usage carton.mount.protect{ masked = carton.rootfs.masked, readonly = carton.rootfs.readonly }
*/
const struct carton_field carton_protect_fields[] = {
	{"masked", carton_decode_strings, offsetof(struct step_protect, masked), 0, NULL, NULL},
	{"readonly", carton_decode_strings, offsetof(struct step_protect, readonly), 0, NULL, NULL},
	END};

/***
Change the owner of a file.
@function chown
@tparam table fields `target`, `uid`, `gid`
@see chown(2)
*/
const struct carton_field carton_chown_fields[] = {
	TARGET(step_chown),
	{"uid", carton_decode_id, offsetof(struct step_chown, uid), 1, NULL, NULL},
	{"gid", carton_decode_id, offsetof(struct step_chown, gid), 1, NULL, NULL},
	END};

/***
Change the mode of a file.
@function chmod
@tparam table fields `target`, `mode` (`"0755"`)
@see chmod(2)
*/
const struct carton_field carton_chmod_fields[] = {
	TARGET(step_chmod),
	{"mode", carton_decode_mode, offsetof(struct step_chmod, mode), 1, NULL, NULL},
	END};
