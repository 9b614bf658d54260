/* SPDX-License-Identifier: MIT */
/* Masked and read-only paths: at a place in the root, or in every procfs and sysfs of it. */
#include "step.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "sys.h"
#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State

#define LIST_FIRST ((size_t)16 << 10) /* on the stack: enough for a hundred mounts */
#define LIST_SIZE  ((size_t)128 << 10)
#define LIST_LIMIT ((size_t)64 << 20)
#define LIST_TRIES 16

enum kind { OTHER, PROC, SYSFS, KINDS };

/* What paths below a place mean in each file system. */
static const char *const places[KINDS] = {[PROC] = "/proc", [SYSFS] = "/sys"};

struct seen { /* a line of mountinfo */
	uint64_t id, parent;
	const char *root, *path; /* what of the file system is mounted, and where; unescaped */
	enum kind kind;
	bool done;
};

struct list {
	char *memory; /* `first`, or a mapping */
	size_t size;
	struct seen *mounts; /* above the text, at the end of the memory */
	uint32_t count;
	_Alignas(struct seen) char first[LIST_FIRST];
};

/* Mask a directory: one empty read-only tmpfs for all of them, attached at the first. */
static int mask_directory(struct carton_context *ctx, int target)
{
	static const struct carton_option data[] = {{"nr_inodes", "2"}, {"mode", "0555"}};
	struct step_filesystem empty = {.type = "tmpfs",
	                                .data = {data, 2},
	                                .options = {.set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
	                                                   MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC}};
	int tree;
	long r;

	if (ctx->masked >= 0)
		return carton_bind_at(ctx, ctx->masked, target, false, 0);
	tree = carton_filesystem_create(ctx, &empty);
	if (tree < 0)
		return tree;
	r = sys_move_mount(tree, target);
	if (r < 0) {
		sys_close(tree);
		return carton_fail(ctx, CARTON_CALL_MOVE_MOUNT, r);
	}
	ctx->masked = tree;
	return 0;
}

static int mask(struct carton_context *ctx, int target)
{
	struct stat st;
	long r = sys_fstat(target, &st);

	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_FSTAT, r);
	return S_ISDIR(st.st_mode) ? mask_directory(ctx, target) : carton_bind_null(ctx, target);
}

static int make_readonly(struct carton_context *ctx, int target)
{
	return carton_bind_at(ctx, target, target, true, MOUNT_ATTR_RDONLY);
}

typedef int (*action)(struct carton_context *ctx, int target);

static bool is_missing(long r)
{
	return r == -ENOENT || r == -ENOTDIR;
}

/* At a path of the root, links in it followed. */
static int act_at(struct carton_context *ctx, const char *path, action act)
{
	int fd = carton_root_open(ctx, path, 0);
	int r;

	if (is_missing(fd))
		return 0;
	r = fd < 0 ? fd : act(ctx, fd);
	if (r < 0)
		carton_tell(ctx, path);
	if (fd >= 0)
		sys_close(fd);
	return r;
}

static int act_at_all(struct carton_context *ctx, const struct step_paths *f, action act)
{
	int r = 0;

	for (uint32_t i = 0; i < f->paths.count && r == 0; i++)
		r = act_at(ctx, f->paths.items[i], act);
	return r;
}

int carton_mount_mask(struct carton_context *ctx, const void *fields)
{
	return act_at_all(ctx, fields, mask);
}

int carton_mount_readonly(struct carton_context *ctx, const void *fields)
{
	return act_at_all(ctx, fields, make_readonly);
}

/* ---- what is mounted where ---- */

static void free_list(struct list *list)
{
	if (list->memory && list->memory != list->first)
		sys_call(SYS_munmap, list->memory, list->size);
	list->memory = NULL;
}

static uint64_t parse_number(char **at)
{
	uint64_t n = 0;

	while (**at >= '0' && **at <= '9')
		n = n * 10 + (uint64_t)(*(*at)++ - '0');
	if (**at == ' ')
		++*at;
	return n;
}

/* Cut a word off; in it, a backslash and three octal digits stand for a byte. */
static char *parse_word(char **at)
{
	char *word = *at, *to = word, *from = word;

	while (*from && *from != ' ') {
		if (*from == '\\' && from[1] && from[2] && from[3]) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
			               (from[3] - '0'));
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*at = *from ? from + 1 : from;
	*to = '\0';
	return word;
}

