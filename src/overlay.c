/* SPDX-License-Identifier: MIT */
/* Overlays, on every kernel since 5.12. */
#include "step.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#include "sys.h"
#include "util.h"

#pragma GCC poison malloc calloc realloc free printf fprintf snprintf exit lua_State

#define PARAMETER_LIMIT 255 /* bytes of a string parameter: fsconfig(2) copies 256 */
#define NUMBERS_MAX     128 /* as many as that has room for */

/* Descriptors in place of paths. As /proc/self/fd is the working directory, their numbers are
 * paths, which are short and have nothing to escape. */
struct numbers {
	int here; /* the working directory before */
	int fds[NUMBERS_MAX];
	uint32_t count;
};

/* Before Linux 6.5 an overlay had a parser of its own, of one line with all parameters that is read
 * when the file system is created: fsconfig(2) takes any word until then. */
static bool is_one_line(void)
{
	long fs = sys_fsopen("overlay");
	long r;

	if (fs < 0)
		return false; /* which is said of the next one */
	r = sys_fsconfig((int)fs, FSCONFIG_SET_FLAG, "carton", NULL, 0);
	sys_close((int)fs);
	return r == 0;
}

static int enter(struct carton_context *ctx, int directory, int *here)
{
	long r = sys_openat(AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);

	*here = (int)r;
	if (r >= 0)
		r = sys_fchdir(directory);
	return r < 0 ? carton_fail(ctx, CARTON_CALL_CHDIR, r) : 0;
}

/* Return what r says, unless there is no way back. */
static int go_back(struct carton_context *ctx, int here, int r)
{
	long back = here < 0 ? 0 : sys_fchdir(here);

	if (here >= 0)
		sys_close(here);
	if (back < 0 && r >= 0) {
		sys_close(r);
		return carton_fail(ctx, CARTON_CALL_CHDIR, back);
	}
	return r;
}

static int enter_numbers(struct carton_context *ctx, struct numbers *numbers)
{
	int directory = carton_proc_open(ctx, "self/fd", O_PATH | O_DIRECTORY);
	int r;

	if (directory < 0)
		return directory;
	r = enter(ctx, directory, &numbers->here);
	sys_close(directory);
	return r;
}

/* Open a directory; its number is written at `to`, which has room for it. */
static int add_number(struct carton_context *ctx, struct numbers *numbers, int base,
                      const char *path, char *to)
{
	long fd;

	if (numbers->count == NUMBERS_MAX)
		return carton_fail(ctx, CARTON_CALL_FSCONFIG, -E2BIG);
	fd = sys_openat(base, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0) {
		carton_tell(ctx, path);
		return carton_fail(ctx, CARTON_CALL_OPEN, fd);
	}
	numbers->fds[numbers->count++] = (int)fd;
	*put_number(to, (uint64_t)fd) = '\0';
	return 0;
}

static int configure_number(struct carton_context *ctx, int fs, const char *key,
                            struct numbers *numbers, int base, const char *path)
{
	char number[24];
	int r = add_number(ctx, numbers, base, path, number);

	return r < 0 ? r : carton_configure(ctx, fs, key, number);
}

static int configure_numbers(struct carton_context *ctx, const struct step_overlay *f, int fs,
                             int upper, struct numbers *numbers)
{
	char all[PARAMETER_LIMIT + 24] = "";
	size_t n = 0;
	int base, r = 0;

	for (uint32_t i = 0; i < f->lower.count && r == 0; i++) {
		if (i > 0)
			all[n++] = ':';
		r = add_number(ctx, numbers, AT_FDCWD, f->lower.items[i], all + n);
		n += strlen(all + n);
		if (r == 0 && n > PARAMETER_LIMIT)
			r = carton_fail(ctx, CARTON_CALL_FSCONFIG, -E2BIG);
	}
	if (r == 0)
		r = carton_configure(ctx, fs, "lowerdir", all);
	if (r < 0 || (upper < 0 && !f->upper))
		return r;
	base = upper >= 0 ? upper : numbers->here;
	r = configure_number(ctx, fs, "upperdir", numbers, base, f->upper ? f->upper : "upper");
	return r < 0 ? r
	             : configure_number(ctx, fs, "workdir", numbers, base,
	                                f->work ? f->work : "work");
}

