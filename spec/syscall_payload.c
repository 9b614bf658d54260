/* SPDX-License-Identifier: MIT */
/* What spec/syscall_spec.lua runs in containers: calls that a shell can't make. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int stop;
static char *path;

/* Say what a call gave. */
static int tell(const char *what, long r)
{
	printf("%s %ld %s\n", what, r, r < 0 ? strerrorname_np(errno) : "");
	fflush(stdout);
	return 0;
}

static void *change(void *unused)
{
	(void)unused;
	for (char c = 'a'; !stop; c = (char)('a' + 'b' - c))
		for (int i = 5; i < 9; i++)
			((volatile char *)path)[i] = c;
	return NULL;
}

/* Change a path while it is looked at. */
static int toctou(void)
{
	pthread_t thread;
	int r = 0;

	path = strdup("/tmp/aaaa");
	pthread_create(&thread, NULL, change, NULL);
	for (int i = 0; i < 300; i++)
		r |= mkdir(path, 0700);
	stop = 1;
	pthread_join(thread, NULL);
	return tell("toctou", r);
}

static void *ask(void *unused)
{
	(void)unused;
	for (int i = 0; i < 200; i++)
		if (syscall(SYS_getppid) != 42)
			exit(9);
	return NULL;
}

static int threads(void)
{
	pthread_t all[8];

	for (int i = 0; i < 8; i++)
		pthread_create(&all[i], NULL, ask, NULL);
	for (int i = 0; i < 8; i++)
		pthread_join(all[i], NULL);
	return tell("threads", 0);
}

static void count(int number)
{
	(void)number;
	stop++;
}

/* Signals while it waits for answers: a call is made once, and answered. */
static int signals(void)
{
	struct itimerval often = {{0, 1000}, {0, 1000}};
	struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
	int failed = 0;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 500; i++)
		failed += syscall(SYS_getppid) != 42;
	memset(&often, 0, sizeof(often));
	setitimer(ITIMER_REAL, &often, NULL);
	return tell(stop > 0 ? "signals" : "none came", failed);
}

/* A string that ends with the last byte of its page, nothing behind; one without an end; none. */
static int edges(void)
{
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(pages + 4096, 4096);
	strcpy(pages + 4096 - 10, "/tmp/edge");
	tell("edge", mkdir(pages + 4096 - 10, 0700));
	memset(pages, 'x', 4096);
	tell("endless", mkdir(pages, 0700));
	tell("null", mkdir(NULL, 0700));
	return tell("nowhere", mkdir((char *)8, 0700));
}

/* Children that ask and are killed while they wait. */
static int dying(void)
{
	for (int i = 0; i < 50; i++) {
		pid_t child = fork();

		if (child == 0) {
			syscall(SYS_getppid);
			_exit(0);
		}
		usleep(500);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	return tell("dying", 0);
}

static int bomb(void)
{
	for (int i = 0; i < 200; i++) {
		pid_t child = fork();

		if (child < 0)
			break;
		if (child == 0)
			for (;;)
				syscall(SYS_getppid);
	}
	usleep(200000);
	return tell("bomb", 0);
}

/* What a program has above its three descriptors. */
static int descriptors(void)
{
	int n = 0;

	for (int fd = 3; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return tell("descriptors", n);
}

/* Looks into every process that comes, as soon as it may, until it is killed. */
static int peek(void)
{
	static const char *const words[] = {"launcher", "program"};
	unsigned long self = getauxval(AT_ENTRY), aux[64];
	int told[2] = {0};

	for (int pid = 2;; pid = pid < 32 ? pid + 1 : 2) {
		char name[32];
		ssize_t n = -1;
		int fd;

		snprintf(name, sizeof(name), "/proc/%d/auxv", pid);
		fd = open(name, O_RDONLY);
		if (fd >= 0) {
			n = read(fd, aux, sizeof(aux));
			close(fd);
		}
		for (ssize_t i = 0; n > 0 && (size_t)i + 2 <= (size_t)n / sizeof(aux[0]); i += 2) {
			int own = aux[i + 1] == self;

			if (aux[i] == AT_ENTRY && !told[own]++)
				dprintf(1, "%s\n", words[own]);
		}
	}
}

static int injected(void)
{
	char text[16] = "";
	int fd = open("/etc/secret", O_RDONLY);

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) >= 0)
		printf("%s %s\n", text, fcntl(fd, F_GETFD) & FD_CLOEXEC ? "cloexec" : "kept");
	return tell("injected", fd);
}

int main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		int (*run)(void);
	} all[] = {{"toctou", toctou},     {"threads", threads},
	           {"signals", signals},   {"edges", edges},
	           {"dying", dying},       {"bomb", bomb},
	           {"injected", injected}, {"descriptors", descriptors},
	           {"peek", peek}};
	char buffer[16] = "untouched";

	for (size_t i = 0; argc > 1 && i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(argv[1], all[i].name) == 0)
			return all[i].run();
	if (argc > 1 && strcmp(argv[1], "written") == 0) {
		tell("written", syscall(SYS_getrandom, buffer, sizeof(buffer), 0));
		puts(buffer);
	} else if (argc > 2 && strcmp(argv[1], "times") == 0) {
		long n = 0;

		for (long i = atol(argv[2]); i > 0; i--)
			n += syscall(SYS_getppid);
		tell("times", n);
	} else if (argc > 1 && strcmp(argv[1], "attach") == 0) {
		tell("attach", ptrace(PTRACE_ATTACH, 1, 0, 0));
	} else if (argc > 1 && strcmp(argv[1], "sendmsg") == 0) {
		tell("sendmsg", syscall(SYS_sendmsg, -1, NULL, 0, 0, 0, 0));
		tell("sendmsg", syscall(SYS_sendmsg, -1, NULL, 0, -1, -1, -1));
	} else {
		tell("getppid", syscall(SYS_getppid));
	}
	return 0;
}