/* "36 35 98:0 /root /path rw,noatime master:1 - ext3 /dev/root rw": proc_pid_mountinfo(5) */
static void parse_line(char *line, struct seen *m)
{
	const char *type;

	m->id = parse_number(&line);
	m->parent = parse_number(&line);
	parse_word(&line);
	m->root = parse_word(&line);
	m->path = parse_word(&line);
	do
		type = parse_word(&line);
	while (*type && strcmp(type, "-") != 0);
	type = parse_word(&line);
	m->kind = strcmp(type, "proc") == 0 ? PROC : strcmp(type, "sysfs") == 0 ? SYSFS : OTHER;
	m->done = false;
}

static int parse_list(struct list *list, size_t length)
{
	char *line = list->memory;

	list->mounts = (struct seen *)(void *)(list->memory + list->size);
	list->count = 0;
	while (*line) {
		char *end = strchr(line, '\n');

		if (!end || (char *)(list->mounts - 1) <= list->memory + length)
			return -E2BIG;
		*end = '\0';
		parse_line(line, --list->mounts);
		list->count++;
		line = end + 1;
	}
	return 0;
}

/* What one try with so much memory gives; -E2BIG: more is needed. */
static int try_list(struct carton_context *ctx, struct list *list)
{
	size_t length = 0;
	long r;
	int fd;

	list->memory = list->first;
	if (list->size > sizeof(list->first)) {
		r = sys_call(SYS_mmap, NULL, list->size, PROT_READ | PROT_WRITE,
		             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (r < 0 && r > -4096) {
			list->memory = NULL;
			return carton_fail(ctx, CARTON_CALL_READ, r);
		}
		list->memory = (char *)r;
	}
	fd = carton_proc_open(ctx, "self/mountinfo", O_RDONLY);
	if (fd < 0)
		return fd;
	do {
		r = sys_read(fd, list->memory + length, list->size - 1 - length);
		if (r > 0)
			length += (size_t)r;
	} while (r > 0 || r == -EINTR);
	sys_close(fd);
	if (r < 0)
		return carton_fail(ctx, CARTON_CALL_READ, r);
	list->memory[length] = '\0';
	return length + 1 < list->size ? parse_list(list, length) : -E2BIG;
}

static int read_list(struct carton_context *ctx, struct list *list)
{
	int r = -E2BIG;

	for (list->size = LIST_FIRST; r == -E2BIG && list->size <= LIST_LIMIT;
	     list->size = list->size < LIST_SIZE ? LIST_SIZE : list->size * 4) {
		r = try_list(ctx, list);
		if (r == 0)
			return 0;
		free_list(list);
	}
	return r == -E2BIG ? carton_fail(ctx, CARTON_CALL_READ, r) : r;
}

static int mount_id(struct carton_context *ctx, int fd, uint64_t *id)
{
	long r = sys_mount_id(fd, "", AT_EMPTY_PATH, id);

	return r < 0 ? carton_fail(ctx, CARTON_CALL_FSTAT, r) : 0;
}

static struct seen *find(const struct list *list, uint64_t id)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (list->mounts[i].id == id)
			return &list->mounts[i];
	return NULL;
}

/* Whether `path` is `above` or below it; "/" is above all. */
static bool is_within(const char *path, const char *above)
{
	size_t length = strcmp(above, "/") == 0 ? 0 : strlen(above);

	return strncmp(path, above, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Whether another mount than `except` covers all of this one. */
static bool is_stacked_on(const struct list *list, const struct seen *m, const struct seen *except)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct seen *n = &list->mounts[i];

		if (n != m && n != except && n->parent == m->id && strcmp(n->path, m->path) == 0)
			return true;
	}
	return false;
}

enum place { ELSEWHERE, VISIBLE, BENEATH, HIDDEN };

/* Whether another mount covers the place where this one is, on the same parent. */
static bool is_hidden(const struct list *list, const struct seen *m, const struct seen *parent)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct seen *n = &list->mounts[i];

		if (n != m && n != parent && n->parent == parent->id &&
		    strcmp(n->path, parent->path) != 0 && is_within(m->path, n->path))
			return true;
	}
	return false;
}

/* Where a mount is as `base` sees it: not in it; to be seen; beneath another one at the very same
 * place, for good; or below a place that another one covers, which a rename can uncover. */
static enum place place_of(const struct list *list, const struct seen *m, const struct seen *base)
{
	const struct seen *c, *parent, *before = NULL;
	bool beneath = false, hidden = false;

	for (c = m; c != base; c = parent) {
		parent = find(list, c->parent);
		if (!parent || parent == c)
			return ELSEWHERE;
	}
	for (c = m; c != base; before = c, c = parent) {
		parent = find(list, c->parent);
		beneath |= is_stacked_on(list, c, before);
		hidden |= is_hidden(list, c, parent);
	}
	return beneath ? BENEATH : hidden ? HIDDEN : VISIBLE;
}

