/* SPDX-License-Identifier: MIT */
/* What libseccomp makes of profiles, called as runc calls it: reads profiles and writes the program
 * of each as a line of hexadecimal digits, or "-" and why there is none. A profile begins with "p
 * ACTION ARCH", its default action as the kernel has it; a rule is "r NAME ACTION", followed by
 * INDEX OP A B for each test; an empty line ends it. One architecture each: of several,
 * libseccomp 2.5.4 shares code that expects the number of the call to be loaded. */
#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY_RULES 32 /* with more, runc has libseccomp make a tree */

static const struct {
	const char *word;
	enum scmp_compare op;
} operators[] = {{"!=", SCMP_CMP_NE},      {"<", SCMP_CMP_LT},  {"<=", SCMP_CMP_LE},
                 {"==", SCMP_CMP_EQ},      {">=", SCMP_CMP_GE}, {">", SCMP_CMP_GT},
                 {"&", SCMP_CMP_MASKED_EQ}};

static enum scmp_compare operator_of(const char *word)
{
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
		if (strcmp(word, operators[i].word) == 0)
			return operators[i].op;
	fprintf(stderr, "unknown operator '%s'\n", word);
	exit(1);
}

static uint32_t action_of(const char *word)
{
	return (uint32_t)strtoul(word, NULL, 0);
}

static int add_rule(scmp_filter_ctx filter)
{
	const char *name = strtok(NULL, " \n"), *action = strtok(NULL, " \n"), *index;
	struct scmp_arg_cmp args[6];
	unsigned int count = 0;
	int number = seccomp_syscall_resolve_name(name);

	while ((index = strtok(NULL, " \n")) && count < 6) {
		args[count].arg = (unsigned int)strtoul(index, NULL, 0);
		args[count].op = operator_of(strtok(NULL, " \n"));
		args[count].datum_a = strtoull(strtok(NULL, " \n"), NULL, 0);
		args[count].datum_b = strtoull(strtok(NULL, " \n"), NULL, 0);
		count++;
	}
	if (number == __NR_SCMP_ERROR)
		return 0;
	return seccomp_rule_add_array(filter, action_of(action), number, count, args);
}

static scmp_filter_ctx new_filter(void)
{
	scmp_filter_ctx filter = seccomp_init(action_of(strtok(NULL, " \n")));
	uint32_t arch = seccomp_arch_resolve_name(strtok(NULL, " \n"));

	if (filter && arch != seccomp_arch_native() &&
	    (seccomp_arch_add(filter, arch) < 0 ||
	     seccomp_arch_remove(filter, seccomp_arch_native()) < 0)) {
		seccomp_release(filter);
		return NULL;
	}
	return filter;
}

static void print_program(scmp_filter_ctx filter)
{
	FILE *file = tmpfile();
	int c;

	if (!file || seccomp_export_bpf(filter, fileno(file)) < 0) {
		printf("- export");
	} else {
		rewind(file);
		while ((c = getc(file)) != EOF)
			printf("%02x", c);
	}
	if (file)
		fclose(file);
	putchar('\n');
}

int main(void)
{
	scmp_filter_ctx filter = NULL;
	char line[4096];
	int failed = 0, rules = 0;

	while (fgets(line, sizeof(line), stdin)) {
		const char *word = strtok(line, " \n");

		if (word && *word == 'p') {
			filter = new_filter();
			failed = filter ? 0 : -EINVAL;
			rules = 0;
		} else if (word && !failed) {
			failed = add_rule(filter);
			rules++;
		} else if (!word) {
			if (!failed && rules > MANY_RULES)
				seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
			if (failed)
				printf("- %s\n", strerror(-failed));
			else
				print_program(filter);
			seccomp_release(filter);
			filter = NULL;
		}
	}
	return 0;
}
