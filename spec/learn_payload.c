/* SPDX-License-Identifier: MIT */
/* What spec/learn_spec.lua runs in containers: calls that take capabilities, and calls out for
 * trouble. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FILE_NAME "/tmp/payload"

/* Say what a call gave. */
static int tell(const char *what, long r)
{
	printf("%s %ld %s\n", what, r, r < 0 ? strerrorname_np(errno) : "");
	fflush(stdout);
	return 0;
}

static int make(void)
{
	return close(open(FILE_NAME, O_CREAT | O_WRONLY, 0644));
}

static long test_chown(void)
{
	make();
	return chown(FILE_NAME, 33, -1);
}

static long bind_port(int type, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return bind(socket(AF_INET, type, 0), (void *)&address, sizeof(address));
}

static long test_bind_low(void)
{
	return bind_port(SOCK_STREAM, 80);
}

static long test_bind_high(void)
{
	return bind_port(SOCK_STREAM, 8080);
}

static long test_setuid(void)
{
	return setuid(33);
}

static long test_setgid(void)
{
	return setgid(33);
}

static long test_same(void)
{
	return setuid(0) | setgid(0) | setresuid(0, 0, 0) | setpriority(PRIO_PROCESS, 0, 0) |
	       kill(getpid(), 0);
}

static long test_setgroups(void)
{
	gid_t groups[] = {33, 34};

	return setgroups(2, groups);
}

static long test_chmod_other(void)
{
	make();
	return chown(FILE_NAME, 33, -1) | chmod(FILE_NAME, 0600);
}

static long test_own(void)
{
	make();
	return chmod(FILE_NAME, 0600) | chown(FILE_NAME, 0, 0) | utimes(FILE_NAME, NULL) |
	       rename(FILE_NAME, FILE_NAME "2") | unlink(FILE_NAME "2");
}

static long test_utime(void)
{
	struct timeval times[2] = {{1, 0}, {1, 0}};

	make();
	return chown(FILE_NAME, 33, -1) | utimes(FILE_NAME, times);
}

static long test_sgid(void)
{
	struct stat st;

	make();
	if (chown(FILE_NAME, -1, 34) || chmod(FILE_NAME, 02755) || stat(FILE_NAME, &st))
		return -1;
	return st.st_mode & S_ISGID ? 0 : 1; /* it is lost without a word */
}

static long test_sethostname(void)
{
	return sethostname("other", 5);
}

static long test_chroot(void)
{
	return chroot("/tmp");
}

static long test_locked(void)
{
	int fd = open("/srv/locked/file", O_RDONLY);

	return fd < 0 ? -1 : close(fd);
}

static long test_capbset(void)
{
	return prctl(PR_CAPBSET_DROP, 30, 0, 0, 0);
}

static long test_raw(void)
{
	return socket(AF_INET, SOCK_RAW, 1) < 0 ? -1 : 0;
}

static long test_kill_other(void)
{
	int ready[2], hold[2];
	pid_t pid;
	long r;
	char c;

	if (pipe(ready) || pipe(hold))
		return -1;
	pid = fork();
	if (pid == 0) {
		if (setresuid(33, 33, 33))
			_exit(1);
		(void)!write(ready[1], "x", 1);
		(void)!read(hold[0], &c, 1); /* until it is killed */
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1) {
		errno = EPERM;
		return -1;
	}
	r = kill(pid, SIGKILL);
	if (r < 0)
		_exit(tell("kill_other", r)); /* the first of its namespace takes it along */
	waitpid(pid, NULL, 0);
	return r;
}

static long test_setfcap(void)
{
	/* VFS_CAP_REVISION_2, NET_RAW permitted */
	static const unsigned char capability[20] = {0, 0, 0, 2, 0, 0x20};

	make();
	return setxattr(FILE_NAME, "security.capability", capability, sizeof(capability), 0);
}

static long test_sockets(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) < 0 || socket(AF_INET, SOCK_DGRAM, 0) < 0 ? -1 : 0;
}

static long test_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0) < 0 ? -1 : 0;
}

static long test_unshare(void)
{
	return syscall(SYS_unshare, 0x10000000);
}

static long test_ports(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080)};
	int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	int on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return bind(server, (void *)&address, sizeof(address)) | listen(server, 1) |
	       connect(client, (void *)&address, sizeof(address)) | bind_port(SOCK_STREAM, 0) |
	       bind_port(SOCK_DGRAM, 9090); /* which is not TCP */
}

static void *look(void *path)
{
	struct stat st;

	for (int i = 0; i < 200; i++)
		if (stat(path, &st))
			exit(9);
	return NULL;
}

static long test_threads(void)
{
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, look, i % 2 ? "/etc/passwd" : "/etc/group");
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

static void nothing(int signal)
{
	(void)signal;
}

