/* SPDX-License-Identifier: MIT */
/* The program: one Lua state with the core and all modules inside, one protected call, exit status.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "apart.h"
#include "carton.h"
#include "modules.h"
#include "step.h"
#include "util.h"

#ifdef __SANITIZE_ADDRESS__
#define ARENA_USED false /* the sanitizer looks after what malloc(3) gives */
#else
#define ARENA_USED true
#endif

static int compare_module(const void *name, const void *module)
{
	return strcmp(name, ((const struct carton_module *)module)->name);
}

/* package.searchers: the modules of lua/, compiled ahead. */
static int search_module(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	const struct carton_module *m =
		bsearch(name, carton_modules, carton_module_count, sizeof(*m), compare_module);

	if (!m) {
		lua_pushfstring(L, "no module '%s' in carton", name);
		return 1;
	}
	lua_pushfstring(L, "=%s", name);
	if (luaL_loadbufferx(L, (const char *)m->data, m->size, lua_tostring(L, -1), "b") != LUA_OK)
		return lua_error(L);
	lua_pushliteral(L, ":carton:");
	return 2;
}

/* After package.preload, before the files: our own modules come from the program and nowhere else.
 */
static void add_searcher(lua_State *L)
{
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "searchers");
	for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 2; i--) {
		lua_rawgeti(L, -1, i);
		lua_rawseti(L, -2, i + 1);
	}
	lua_pushcfunction(L, search_module);
	lua_rawseti(L, -2, 2);
	lua_pop(L, 2);
}

/* What was printed has to have arrived. */
static int finish_output(int status)
{
	int failed;

	errno = 0;
	failed = fflush(stdout) != 0 || ferror(stdout);
	if (!failed)
		return status;
	fprintf(stderr, "carton: standard output: %s\n", errno ? strerror(errno) : "write error");
	return status == 0 ? CARTON_EXIT_SETUP : status;
}

static bool is_ending; /* main() closes the state */
static int end_status;

/* Called by lua_close() after all other finalizers, which are called in the reverse order of their
 * marking: it would go on to free each object, and the memory ends with the process anyway. */
static int end_program(lua_State *L)
{
	(void)L;
	if (is_ending)
		exit(finish_output(end_status));
	return 0;
}

static void mark_first(lua_State *L)
{
	lua_newuserdatauv(L, 0, 0);
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, end_program);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);
	luaL_ref(L, LUA_REGISTRYINDEX);
}

static int protected_main(lua_State *L)
{
	int argc = (int)lua_tointeger(L, 1);
	char **argv = lua_touserdata(L, 2);

	if (ARENA_USED)
		mark_first(L);
	luaL_openlibs(L);
	add_searcher(L);
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	lua_pushcfunction(L, luaopen_carton_core);
	lua_setfield(L, -2, "carton.core");
	lua_createtable(L, argc, 1);
	for (int i = 0; i < argc; i++) {
		lua_pushstring(L, argv[i]);
		lua_rawseti(L, -2, i);
	}
	lua_setglobal(L, "arg");
	lua_getglobal(L, "require");
	lua_pushliteral(L, "carton.command");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "main");
	lua_getglobal(L, "arg");
	lua_call(L, 1, 1);
	return 1;
}

/* What a launch needs of memory: handed out once, from pages that one call makes present. A page
 * that is touched without being there costs a trap, which in a virtual machine is dearer than all
 * that is done with the page. Whatever does not fit comes from malloc(3). */
#define ARENA_SIZE    (1024 << 10)
#define ARENA_PRESENT (256 << 10)
#define ARENA_STEP    (64 << 10)
#define PLANS_SIZE    (32 << 10)

static struct {
	_Alignas(4096) char plans[PLANS_SIZE];
	char memory[ARENA_SIZE];
	size_t used, present;
} arena;

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Where that is not to be had (before Linux 5.14) pages come one by one, as ever. */
static void make_present(void)
{
	madvise(arena.plans, PLANS_SIZE + ARENA_PRESENT, MADV_POPULATE_WRITE);
	arena.present = ARENA_PRESENT;
}

static char *heap; /* where that of the C library begins */

/* A child that has memory of its own needs plans and nothing of Lua's: what it had a copy of would
 * be copied once more at our next write to each page, at the price of a trap. */
static void hide_lua(bool hidden)
{
	int advice = hidden ? MADV_DONTFORK : MADV_DOFORK;

	madvise(arena.memory, sizeof(arena.memory), advice);
	madvise(heap, (size_t)((char *)sbrk(0) - heap), advice);
}

static void set_memory_apart(void)
{
	make_present();
	heap = (char *)(((uintptr_t)sbrk(0) + 4095) & ~(uintptr_t)4095);
	carton_give_apart(arena.plans, PLANS_SIZE);
	carton_hide_lua = hide_lua;
}

static bool is_in_arena(const void *p)
{
	uintptr_t at = (uintptr_t)p, begin = (uintptr_t)arena.memory;

	return at >= begin && at < begin + sizeof(arena.memory);
}

static void *allocate(void *ud, void *block, size_t old, size_t size) /* lua_Alloc */
{
	size_t rounded = (size + 15) & ~(size_t)15;
	void *p;

	(void)ud;
	if (block && !is_in_arena(block)) {
		if (size > 0)
			return realloc(block, size);
		free(block);
		return NULL;
	}
	if (size == 0 || (block && size <= old))
		return size == 0 ? NULL : block;
	if (ARENA_USED && rounded >= size && rounded <= sizeof(arena.memory) - arena.used) {
		p = arena.memory + arena.used;
		arena.used += rounded;
		while (arena.used > arena.present && arena.present < sizeof(arena.memory)) {
			madvise(arena.memory + arena.present, ARENA_STEP, MADV_POPULATE_WRITE);
			arena.present += ARENA_STEP;
		}
	} else {
		p = malloc(size);
	}
	if (p && block)
		memcpy(p, block, old);
	return p;
}

/* Descriptors 0 to 2 are there, or what is opened first would be taken for them: those that the
 * caller closed can neither be read nor written.
 */
static int keep_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			return -1;
	return 0;
}

int main(int argc, char *argv[])
{
	lua_State *L;
	int status = CARTON_EXIT_SETUP;

	set_memory_apart();
	if (keep_standard_descriptors() < 0)
		return status;
	if (getauxval(AT_SECURE)) { /* whoever names the recipe would be who owns the program */
		fprintf(stderr, "carton: does not run with set-user-ID or file capabilities\n");
		return status;
	}
	L = lua_newstate(allocate, NULL);
	if (!L) {
		fprintf(stderr, "carton: not enough memory\n");
		return status;
	}
	/* A launch is over before the collector could earn anything: it begins after so many KiB.
	 */
	lua_gc(L, LUA_GCSTEP, -2048);
	lua_pushcfunction(L, protected_main);
	lua_pushinteger(L, argc);
	lua_pushlightuserdata(L, argv);
	if (lua_pcall(L, 2, 1, 0) == LUA_OK) {
		status = (int)lua_tointeger(L, -1);
	} else {
		luaL_tolstring(L, -1, NULL);
		fprintf(stderr, "carton: %s\n", lua_tostring(L, -1));
	}
	is_ending = true;
	end_status = status;
	lua_close(L);
	return finish_output(status);
}