/* ---- every procfs and sysfs ---- */

/* What `path` of a file system is below the part of it that is mounted: "" is all that is mounted,
 * NULL nothing. A `*` stands for the rest of a name. */
static const char *below(const char *path, const char *root)
{
	if (strcmp(root, "/") == 0)
		return *path ? path + 1 : path;
	while (*path && *root) {
		if (*path == '*') {
			while (*root && *root != '/')
				root++;
			path++;
		} else if (*path++ != *root++) {
			return NULL;
		}
	}
	if (*path == '\0')
		return *root == '/' || *root == '\0' ? path : NULL;
	return *path == '/' ? path + 1 : NULL;
}

static long open_in(int directory, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	long r = -EAGAIN;

	for (int tries = 0; r == -EAGAIN && tries < LIST_TRIES; tries++)
		r = sys_openat2(directory, *path ? path : ".", &how);
	return r;
}

static int act_in(struct carton_context *ctx, int directory, const char *path, action act);

/* Each name that begins with what stands before the `*`, and below it what follows. */
static int act_in_each(struct carton_context *ctx, int directory, const char *path,
                       const char *star, action act)
{
	_Alignas(uint64_t) char entries[2048];
	char above[256];
	const char *begin = star;
	size_t length;
	long n, fd, r = 0;

	while (begin > path && begin[-1] != '/')
		begin--;
	length = (size_t)(begin - path);
	if (length >= sizeof(above) || (star[1] != '/' && star[1] != '\0'))
		return carton_fail(ctx, CARTON_CALL_OPENAT2, -EINVAL);
	memcpy(above, path, length);
	above[length] = '\0';
	fd = open_in(directory, above, O_RDONLY | O_DIRECTORY);
	if (is_missing(fd) || fd == -ELOOP)
		return 0;
	if (fd < 0)
		return carton_fail(ctx, CARTON_CALL_OPENAT2, fd);
	while ((n = sys_call(SYS_getdents64, fd, entries, sizeof(entries))) > 0 && r == 0) {
		for (long at = 0; at < n && r == 0;) {
			const struct { /* linux_dirent64: getdents64(2) */
				uint64_t ino, off;
				uint16_t length;
				uint8_t type;
				char name[];
			} *entry = (const void *)(entries + at);
			size_t name = strlen(entry->name), rest = strlen(star + 1);
			char full[512];

			at += entry->length;
			if (strncmp(entry->name, begin, (size_t)(star - begin)) != 0)
				continue;
			if (name + rest >= sizeof(full)) {
				r = carton_fail(ctx, CARTON_CALL_OPENAT2, -ENAMETOOLONG);
				continue;
			}
			memcpy(full, entry->name, name);
			memcpy(full + name, star + 1, rest + 1);
			r = act_in(ctx, (int)fd, full, act);
		}
	}
	sys_close((int)fd);
	return n < 0 ? carton_fail(ctx, CARTON_CALL_READ, n) : (int)r;
}

/* At a path of what is mounted. There are no links on the way to any that matters: what leads
 * through one was mounted over it, and hides it. */
static int act_in(struct carton_context *ctx, int directory, const char *path, action act)
{
	const char *star = strchr(path, '*');
	long fd;
	int r;

	if (star)
		return act_in_each(ctx, directory, path, star, act);
	fd = open_in(directory, path, O_PATH);
	if (is_missing(fd) || fd == -ELOOP)
		return 0;
	if (fd < 0)
		return carton_fail(ctx, CARTON_CALL_OPENAT2, fd);
	r = act(ctx, (int)fd);
	sys_close((int)fd);
	return r;
}

static int act_on_mount(struct carton_context *ctx, int fd, const struct seen *m,
                        const struct carton_strings *paths, action act)
{
	static const struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
	size_t length = strlen(places[m->kind]);
	int r = 0;

	for (uint32_t i = 0; i < paths->count && r == 0; i++) {
		const char *path = paths->items[i];

		path = is_within(path, places[m->kind]) ? below(path + length, m->root) : NULL;
		if (!path)
			continue;
		if (*path) {
			r = act_in(ctx, fd, path, act);
		} else if (act == make_readonly) { /* each below it has its own turn */
			r = (int)sys_mount_setattr(fd, 0, &readonly);
			if (r < 0)
				carton_fail(ctx, CARTON_CALL_MOUNT_SETATTR, r);
		} else {
			r = act(ctx, fd);
		}
		if (r < 0)
			carton_tell(ctx, paths->items[i]);
	}
	return r;
}