static int overlay_of_numbers(struct carton_context *ctx, const struct step_overlay *f, int fs,
                              int upper)
{
	struct numbers numbers = {.here = -1};
	int r = enter_numbers(ctx, &numbers);

	if (r == 0)
		r = configure_numbers(ctx, f, fs, upper, &numbers);
	if (r == 0)
		r = carton_configure_all(ctx, fs, &f->data);
	if (r < 0)
		sys_close(fs);
	else
		r = carton_create_mount(ctx, fs, f->options.set);
	for (uint32_t i = 0; i < numbers.count; i++)
		sys_close(numbers.fds[i]);
	return go_back(ctx, numbers.here, r);
}

/* A value with its special characters escaped: '\\', and ':' between layers. */
static int escape(struct carton_context *ctx, char *to, size_t *n, const char *path, char also)
{
	for (const char *c = path; *c; c++) {
		if (*n + 2 > PARAMETER_LIMIT)
			return carton_fail(ctx, CARTON_CALL_FSCONFIG, -E2BIG);
		if (*c == '\\' || *c == also)
			to[(*n)++] = '\\';
		to[(*n)++] = *c;
	}
	to[*n] = '\0';
	return 0;
}

/* Before Linux 6.7 there is one parameter for all layers. */
static int configure_lower_string(struct carton_context *ctx, int fs,
                                  const struct carton_strings *lower)
{
	char all[PARAMETER_LIMIT + 1];
	size_t n = 0;
	int r = 0;

	for (uint32_t i = 0; i < lower->count && r == 0; i++) {
		if (i > 0 && n < PARAMETER_LIMIT)
			all[n++] = ':';
		r = escape(ctx, all, &n, lower->items[i], ':');
	}
	return r < 0 ? r : carton_configure(ctx, fs, "lowerdir", all);
}

static int configure_lower(struct carton_context *ctx, int fs, const struct carton_strings *lower)
{
	for (uint32_t i = 0; i < lower->count; i++) {
		const char *layer = lower->items[i];
		long r = sys_fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", layer, 0);

		if (r == -EINVAL && i == 0)
			return configure_lower_string(ctx, fs, lower);
		if (r < 0) {
			carton_tell(ctx, layer);
			return carton_fail(ctx, CARTON_CALL_FSCONFIG, r);
		}
	}
	return 0;
}

static int configure_escaped(struct carton_context *ctx, int fs, const char *key, const char *path)
{
	char value[PARAMETER_LIMIT + 1];
	size_t n = 0;
	int r = escape(ctx, value, &n, path, '\\');

	return r < 0 ? r : carton_configure(ctx, fs, key, value);
}

static int overlay_of_paths(struct carton_context *ctx, const struct step_overlay *f, int fs,
                            int upper)
{
	int here = -1, r = configure_lower(ctx, fs, &f->lower);

	if (r == 0 && upper >= 0) /* relative to it, so that no path leads there */
		r = enter(ctx, upper, &here);
	if (r == 0 && (upper >= 0 || f->upper)) {
		r = configure_escaped(ctx, fs, "upperdir", f->upper ? f->upper : "upper");
		if (r == 0)
			r = configure_escaped(ctx, fs, "workdir", f->work ? f->work : "work");
	}
	if (r == 0)
		r = carton_configure_all(ctx, fs, &f->data);
	if (r < 0)
		sys_close(fs);
	else
		r = carton_create_mount(ctx, fs, f->options.set);
	return go_back(ctx, here, r);
}

/* Whether all paths fit into parameters, escaped. */
static bool are_short(const struct step_overlay *f)
{
	const char *const own[] = {f->upper, f->work};

	for (uint32_t i = 0; i < f->lower.count; i++)
		if (strlen(f->lower.items[i]) > PARAMETER_LIMIT)
			return false;
	for (size_t i = 0; i < countof(own); i++)
		if (own[i] && 2 * strlen(own[i]) > PARAMETER_LIMIT)
			return false;
	return true;
}

