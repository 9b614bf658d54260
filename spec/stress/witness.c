/* SPDX-License-Identifier: MIT */
/* A payload that tells how it is locked up, one fact a line, so that two runs can be compared:
 * witness [stay]. What differs from run to run (numbers of namespaces and mounts) is left out or
 * compared with the caller's, in HOST_NAMESPACES. */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

static void tell_namespaces(void)
{
	static const char *const kinds[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"};
	const char *host = getenv("HOST_NAMESPACES");
	char path[64], target[64];
	ssize_t n;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
		n = readlink(path, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		printf("ns %s %s\n", kinds[i],
		       n < 0                          ? "unknown"
		       : host && strstr(host, target) ? "host"
		                                      : "new");
	}
}

static int starts_with(const char *line, const char *const prefixes[])
{
	for (; *prefixes; prefixes++)
		if (strncmp(line, *prefixes, strlen(*prefixes)) == 0)
			return 1;
	return 0;
}

static void tell_status(void)
{
	static const char *const facts[] = {"Umask:",  "Uid:",    "Gid:",    "Groups:",   "NSpid:",
	                                    "NSpgid:", "NSsid:",  "Cap",     "NoNewPri",  "Seccomp",
	                                    "SigBlk:", "SigIgn:", "SigCgt:", "CoreDumpi", NULL};
	char line[4096];
	FILE *file = fopen("/proc/self/status", "re");

	while (file && fgets(line, sizeof(line), file))
		if (starts_with(line, facts))
			printf("status %s", line);
	if (file)
		fclose(file);
}

/* Mount points with their options, not their numbers: proc_pid_mountinfo(5). */
static void tell_mounts(void)
{
	char line[4096], target[1024], options[512], *rest;
	FILE *file = fopen("/proc/self/mountinfo", "re");

	while (file && fgets(line, sizeof(line), file)) {
		rest = strstr(line, " - ");
		if (rest && sscanf(line, "%*s %*s %*s %*s %1023s %511s", target, options) == 2)
			printf("mount %s %s %.*s\n", target, options, (int)strcspn(rest + 3, " "),
			       rest + 3);
	}
	if (file)
		fclose(file);
}

static void tell_file(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	for (char *c = text; *c; c++)
		if (*c == '\n')
			*c = ' ';
	printf("file %s %s\n", path, n < 0 ? "(unreadable)" : text);
	if (fd >= 0)
		close(fd);
}

static void tell_directory(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);

	printf("directory %s", path);
	for (int i = 0; i < n; i++)
		if (names[i]->d_name[0] != '.')
			printf(" %s", names[i]->d_name);
	printf("\n");
}

static void tell_limits(void)
{
	struct rlimit limit;

	for (int i = 0; i < RLIM_NLIMITS; i++)
		if (getrlimit(i, &limit) == 0)
			printf("rlimit %d %llu %llu\n", i, (unsigned long long)limit.rlim_cur,
			       (unsigned long long)limit.rlim_max);
}

int main(int argc, char *argv[])
{
	struct utsname host;
	char cwd[256];
	int death = 0;

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	tell_namespaces();
	tell_status();
	tell_mounts();
	tell_limits();
	tell_directory("/");
	tell_directory("/dev");
	tell_directory("/proc/self/fd");
	tell_directory("/proc/acpi");
	tell_file("/proc/kcore");
	tell_file("/proc/keys");
	tell_file("/proc/self/oom_score_adj");
	tell_file("/proc/self/uid_map");
	tell_file("/proc/self/gid_map");
	tell_file("/proc/self/setgroups");
	tell_file("/proc/sys/kernel/shm_rmid_forced");
	tell_file("/proc/sys/user/max_user_namespaces");
	tell_file("/sys/class/net/lo/flags");
	tell_file("/etc/shadow");
	prctl(PR_GET_PDEATHSIG, &death);
	if (uname(&host) == 0 && getcwd(cwd, sizeof(cwd)))
		printf("host %s %s %s signal %d\n", host.nodename, host.domainname, cwd, death);
	printf("sees %s\n", access("/proc/1/root/etc/hostname", F_OK) == 0 ? "a host" : "no host");
	printf("unshare %s\n", unshare(CLONE_NEWUSER) == 0 ? "allowed" : "refused");
	for (char **e = environ; *e; e++)
		if (strncmp(*e, "HOST_", 5) != 0)
			printf("env %s\n", *e);
	if (fflush(stdout) != 0)
		return 3;
	if (argc > 1 && strcmp(argv[1], "stay") == 0) {
		close(1);
		for (;;)
			pause();
	}
	return 0;
}