static long test_signals(void)
{
	struct itimerval often = {{0, 500}, {0, 500}};
	struct itimerval never = {{0, 0}, {0, 0}};
	struct stat st;
	long r = 0;

	signal(SIGALRM, nothing);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 300; i++)
		r |= stat("/etc/passwd", &st) < 0 && errno != EINTR;
	setitimer(ITIMER_REAL, &never, NULL);
	return r;
}

static long test_dying(void)
{
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();

		if (pid == 0)
			for (;;)
				close(open("/etc/passwd", O_RDONLY));
		usleep(2000);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return 0;
}

/* All fail, as they would when nobody looked. */
static long test_pointers(void)
{
	char *edge = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long wild = 0x10;
	struct stat st;

	memset(edge, 'a', 4096);
	return syscall(SYS_open, wild, 0) != -1 || syscall(SYS_open, NULL, 0) != -1 ||
	       syscall(SYS_execve, wild, NULL, NULL) != -1 ||
	       syscall(SYS_bind, 0, wild, 16) != -1 || syscall(SYS_bind, 0, &st, 1 << 30) != -1 ||
	       syscall(SYS_mkdir, edge, 0) != -1 || syscall(SYS_rename, wild, edge) != -1 ||
	       syscall(SYS_capset, wild, wild) != -1 ||
	       syscall(SYS_setxattr, "/tmp", wild, wild, 4, 0) != -1 ||
	       syscall(SYS_openat, 1 << 30, "x", 0) != -1 ||
	       syscall(SYS_ioctl, -1, 1, wild) != -1 || syscall(SYS_sendmsg, 0, wild, 0) != -1 ||
	       syscall(SYS_kill, 1 << 30, 0) != -1 ||
	       syscall(SYS_prlimit64, 0, 99, wild, 0) != -1 ||
	       syscall(SYS_openat2, -100, "/etc/passwd", wild, 24) != -1;
}

static long test_names(void)
{
	static const char *const names[] = {"/tmp/\"]]\n--'\\\377\033[31m", "/tmp/ \t", "/tmp/*",
	                                    "/tmp/\200\201"};
	long r = 0;

	for (int i = 0; i < 4; i++)
		r |= close(open(names[i], O_CREAT | O_WRONLY, 0644));
	return r;
}

static long test_many(void)
{
	char name[64];

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "/tmp/d%d", i);
		mkdir(name, 0755);
		snprintf(name, sizeof(name), "/tmp/d%d/f", i);
		close(open(name, O_CREAT | O_WRONLY, 0644));
	}
	return 0;
}

static long test_made(void)
{
	char name[64];
	long r = 0;

	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "/tmp/%d", rand());
		r |= close(open(name, O_CREAT | O_WRONLY, 0644)) | unlink(name);
	}
	return r;
}

/* Files without a name get one: here, in another directory, through the descriptor itself. */
static long test_nameless(void)
{
	static const char *const names[] = {"/work/one/new", "/work/two/new", "/work/one/also"};
	char name[64];
	long r = 0;

	for (int i = 0; i < 3; i++) {
		int fd = open("/work/one", O_TMPFILE | O_RDWR, 0600);

		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		r |= write(fd, "abc", 3) != 3 || ftruncate(fd, 1);
		r |= i == 2 ? linkat(fd, "", AT_FDCWD, names[i], AT_EMPTY_PATH)
		            : linkat(AT_FDCWD, name, AT_FDCWD, names[i], AT_SYMLINK_FOLLOW);
		r |= close(open(names[i], O_RDONLY)) | unlink(names[i]) | close(fd);
	}
	return r;
}

/* What is renamed and linked from one directory to another. */
static long test_moves(void)
{
	return rename("/work/one/file", "/work/two/file") |
	       close(open("/work/two/file", O_WRONLY)) |
	       link("/work/one/other", "/work/two/other") | truncate("/work/two/other", 0) |
	       rename("/work/one/link", "/work/two/link") |
	       rename("/work/one/sub", "/work/two/sub") |
	       close(open("/work/two/sub/file", O_WRONLY)) |
	       syscall(SYS_renameat2, AT_FDCWD, "/work/one/a", AT_FDCWD, "/work/two/b", 2) |
	       close(open("/work/two/b/new", O_CREAT | O_WRONLY, 0600)) |
	       close(open("/work/one/a", O_WRONLY));
}

/* Another mount is no place to move a file to, whoever looks. */
static long test_across(void)
{
	return rename("/work/one/file", "/tmp/file") == -1 && errno == EXDEV ? 0 : 1;
}

