/* SPDX-License-Identifier: MIT */
/* Option tables: fields described as data, read into a C struct, unknown ones refused by name. */
#ifndef CARTON_ARGS_H
#define CARTON_ARGS_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct carton_handle;

struct carton_apart;

/* Memory for a plan: chunks that never move, of userdata or apart from all that is Lua's, and one
 * Lua table that holds the former, and all handles. */
struct carton_arena {
	lua_State *L;
	int anchor; /* stack index of the table */
	char *at;
	size_t left;
	const char *step;            /* for messages: "mount.bind" */
	const char *field;           /* for messages: "target" */
	lua_Integer index;           /* of the step in its plan, 0: none */
	struct carton_handle *image; /* the init in memory, made for an exec step; or NULL */
	bool lazy;                   /* a shield is chosen later */
	struct carton_apart *apart;  /* where chunks come from, or NULL: userdata */
	bool absent;                 /* the field was not given: its fallback is on top */
};

struct carton_field;
/* Read the value on top of the stack, which stays there, into `out`. */
typedef void carton_decoder(struct carton_arena *arena, const struct carton_field *field,
                            void *out);

struct carton_field {
	const char *name;
	carton_decoder *decode;
	unsigned short offset;
	unsigned short required;
	const char *fallback; /* "true", "#-1" (a number) or a string; NULL: left zero */
	const void *aux;      /* what the decoder needs to know */
};

#define CARTON_REQUIRED 1

void carton_newarena(lua_State *L, struct carton_arena *arena); /* pushes the table */
void *carton_alloc(struct carton_arena *arena, size_t size);
/* Read the table at `index` into `out`; the fields end with a NULL name, whose decoder, if any,
 * looks at all that was read. `skip` is one field that is known elsewhere, or NULL. */
void carton_decode(struct carton_arena *arena, int index, const struct carton_field *fields,
                   void *out, const char *skip);
/* Raise a plain string that names step and field. */
int carton_badfield(struct carton_arena *arena, const char *format, ...);

struct carton_range { /* of an integer, both inclusive */
	int64_t least, most;
};

struct carton_choice { /* a name and what it stands for */
	const char *name;
	unsigned long value;
};

carton_decoder carton_decode_kernel_parameter; /* struct carton_parameter */
carton_decoder carton_decode_string;           /* const char * */
carton_decoder carton_decode_bytes;   /* const char *, then uint64_t length: may hold NUL */
carton_decoder carton_decode_strings; /* struct carton_strings; a string stands for a list of one */
carton_decoder carton_decode_args;    /* struct carton_strings: a list of at least one */
carton_decoder carton_decode_groups;  /* struct carton_strings of names or ids; aux as below */
carton_decoder carton_decode_mask;    /* int64_t, from "0022" */
carton_decoder carton_decode_env;     /* struct carton_strings: list or table of name -> value */
carton_decoder carton_decode_bool;    /* bool */
carton_decoder carton_decode_integer; /* int64_t; aux: struct carton_range or NULL */
carton_decoder carton_decode_id;      /* int64_t, 0 to 4294967294 */
carton_decoder carton_decode_mode;    /* uint32_t, from "0755"; CARTON_NO_MODE with "#-1" */
carton_decoder carton_decode_choice;  /* unsigned int; aux: struct carton_choice[] */
carton_decoder carton_decode_choices_one; /* uint64_t: one name; aux: struct carton_choice[] */
carton_decoder carton_decode_constant;    /* const char *: aux itself; the field is not given */
carton_decoder carton_decode_choices;     /* uint64_t: names joined; aux: struct carton_choice[] */
carton_decoder carton_decode_options;     /* struct carton_attributes */
bool carton_is_mount_option(const char *name);
carton_decoder carton_decode_data;         /* struct carton_options, added to */
carton_decoder carton_decode_parameter;    /* struct carton_options, one more; aux: its key */
carton_decoder carton_decode_handle;       /* int; aux: type name or NULL for any */
carton_decoder carton_decode_tree;         /* int: a copy of that detached tree */
carton_decoder carton_decode_handles;      /* struct carton_fds; aux: type name */
carton_decoder carton_decode_fds;          /* struct carton_fds: integers, handles, false */
carton_decoder carton_decode_idmap;        /* struct carton_idmap */
carton_decoder carton_decode_rlimits;      /* struct carton_rlimits */
carton_decoder carton_decode_capabilities; /* uint64_t; aux: offset of the bool beside it */
carton_decoder carton_decode_filter;       /* const char *, then uint64_t length: BPF */
carton_decoder carton_decode_cpus;         /* uint64_t[16] */
carton_decoder carton_decode_seconds;      /* uint64_t nanoseconds */
carton_decoder carton_decode_signal;       /* int64_t */

/* Parameters of tmpfs and devpts, as carton_decode_parameter, in the forms the kernel reads
 * exactly. */
carton_decoder carton_decode_mode_parameter;  /* an octal mode */
carton_decoder carton_decode_size_parameter;  /* bytes above 0: "64m", "50%" */
carton_decoder carton_decode_count_parameter; /* a number above 0, without percent */
carton_decoder carton_decode_size;            /* const char *: bytes, not yet a parameter */

/* What decoders are made of. Strings are copied from the top of the stack into the arena. */
void carton_expect(struct carton_arena *arena, bool holds, const char *what);
const char *carton_copy_bytes(struct carton_arena *arena, const char *s, size_t length);
const char *carton_copy_string(struct carton_arena *arena);
uint32_t carton_list_length(struct carton_arena *arena); /* of the list on top */
void carton_sort_strings(const char **items, uint32_t count);

/* A name of the list, or a message that says which there are. */
unsigned long carton_tochoice(struct carton_arena *arena, const struct carton_choice *choices);
/* A list of such names, joined; a field `beside` may stand in the list, or NULL. */
void carton_join_choices(struct carton_arena *arena, const struct carton_choice *choices,
                         const char *beside, uint64_t *out);

#endif
