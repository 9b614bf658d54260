/* SPDX-License-Identifier: MIT */
/***
Mount trees and root directories as handles, and the list of mounts.
@module carton.mount
*/
#include "tables.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <lauxlib.h>

#include "args.h"
#include "error.h"
#include "handle.h"
#include "names.h"
#include "primitive.h"
#include "step.h"
#include "sys.h"
#include "util.h"

struct tree_options {
	bool recursive;
	struct carton_attributes options;
};

static struct carton_tree *new_tree(lua_State *L)
{
	struct carton_tree *tree = carton_newbox(L, CARTON_TREE, sizeof(*tree), 0);

	tree->source = -1;
	return tree;
}

/* close, __close and __gc: both descriptors */
static int tree_close(lua_State *L)
{
	struct carton_tree *tree = luaL_checkudata(L, 1, CARTON_TREE);
	int fds[] = {tree->handle.fd, tree->source};

	tree->handle.fd = tree->source = -1;
	for (size_t i = 0; i < countof(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return 0;
}

/* A copy for one more place, made here in the parent: a tree that is attached nowhere can be copied
 * only in the mount namespace that it came from. */
static long copy_tree(struct carton_tree *tree)
{
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
	struct mount_attr attr = {
		.attr_set = tree->set, .attr_clr = tree->clear, .propagation = MS_PRIVATE};
	long fd = sys_open_tree(tree->handle.fd, "", flags | AT_RECURSIVE);
	long r;

	if (fd == -EINVAL && tree->source < 0 && !tree->lent) { /* then itself, but once */
		tree->lent = true;
		return sys_fcntl(tree->handle.fd, F_DUPFD_CLOEXEC, 3);
	}
	if (fd != -EINVAL || tree->source < 0)
		return fd;
	fd = sys_open_tree(tree->source, "", flags | (tree->recursive ? AT_RECURSIVE : 0));
	if (fd < 0)
		return fd;
	r = sys_mount_setattr((int)fd, tree->recursive ? AT_RECURSIVE : 0, &attr);
	if (r < 0)
		close((int)fd);
	return r < 0 ? r : fd;
}

void carton_decode_tree(struct carton_arena *arena, const struct carton_field *field, void *out)
{
	lua_State *L = arena->L;
	struct carton_tree *tree, *copy;
	long fd;

	(void)field;
	if (arena->absent) {
		*(int *)out = CARTON_UNSET;
		return;
	}
	tree = luaL_testudata(L, -1, CARTON_TREE);
	if (!tree || tree->handle.fd < 0)
		carton_badfield(arena, "open tree expected, got %s", luaL_typename(L, -1));
	copy = new_tree(L);
	fd = copy_tree(tree);
	if (fd < 0)
		carton_raise(L, arena->step, "tree", (int)-fd);
	copy->handle.fd = (int)fd;
	*(int *)out = (int)fd;
	lua_rawseti(L, arena->anchor, (lua_Integer)lua_rawlen(L, arena->anchor) + 1);
}

/***
Copy a part of the tree as a detached tree, which can be attached anywhere, also in other
namespaces. It is private: what is mounted on one is not mounted on the other.
@function open_tree
@tparam string path
@tparam[opt] table fields `recursive` (false), `options` as of `bind`
@treturn tree
@raise `carton.error`: `ENOENT`, `EPERM` not allowed, `EINVAL` not of our mount namespace
@see open_tree(2)
@usage local tools <close> = carton.mount.open_tree("/usr", { recursive = true, options = { "ro" }
})
*/
static int mount_open_tree(lua_State *L)
{
	static const struct carton_field known[] = {
		{"recursive", carton_decode_bool, offsetof(struct tree_options, recursive), 0, NULL,
	         NULL},
		{"options", carton_decode_options, offsetof(struct tree_options, options), 0, NULL,
	         NULL},
		{NULL, NULL, 0, 0, NULL, NULL}};
	const char *path = luaL_checkstring(L, 1);
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
	struct tree_options fields = {0};
	struct carton_arena arena;
	struct carton_tree *tree;
	struct mount_attr attr = {0};
	long r;

	lua_settop(L, 2);
	carton_newarena(L, &arena);
	arena.step = "mount.open_tree";
	if (!lua_isnil(L, 2)) {
		luaL_checktype(L, 2, LUA_TTABLE);
		carton_decode(&arena, 2, known, &fields, NULL);
	}
	tree = new_tree(L);
	tree->recursive = fields.recursive;
	tree->set = fields.options.set;
	tree->clear = fields.options.clear;
	tree->source = open(path, O_PATH | O_CLOEXEC);
	if (tree->source < 0)
		return carton_raise(L, "open_tree", path, errno);
	r = sys_open_tree(tree->source, "",
	                  flags | AT_EMPTY_PATH | (fields.recursive ? AT_RECURSIVE : 0));
	if (r < 0)
		return carton_raise(L, "open_tree", path, (int)-r);
	tree->handle.fd = (int)r;
	attr.attr_set = fields.options.set;
	attr.attr_clr = fields.options.clear;
	attr.propagation =
		MS_PRIVATE; /* or what is mounted on it would be mounted on the original */
	r = sys_mount_setattr(tree->handle.fd, fields.recursive ? AT_RECURSIVE : 0, &attr);
	return r < 0 ? carton_raise(L, "open_tree", path, (int)-r) : 1;
}

/***
Make a file system, attached nowhere yet.
@function create
@tparam table fields as of `filesystem`, without `target`: `type`, `source`, `data`, `options`
@treturn tree
@raise `carton.error`: `ENODEV` no such type, `EPERM` not allowed
@see fsopen(2), fsmount(2)
*/
static int mount_create(lua_State *L)
{
	static const struct carton_field known[] = {
		{"type", carton_decode_string, offsetof(struct step_filesystem, type), 1, NULL,
	         NULL},
		{"source", carton_decode_string, offsetof(struct step_filesystem, source), 0, NULL,
	         NULL},
		{"data", carton_decode_data, offsetof(struct step_filesystem, data), 0, NULL, NULL},
		{"options", carton_decode_options, offsetof(struct step_filesystem, options), 0,
	         NULL, NULL},
		{NULL, NULL, 0, 0, NULL, NULL}};
	struct carton_context ctx = {.root = AT_FDCWD,
	                             .proc = -1,
	                             .old_proc = -1,
	                             .dir = -1,
	                             .channel = -1,
	                             .parent = -1,
	                             .image = -1,
	                             .masked = -1};
	struct step_filesystem fields = {0};
	struct carton_failure failure = {.step = "mount.create", .fields = 1};
	struct carton_arena arena;
	struct carton_tree *tree;
	int fd;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	carton_newarena(L, &arena);
	arena.step = "mount.create";
	carton_decode(&arena, 1, known, &fields, NULL);
	tree = new_tree(L);
	fd = carton_filesystem_create(&ctx, &fields);
	if (fd < 0) {
		failure.call = carton_call_word(ctx.report.call);
		failure.text = ctx.report.text;
		failure.path = fields.type;
		failure.errnum = -fd;
		return carton_raise_failure(L, &failure);
	}
	tree->handle.fd = fd;
	return 1;
}

/***
Open a directory as a root: primitives that are given it as `root` reach their targets inside of it.
@function open_root
@tparam string path
@treturn directory
@raise `carton.error`: `ENOENT`, `ENOTDIR`, `EACCES`
@see openat2(2) RESOLVE_IN_ROOT
@usage carton.mount.write{ root = carton.mount.open_root("/srv/web"), target = "/etc/hostname",
content = "web\n" }
*/
static int mount_open_root(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	struct carton_handle *h = carton_newhandle(L, CARTON_DIRECTORY);

	h->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (h->fd < 0)
		return carton_raise(L, "open_root", path, errno);
	return 1;
}

/***
Attach a detached tree here and now: `mount.attach` as a method.
@function tree:attach
@tparam string target
@raise `carton.error`
@see move_mount(2)
*/
static int tree_attach(lua_State *L)
{
	int fd = carton_checkfd(L, 1, CARTON_TREE);
	const char *target = luaL_checkstring(L, 2);
	long r = sys_call(SYS_move_mount, fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);

	return r < 0 ? carton_raise(L, "attach", target, (int)-r) : 0;
}

static bool is_octal(const char *text)
{
	return text[0] >= '0' && text[0] <= '3' && text[1] >= '0' && text[1] <= '7' &&
	       text[2] >= '0' && text[2] <= '7';
}

/* "\040" and the like back to bytes, in place: proc(5) mountinfo. */
static void push_unescaped(lua_State *L, const char *text, size_t length)
{
	luaL_Buffer buffer;

	luaL_buffinit(L, &buffer);
	for (size_t i = 0; i < length; i++) {
		if (text[i] == '\\' && i + 3 < length && is_octal(text + i + 1)) {
			luaL_addchar(&buffer,
			             (char)((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 |
			                    (text[i + 3] - '0')));
			i += 3;
		} else {
			luaL_addchar(&buffer, text[i]);
		}
	}
	luaL_pushresult(&buffer);
}

static const char *next_word(const char **at, size_t *length)
{
	const char *word = *at;

	*length = strcspn(word, " ");
	*at = word + *length + (word[*length] == ' ');
	return word;
}

/* 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue */
static void push_mount(lua_State *L, const char *line)
{
	static const char *const before[] = {"id", "parent", NULL, "root", "target", "options"};
	static const char *const after[] = {"type", "source", "data"};
	luaL_Buffer optional;
	const char *word;
	size_t length;

	lua_createtable(L, 0, 10);
	for (size_t i = 0; i < countof(before); i++) {
		word = next_word(&line, &length);
		if (i < 2)
			lua_pushinteger(L, strtol(word, NULL, 10));
		else
			push_unescaped(L, word, length);
		if (before[i])
			lua_setfield(L, -2, before[i]);
		else
			lua_pop(L, 1);
	}
	luaL_buffinit(L, &optional);
	while (*line && strncmp(line, "- ", 2) != 0) {
		word = next_word(&line, &length);
		if (luaL_bufflen(&optional))
			luaL_addchar(&optional, ' ');
		luaL_addlstring(&optional, word, length);
	}
	luaL_pushresult(&optional);
	lua_setfield(L, -2, "propagation");
	if (*line)
		line += 2;
	for (size_t i = 0; i < countof(after); i++) {
		word = next_word(&line, &length);
		push_unescaped(L, word, length);
		lua_setfield(L, -2, after[i]);
	}
}

/***
List mounts.
@function list
@tparam[opt=0] int pid a process whose mount namespace is meant, 0: the caller
@treturn {table,...} `{ id =, parent =, root =, target =, source =, type =, options =, data =,
propagation = }`; propagation as in mountinfo: `shared:1 master:2`
@raise `carton.error`: `ENOENT` no such process, `EACCES`
@see proc(5) mountinfo
*/
static int mount_list(lua_State *L)
{
	lua_Integer pid = luaL_optinteger(L, 1, 0);
	luaL_Buffer all;
	struct carton_handle *h = carton_newhandle(L, CARTON_DESCRIPTOR);
	const char *path = pid == 0 ? lua_pushliteral(L, "/proc/self/mountinfo")
	                            : lua_pushfstring(L, "/proc/%I/mountinfo", (LUAI_UACINT)pid);
	const char *text;
	lua_Integer count = 0;
	ssize_t n;

	h->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (h->fd < 0)
		return carton_raise(L, "open", path, errno);
	luaL_buffinit(L, &all);
	do {
		char *space = luaL_prepbuffsize(&all, 16384);

		n = read(h->fd, space, 16384);
		if (n > 0)
			luaL_addsize(&all, (size_t)n);
	} while (n > 0);
	if (n < 0)
		return carton_raise(L, "read", path, errno);
	luaL_pushresult(&all);
	text = lua_tostring(L, -1);
	lua_newtable(L);
	while (*text) {
		size_t length = strcspn(text, "\n");

		lua_pushlstring(L, text, length); /* a line of its own, with a NUL */
		push_mount(L, lua_tostring(L, -1));
		lua_rawseti(L, -3, ++count);
		lua_pop(L, 1);
		text += length + (text[length] == '\n');
	}
	return 1;
}

/***
Tell what an option of mount(8) is to the primitives.
@function kind_of
@tparam string option
@treturn ?string `attribute` of a mount, for a field `options`; `propagation`; nil for any other,
as a parameter of a file system
@see mount_setattr(2)
@usage carton.mount.kind_of("nosuid") == "attribute"
*/
static int mount_kind_of(lua_State *L)
{
	const char *option = luaL_checkstring(L, 1);
	const struct carton_choice *choice = carton_propagation_names;

	while (choice->name && strcmp(choice->name, option) != 0)
		choice++;
	if (carton_is_mount_option(option))
		lua_pushliteral(L, "attribute");
	else if (choice->name)
		lua_pushliteral(L, "propagation");
	else
		lua_pushnil(L);
	return 1;
}

void carton_open_mount(lua_State *L)
{
	static const luaL_Reg methods[] = {{"attach", tree_attach}, {NULL, NULL}};
	static const luaL_Reg functions[] = {
		{"open_tree", mount_open_tree}, {"create", mount_create},
		{"open_root", mount_open_root}, {"list", mount_list},
		{"kind_of", mount_kind_of},     {NULL, NULL}};

	carton_newhandletype(L, CARTON_TREE, methods);
	luaL_getmetatable(L, CARTON_TREE);
	lua_pushcfunction(L, tree_close);
	lua_setfield(L, -2, "__gc");
	lua_pushcfunction(L, tree_close);
	lua_setfield(L, -2, "__close");
	lua_getfield(L, -1, "__index");
	lua_pushcfunction(L, tree_close);
	lua_setfield(L, -2, "close");
	lua_pop(L, 2);
	luaL_setfuncs(L, functions, 0);
}
