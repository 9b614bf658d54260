/* SPDX-License-Identifier: MIT */
/* The floor: the same container as directly as the kernel allows, for `make bench`. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct container {
	const char *rootfs;
	char **args;
	int flags; /* new namespaces */
	int proc;
	const char *failed; /* the child shares our memory, and we sleep until it has executed */
	int errnum;
};

static int loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return -1;
	return close(fd);
}

/* The default set of containers, in bounding, permitted and effective set; nobody else's groups. */
static int drop_capabilities(void)
{
	const unsigned int kept = 1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER |
	                          1U << CAP_FSETID | 1U << CAP_KILL | 1U << CAP_NET_BIND_SERVICE |
	                          1U << CAP_SETFCAP | 1U << CAP_SETGID | 1U << CAP_SETPCAP |
	                          1U << CAP_SETUID | 1U << CAP_SYS_CHROOT;
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{.effective = kept, .permitted = kept}};

	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if ((cap > 31 || !(kept >> cap & 1)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -1;
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return -1;
	return (int)syscall(SYS_capset, &header, data);
}

static const char *set_up(const struct container *c)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return "die with parent";
	if (sethostname("floor", 5) < 0)
		return "host name";
	if ((c->flags & CLONE_NEWNET) && loopback_up() < 0)
		return "loopback";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "propagation";
	if (mount(c->rootfs, c->rootfs, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(c->rootfs) < 0)
		return "root";
	if (c->proc && mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return "proc";
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return "pivot_root";
	if (setsid() < 0)
		return "setsid";
	if (drop_capabilities() < 0)
		return "capabilities";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return "no_new_privs";
	return NULL;
}

static int child(void *arg)
{
	static char *const environment[] = {"PATH=/usr/bin:/bin", "HOME=/", NULL};
	struct container *c = arg;

	c->failed = set_up(c);
	if (!c->failed) {
		execve(c->args[0], c->args, environment);
		c->failed = "exec";
	}
	c->errnum = errno;
	_exit(125);
}

static int launch(struct container *c)
{
	static char stack[16384] __attribute__((aligned(16)));
	int status;
	pid_t pid =
		clone(child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD | c->flags, c);

	if (pid < 0) {
		c->failed = "clone";
		c->errnum = errno;
	} else if (waitpid(pid, &status, 0) < 0) {
		c->failed = "wait";
		c->errnum = errno;
	}
	if (c->failed) {
		fprintf(stderr, "floor: %s: %s\n", c->failed, strerror(c->errnum));
		exit(125);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(int argc, char *argv[])
{
	struct container c = {.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC};
	int option, status = 0;
	long count = 0;

	while ((option = getopt(argc, argv, "+npl:")) != -1) {
		if (option == 'n')
			c.flags |= CLONE_NEWNET;
		else if (option == 'p')
			c.proc = 1;
		else if (option == 'l')
			count = strtol(optarg, NULL, 10);
		else
			return 2;
	}
	if (argc - optind < 2) {
		fprintf(stderr, "usage: floor [-n] [-p] [-l COUNT] ROOTFS COMMAND [ARG...]\n");
		return 2;
	}
	c.rootfs = argv[optind];
	c.args = argv + optind + 1;
	if (count == 0)
		return launch(&c);
	for (long i = 0; i < count && status == 0; i++) {
		double began = now();

		status = launch(&c);
		printf("%.1f\n", now() - began);
	}
	return status;
}
