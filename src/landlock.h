/* SPDX-License-Identifier: MIT */
/* The kernel's numbers of Landlock, all of them: headers of supported systems know only the first.
 * See landlock(7). */
#ifndef CARTON_LANDLOCK_H
#define CARTON_LANDLOCK_H

/* name, bit, and the ABI that has it first */
#define CARTON_LANDLOCK_FS(X)                                                                      \
	X(execute, 0, 1)                                                                           \
	X(write_file, 1, 1)                                                                        \
	X(read_file, 2, 1)                                                                         \
	X(read_dir, 3, 1)                                                                          \
	X(remove_dir, 4, 1)                                                                        \
	X(remove_file, 5, 1)                                                                       \
	X(make_char, 6, 1)                                                                         \
	X(make_dir, 7, 1)                                                                          \
	X(make_reg, 8, 1)                                                                          \
	X(make_sock, 9, 1)                                                                         \
	X(make_fifo, 10, 1)                                                                        \
	X(make_block, 11, 1)                                                                       \
	X(make_sym, 12, 1)                                                                         \
	X(refer, 13, 2)                                                                            \
	X(truncate, 14, 3)                                                                         \
	X(ioctl_dev, 15, 5)
#define CARTON_LANDLOCK_TCP(X)                                                                     \
	X(bind_tcp, 0, 4)                                                                          \
	X(connect_tcp, 1, 4)
#define CARTON_LANDLOCK_SCOPES(X)                                                                  \
	X(abstract_unix_socket, 0, 6)                                                              \
	X(signal, 1, 6)

enum {
#define X(name, bit, abi) CARTON_LANDLOCK_##name = 1 << bit,
	CARTON_LANDLOCK_FS(X) CARTON_LANDLOCK_TCP(X) CARTON_LANDLOCK_SCOPES(X)
#undef X
};

#define CARTON_LANDLOCK_ALL 0xffffULL /* of the file system */
/* What can be allowed for something that is no directory. */
#define CARTON_LANDLOCK_FILE                                                                       \
	((uint64_t)(CARTON_LANDLOCK_execute | CARTON_LANDLOCK_write_file |                         \
	            CARTON_LANDLOCK_read_file | CARTON_LANDLOCK_truncate |                         \
	            CARTON_LANDLOCK_ioctl_dev))

#define CARTON_SYS_LANDLOCK_CREATE_RULESET 444
#define CARTON_SYS_LANDLOCK_ADD_RULE       445
#define CARTON_SYS_LANDLOCK_RESTRICT_SELF  446
#define CARTON_LANDLOCK_VERSION            1 /* a flag of landlock_create_ruleset(2) */

#endif