static int create_overlay(struct carton_context *ctx, const struct step_overlay *f, int fs,
                          int upper)
{
	int r = carton_configure(ctx, fs, "source", "overlay");

	if (r < 0) {
		sys_close(fs);
		return r;
	}
	return are_short(f) && !is_one_line() ? overlay_of_paths(ctx, f, fs, upper)
	                                      : overlay_of_numbers(ctx, f, fs, upper);
}

/* A tmpfs on the target with the directories upper and work; the overlay comes on top of it.
 * The root of an overlay has the upper directory's mode and owner: those of the first layer. */
static int temporary_upper(struct carton_context *ctx, const struct step_overlay *f)
{
	struct carton_option size = {"size", f->size};
	struct carton_option mode = {"mode", "0700"};
	struct carton_option items[2] = {mode, size};
	struct step_filesystem tmpfs = {
		.type = "tmpfs", .data = {items, f->size ? 2 : 1}, .options = {.set = 0}};
	struct stat st;
	long layer, r;
	int tree = carton_filesystem_create(ctx, &tmpfs);

	if (tree < 0)
		return tree;
	layer = sys_openat(AT_FDCWD, f->lower.items[0], O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (layer < 0) {
		carton_tell(ctx, f->lower.items[0]);
		carton_fail(ctx, CARTON_CALL_OPEN, layer);
		sys_close(tree);
		return (int)layer;
	}
	r = sys_fstat((int)layer, &st);
	sys_close((int)layer);
	if (r == 0)
		r = sys_mkdirat(tree, "work", 0700);
	if (r == 0)
		r = carton_create(ctx, SYS_mkdirat, tree, (long)"upper", st.st_mode & 07777, 0);
	if (r == 0 && (st.st_uid != 0 || st.st_gid != 0)) { /* an unmapped owner stays ours */
		r = sys_call(SYS_fchownat, tree, "upper", st.st_uid, st.st_gid,
		             AT_SYMLINK_NOFOLLOW);
		if (r == -EINVAL || r == -EPERM)
			r = 0;
	}
	if (r < 0) {
		sys_close(tree);
		return carton_fail(ctx, CARTON_CALL_MKDIR, r);
	}
	return tree;
}

int carton_mount_overlay(struct carton_context *ctx, const void *fields)
{
	const struct step_overlay *f = fields;
	int flags = carton_place_flags(f->create, true, false);
	int upper = -1, tree, r = 0;
	long fs;

	for (uint32_t i = 0; i < f->lower.count; i++) {
		if (f->lower.items[i][0] != '/') {
			carton_tell(ctx, f->lower.items[i]);
			return carton_fail(ctx, CARTON_CALL_OPEN, -EINVAL);
		}
	}
	if (f->temporary) {
		upper = temporary_upper(ctx, f);
		if (upper < 0)
			return upper;
		r = carton_attach(ctx, upper, f->target, flags);
	}
	fs = r < 0 ? r : sys_fsopen("overlay");
	if (fs < 0) {
		if (r == 0)
			carton_fail(ctx, CARTON_CALL_FSOPEN, fs);
		if (upper >= 0 && upper != ctx->root)
			sys_close(upper);
		return (int)fs;
	}
	tree = create_overlay(ctx, f, (int)fs, upper);
	if (tree < 0) {
		if (upper >= 0 && upper != ctx->root)
			sys_close(upper);
		return tree;
	}
	if (upper >= 0 && upper != ctx->root) { /* resolved again, the target is the tmpfs */
		long moved = sys_move_mount(tree, upper);

		sys_close(upper);
		sys_close(tree);
		return moved < 0 ? carton_fail(ctx, CARTON_CALL_MOVE_MOUNT, moved) : 0;
	}
	return carton_attach_close(ctx, tree, f->target, flags);
}
