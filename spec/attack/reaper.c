/* SPDX-License-Identifier: MIT */
/* Runs a command and reaps all that it leaves: `reaper COMMAND...`. Where process 1 does not, as in
 * a plain container of a CI, what has ended would stay and count against pids.max. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
	pid_t pid, ended;
	int status = 0;

	if (argc < 2 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "reaper: %s\n", argc < 2 ? "a command expected" : strerror(errno));
		return 125;
	}
	if (pid == 0) {
		execvp(argv[1], argv + 1);
		fprintf(stderr, "reaper: %s: %s\n", argv[1], strerror(errno));
		_exit(127);
	}
	do
		ended = wait(&status);
	while (ended != pid && (ended > 0 || errno == EINTR));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
