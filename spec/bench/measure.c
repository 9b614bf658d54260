/* SPDX-License-Identifier: MIT */
/* Runs commands in turns; prints for each run number, microseconds, peak resident KiB, exit status.
 * A program of its own, because a child's peak begins with that of its parent. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COMMANDS 32

extern char **environ;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void run(int number, char **args, const posix_spawn_file_actions_t *actions, int quiet)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
	struct rusage usage;
	double began, took;
	int status = 0, error;
	pid_t pid;

	/* what the kernel still has to take apart of the one before is not this one's: while a
	 * network namespace goes away, another waits to be made */
	nanosleep(&pause, NULL);
	began = now();
	error = posix_spawnp(&pid, args[0], actions, NULL, args, environ);
	if (error != 0) {
		fprintf(stderr, "measure: %s: %s\n", args[0], strerror(error));
		exit(1);
	}
	while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
		;
	took = now() - began;
	if (!quiet)
		printf("%d %.1f %ld %d\n", number, took, usage.ru_maxrss,
		       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int main(int argc, char *argv[])
{
	posix_spawn_file_actions_t actions;
	char **commands[COMMANDS];
	int ncommands = 0;
	long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "+") != 0)
			continue;
		argv[i] = NULL;
		if (i + 1 < argc && ncommands < COMMANDS)
			commands[ncommands++] = argv + i + 1;
	}
	if (rounds <= 0 || ncommands == 0) {
		fprintf(stderr, "usage: measure ROUNDS + COMMAND ARG... [+ COMMAND ARG...]...\n");
		return 2;
	}
	if (posix_spawn_file_actions_init(&actions) != 0 ||
	    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) != 0 ||
	    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0) != 0)
		return 1;
	for (long round = -3; round < rounds; round++) /* the first ones warm up */
		for (int i = 0; i < ncommands; i++)
			run(i + 1, commands[i], &actions, round < 0);
	return 0;
}