/* Open a mount by the path that it had a moment ago; -EAGAIN: it is somewhere else now. */
static int open_seen(struct carton_context *ctx, int base, const struct seen *at,
                     const struct seen *m)
{
	const char *path = m->path + (strcmp(at->path, "/") == 0 ? 0 : strlen(at->path));
	uint64_t id;
	long fd;
	int r;

	while (*path == '/')
		path++;
	fd = open_in(base, path, O_PATH);
	if (is_missing(fd) || fd == -ELOOP)
		return carton_fail(ctx, CARTON_CALL_OPENAT2, -EAGAIN);
	if (fd < 0)
		return carton_fail(ctx, CARTON_CALL_OPENAT2, fd);
	r = mount_id(ctx, (int)fd, &id);
	if (r == 0 && id != m->id)
		r = carton_fail(ctx, CARTON_CALL_OPENAT2, -EAGAIN);
	if (r < 0)
		sys_close((int)fd);
	return r < 0 ? r : (int)fd;
}

/* The next one: the longest path first, as what is masked above hides what is below. */
static struct seen *next_of(const struct list *list)
{
	struct seen *next = NULL;

	for (uint32_t i = 0; i < list->count; i++) {
		struct seen *m = &list->mounts[i];

		if (m->kind != OTHER && !m->done && (!next || strlen(m->path) > strlen(next->path)))
			next = m;
	}
	return next;
}

/* `found` is set where a whole one is at its usual place. */
static int protect_seen(struct carton_context *ctx, const struct step_protect *f, int base,
                        const struct list *list, bool found[KINDS])
{
	const struct seen *at;
	struct seen *m;
	uint64_t id;
	int r = mount_id(ctx, base, &id);

	if (r < 0)
		return r;
	at = find(list, id);
	if (!at) /* it is only a part of a mount, or not the root of this process yet */
		return carton_fail(ctx, CARTON_CALL_OPENAT2, -EINVAL);
	while (r == 0 && (m = next_of(list))) {
		enum place place = place_of(list, m, at);
		int fd;

		m->done = true;
		if (place == ELSEWHERE || place == BENEATH)
			continue;
		fd = place == HIDDEN ? carton_fail(ctx, CARTON_CALL_CHECK_HIDDEN, -EBUSY)
		                     : open_seen(ctx, base, at, m);
		if (fd < 0) {
			carton_tell(ctx, m->path);
			return fd;
		}
		r = act_on_mount(ctx, fd, m, &f->masked, mask);
		if (r == 0)
			r = act_on_mount(ctx, fd, m, &f->readonly, make_readonly);
		sys_close(fd);
		found[m->kind] |= strcmp(m->root, "/") == 0 && is_within(m->path, at->path) &&
		                  strcmp(m->path + (at->path[1] ? strlen(at->path) : 0),
		                         places[m->kind]) == 0;
	}
	return r;
}

/* What is no path of a procfs or sysfs that is there is one of the root. */
static int protect_paths(struct carton_context *ctx, const struct carton_strings *paths, action act,
                         const bool found[KINDS])
{
	int r = 0;

	for (uint32_t i = 0; i < paths->count && r == 0; i++)
		if (!(found[PROC] && is_within(paths->items[i], places[PROC])) &&
		    !(found[SYSFS] && is_within(paths->items[i], places[SYSFS])))
			r = act_at(ctx, paths->items[i], act);
	return r;
}

int carton_mount_protect(struct carton_context *ctx, const void *fields)
{
	const struct step_protect *f = fields;
	bool found[KINDS] = {false};
	struct list list;
	int base = ctx->root;
	int r = -EAGAIN;

	if (base == AT_FDCWD)
		base = (int)sys_openat(AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
	if (base < 0)
		return carton_fail(ctx, CARTON_CALL_OPEN, base);
	/* EAGAIN: a directory above a mount was renamed meanwhile; whoever does so forever loses */
	for (int tries = 0; r == -EAGAIN && tries < LIST_TRIES; tries++) {
		r = read_list(ctx, &list);
		if (r == 0)
			r = protect_seen(ctx, f, base, &list, found);
		free_list(&list);
	}
	if (base != ctx->root)
		sys_close(base);
	if (r == 0)
		r = protect_paths(ctx, &f->masked, mask, found);
	return r < 0 ? r : protect_paths(ctx, &f->readonly, make_readonly, found);
}
