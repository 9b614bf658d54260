/* SPDX-License-Identifier: MIT */
/* The floor: the same container as directly as the kernel allows, for `make bench`. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct container {
	const char *rootfs;
	char **args;
	int flags; /* new namespaces */
	int proc;
	int walls;                /* all that a container of Carton's has, and limits */
	struct sock_fprog filter; /* len 0: none */
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

/* ---- walls: cgroups of v1 with limits, the usual mounts, masked and read-only paths ---- */

static const char *const groups[] = {"/sys/fs/cgroup/memory/floor", "/sys/fs/cgroup/cpu/floor",
                                     "/sys/fs/cgroup/pids/floor", "/sys/fs/cgroup/devices/floor"};

static const struct {
	int group;
	const char *file, *value;
} limits[] = {
	{0, "memory.limit_in_bytes", "268435456"},
	{1, "cpu.cfs_period_us", "100000"},
	{1, "cpu.cfs_quota_us", "100000"},
	{2, "pids.max", "64"},
	{3, "devices.deny", "a"},
	{3, "devices.allow", "c *:* m"},
	{3, "devices.allow", "b *:* m"},
	{3, "devices.allow", "c 1:3 rwm"},
	{3, "devices.allow", "c 1:5 rwm"},
	{3, "devices.allow", "c 1:7 rwm"},
	{3, "devices.allow", "c 1:8 rwm"},
	{3, "devices.allow", "c 1:9 rwm"},
	{3, "devices.allow", "c 5:0 rwm"},
	{3, "devices.allow", "c 5:2 rwm"},
	{3, "devices.allow", "c 136:* rwm"},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int put(const char *directory, const char *file, const char *value)
{
	char path[128];
	int fd, r;

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	r = write(fd, value, strlen(value)) < 0 ? -1 : 0;
	close(fd);
	return r;
}

static int make_groups(void)
{
	for (size_t i = 0; i < COUNT(groups); i++)
		if (mkdir(groups[i], 0755) < 0)
			return -1;
	for (size_t i = 0; i < COUNT(limits); i++)
		if (put(groups[limits[i].group], limits[i].file, limits[i].value) < 0)
			return -1;
	return 0;
}

static int remove_groups(void)
{
	int r = 0;

	for (size_t i = 0; i < COUNT(groups); i++)
		r = rmdir(groups[i]) < 0 ? -1 : r;
	return r;
}

static int enter_groups(void)
{
	for (size_t i = 0; i < COUNT(groups); i++)
		if (put(groups[i], "tasks", "0") < 0)
			return -1;
	return unshare(CLONE_NEWCGROUP);
}

static int make_dev(void)
{
	static const struct {
		const char *path;
		int major, minor;
	} nodes[] = {{"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
	             {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
	static const char *const links[][2] = {{"/proc/self/fd", "dev/fd"},
	                                       {"/proc/self/fd/0", "dev/stdin"},
	                                       {"/proc/self/fd/1", "dev/stdout"},
	                                       {"/proc/self/fd/2", "dev/stderr"},
	                                       {"pts/ptmx", "dev/ptmx"}};
	const int flags = MS_NOSUID | MS_NOEXEC;

	if (mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k") < 0)
		return -1;
	umask(0);
	for (size_t i = 0; i < COUNT(nodes); i++)
		if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) <
		    0)
			return -1;
	for (size_t i = 0; i < COUNT(links); i++)
		if (symlink(links[i][0], links[i][1]) < 0)
			return -1;
	if (mkdir("dev/pts", 0755) < 0 || mkdir("dev/shm", 0755) < 0 ||
	    mkdir("dev/mqueue", 0755) < 0)
		return -1;
	umask(022);
	if (mount("devpts", "dev/pts", "devpts", flags,
	          "newinstance,ptmxmode=0666,mode=620,gid=5") < 0 ||
	    mount("shm", "dev/shm", "tmpfs", flags | MS_NODEV, "mode=1777,size=65536k") < 0 ||
	    mount("mqueue", "dev/mqueue", "mqueue", flags | MS_NODEV, NULL) < 0)
		return -1;
	return mount("sysfs", "sys", "sysfs", flags | MS_NODEV | MS_RDONLY, NULL);
}

static int mask_paths(void)
{
	static const char *const masked[] = {"proc/acpi",
	                                     "proc/asound",
	                                     "proc/interrupts",
	                                     "proc/kcore",
	                                     "proc/keys",
	                                     "proc/latency_stats",
	                                     "proc/sched_debug",
	                                     "proc/scsi",
	                                     "proc/timer_list",
	                                     "proc/timer_stats",
	                                     "sys/devices/virtual/powercap",
	                                     "sys/firmware"};
	static const char *const readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys",
	                                       "proc/sysrq-trigger"};
	const int flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	for (size_t i = 0; i < COUNT(masked); i++)
		if (mount("dev/null", masked[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT &&
		    (errno != ENOTDIR || mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, NULL) < 0))
			return -1;
	for (size_t i = 0; i < COUNT(readonly); i++)
		if (mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL) < 0
		            ? errno != ENOENT
		            : mount(NULL, readonly[i], NULL,
		                    MS_BIND | MS_REMOUNT | MS_RDONLY | flags, NULL) < 0)
			return -1;
	return 0;
}

static int read_filter(const char *path, struct sock_fprog *filter)
{
	static struct sock_filter program[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, program, sizeof(program));

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return -1;
	filter->filter = program;
	filter->len = (unsigned short)((size_t)n / sizeof(program[0]));
	return 0;
}

static const char *set_up(const struct container *c)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return "die with parent";
	if (c->walls && enter_groups() < 0)
		return "cgroups";
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
	if (c->walls && make_dev() < 0)
		return "dev";
	if (c->walls && mask_paths() < 0)
		return "masked paths";
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return "pivot_root";
	if (setsid() < 0)
		return "setsid";
	if (c->walls && syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0)
		return "keyring";
	if (drop_capabilities() < 0)
		return "capabilities";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return "no_new_privs";
	if (c->filter.len && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &c->filter) < 0)
		return "seccomp";
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
	pid_t pid;

	if (c->walls && make_groups() < 0) {
		fprintf(stderr, "floor: cgroups: %s\n", strerror(errno));
		exit(125);
	}
	pid = clone(child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD | c->flags, c);
	if (pid < 0) {
		c->failed = "clone";
		c->errnum = errno;
	} else if (waitpid(pid, &status, 0) < 0) {
		c->failed = "wait";
		c->errnum = errno;
	}
	if (c->walls && remove_groups() < 0 && !c->failed) {
		c->failed = "cgroups";
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

	while ((option = getopt(argc, argv, "+npws:l:")) != -1) {
		if (option == 'n')
			c.flags |= CLONE_NEWNET;
		else if (option == 'p')
			c.proc = 1;
		else if (option == 'w')
			c.walls = 1;
		else if (option == 's' && read_filter(optarg, &c.filter) == 0)
			continue;
		else if (option == 'l')
			count = strtol(optarg, NULL, 10);
		else
			return 2;
	}
	if (argc - optind < 2) {
		fprintf(stderr, "usage: floor [-n] [-p] [-w] [-s FILTER] [-l COUNT] ROOTFS COMMAND "
		                "[ARG...]\n");
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