/* Ports that the kernel chose are asked for, and used by their numbers. */
static long test_chosen(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET}, other = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	int server = socket(AF_INET, SOCK_STREAM, 0), spare = socket(AF_INET, SOCK_STREAM, 0);
	long r;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	other.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r = bind(server, (void *)&address, length) | bind(spare, (void *)&other, length);
	r |= listen(server, 1) | getsockname(server, (void *)&address, &length);
	r |= connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&address, length);
	r |= getsockname(spare, (void *)&other, &length) | close(spare);
	return r | bind_port(SOCK_STREAM, ntohs(other.sin_port));
}

/* A call that waits for an answer is not interrupted by children that end. */
static long test_children(void)
{
	struct sigaction act = {.sa_handler = nothing};
	long r = sigaction(SIGCHLD, &act, NULL);

	for (int i = 0; i < 200; i++) {
		pid_t pid = fork();
		int fd = dup(1);

		if (pid == 0)
			_exit(0);
		r |= pid < 0 || fd < 0 || close(fd) < 0;
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	return r;
}

static const char *some_path(unsigned int *seed, char *path, size_t size)
{
	static const char *const places[] = {"/work/one", "/work/two", "/work/one/sub", "/work",
	                                     "/tmp"};
	static const char *const names[] = {"file", "other", "link", "sub", "a",
	                                    "b",    "c/d",   "a/e",  "c"};

	snprintf(path, size, "%s/%s", places[rand_r(seed) % 5], names[rand_r(seed) % 9]);
	return path;
}

static long tmpfile_to(const char *directory, const char *path)
{
	char name[64];
	int fd = open(directory, O_TMPFILE | O_RDWR, 0600);
	long r;

	if (fd < 0)
		return fd;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	r = linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
	close(fd);
	return r;
}

static long open_with(const char *path, int flags)
{
	int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC, 0600);

	return fd < 0 ? fd : close(fd);
}

/* Calls about files that chance gives, and what each gave. */
static int chance(unsigned int seed)
{
	char p[64], q[64];

	for (int i = 0; i < 60; i++) {
		int what = (int)(rand_r(&seed) % 17);
		long r = -1;

		some_path(&seed, p, sizeof(p));
		some_path(&seed, q, sizeof(q));
		switch (what) {
		case 0:
			r = open_with(p, O_RDONLY);
			break;
		case 1:
			r = open_with(p, O_WRONLY);
			break;
		case 2:
		case 3:
			r = open_with(p, O_WRONLY | O_CREAT);
			break;
		case 4:
			r = open_with(p, O_RDWR | O_CREAT | O_TRUNC);
			break;
		case 5:
			r = open_with(p, O_RDWR | O_CREAT | O_EXCL);
			break;
		case 6:
		case 7:
			r = mkdir(p, 0755);
			break;
		case 8:
			r = rmdir(p);
			break;
		case 9:
			r = unlink(p);
			break;
		case 10:
		case 11:
			r = rename(p, q);
			break;
		case 12:
			r = link(p, q);
			break;
		case 13:
			r = symlink(q, p);
			break;
		case 14:
			r = syscall(SYS_renameat2, AT_FDCWD, p, AT_FDCWD, q, 2);
			break;
		case 15:
			r = truncate(p, 1);
			break;
		case 16:
			r = tmpfile_to(p, q);
			break;
		}
		printf("%d %s %s: %s\n", what, p, q, r < 0 ? strerrorname_np(errno) : "0");
	}
	return 0;
}

int main(int argc, char *argv[])
{
#define TEST(name)                                                                                 \
	{                                                                                          \
#name, test_##name                                                                 \
	}
	static const struct {
		const char *name;
		long (*run)(void);
	} tests[] = {
		TEST(chown),    TEST(bind_low),    TEST(bind_high),   TEST(setuid),  TEST(setgid),
		TEST(same),     TEST(setgroups),   TEST(chmod_other), TEST(own),     TEST(utime),
		TEST(sgid),     TEST(sethostname), TEST(chroot),      TEST(locked),  TEST(capbset),
		TEST(raw),      TEST(kill_other),  TEST(setfcap),     TEST(sockets), TEST(netlink),
		TEST(unshare),  TEST(ports),       TEST(threads),     TEST(signals), TEST(dying),
		TEST(pointers), TEST(names),       TEST(many),        TEST(made),    TEST(nameless),
		TEST(moves),    TEST(across),      TEST(chosen),      TEST(children)};

	for (size_t i = 0; argc > 1 && i < sizeof(tests) / sizeof(tests[0]); i++)
		if (strcmp(argv[1], tests[i].name) == 0)
			return tell(argv[1], tests[i].run());
	if (argc > 2 && strcmp(argv[1], "chance") == 0)
		return chance((unsigned int)atoi(argv[2]));
	if (argc > 1 && strcmp(argv[1], "getppid") == 0)
		return tell("getppid", syscall(SYS_getppid));
	return 1;
}
