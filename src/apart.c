/* SPDX-License-Identifier: MIT */
/* Memory of plans that is apart from Lua's. */
#include "apart.h"

#include <stdint.h>
#include <sys/mman.h>

#include <lauxlib.h>

#include "error.h"

#define CARTON_APART "carton.apart"
#define BLOCK_SIZE   ((size_t)32 << 10)

struct block { /* at the beginning of each */
	struct block *next;
	size_t size, used;
};

struct carton_apart {
	struct block *blocks;
};

void (*carton_hide_lua)(bool hidden);

/* The last block is kept: pages that are there cost nothing. */
static struct block *spare;

void carton_give_apart(void *memory, size_t size)
{
	struct block *b = memory, *none = NULL;

	b->size = size;
	if (!__atomic_compare_exchange_n(&spare, &none, b, false, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_RELAXED))
		munmap(memory, size);
}

static struct block *take_block(size_t size)
{
	struct block *b = NULL;

	if (size <= BLOCK_SIZE - sizeof(*b)) {
		b = __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQ_REL);
		if (b)
			return b;
	}
	size = (size + sizeof(*b) + BLOCK_SIZE - 1) & ~(BLOCK_SIZE - 1);
	b = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
	         0);
	if (b == MAP_FAILED)
		return NULL;
	b->size = size;
	return b;
}

void *carton_new_apart(lua_State *L, struct carton_apart *owner, size_t size)
{
	struct block *b = owner->blocks;

	size = (size + 15) & ~(size_t)15;
	if (!b || size > b->size - b->used) {
		b = take_block(size);
		if (!b) {
			luaL_error(L, "not enough memory");
			return NULL;
		}
		b->used = (sizeof(*b) + 15) & ~(size_t)15;
		b->next = owner->blocks;
		owner->blocks = b;
	}
	b->used += size;
	return (char *)b + b->used - size;
}

static int apart_close(lua_State *L) /* __close and __gc */
{
	struct carton_apart *owner = luaL_checkudata(L, 1, CARTON_APART);

	while (owner->blocks) {
		struct block *b = owner->blocks;

		owner->blocks = b->next;
		if (b->size == BLOCK_SIZE)
			carton_give_apart(b, BLOCK_SIZE);
		else
			munmap(b, b->size);
	}
	return 0;
}

struct carton_apart *carton_new_apart_owner(lua_State *L)
{
	struct carton_apart *owner = lua_newuserdatauv(L, sizeof(*owner), 0);

	owner->blocks = NULL;
	luaL_setmetatable(L, CARTON_APART);
	return owner;
}

void carton_open_apart(lua_State *L)
{
	static const luaL_Reg meta[] = {
		{"__close", apart_close}, {"__gc", apart_close}, {NULL, NULL}};

	luaL_newmetatable(L, CARTON_APART);
	luaL_setfuncs(L, meta, 0);
	lua_pop(L, 1);
}
