/* SPDX-License-Identifier: MIT */
/* Names of the kernel's numbers, each list in one place. */
#include "names.h"

#include <linux/capability.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "step.h"
#include "sys.h"
#include "util.h"

const struct carton_choice carton_namespace_names[] = {
	{"cgroup", CLONE_NEWCGROUP}, {"ipc", CLONE_NEWIPC}, {"mnt", CLONE_NEWNS},
	{"net", CLONE_NEWNET},       {"pid", CLONE_NEWPID}, {"time", CLONE_NEWTIME},
	{"user", CLONE_NEWUSER},     {"uts", CLONE_NEWUTS}, {NULL, 0}};

const struct carton_choice carton_propagation_names[] = {{"private", MS_PRIVATE},
                                                         {"slave", MS_SLAVE},
                                                         {"shared", MS_SHARED},
                                                         {"unbindable", MS_UNBINDABLE},
                                                         {"rprivate", MS_PRIVATE | MS_REC},
                                                         {"rslave", MS_SLAVE | MS_REC},
                                                         {"rshared", MS_SHARED | MS_REC},
                                                         {"runbindable", MS_UNBINDABLE | MS_REC},
                                                         {NULL, 0}};

#define S(name)                                                                                    \
	{                                                                                          \
#name, name                                                                        \
	}
static const struct carton_choice signal_names[] = {
	S(SIGHUP),  S(SIGINT),  S(SIGQUIT),   S(SIGILL),    S(SIGTRAP), S(SIGABRT),  S(SIGBUS),
	S(SIGFPE),  S(SIGKILL), S(SIGUSR1),   S(SIGSEGV),   S(SIGUSR2), S(SIGPIPE),  S(SIGALRM),
	S(SIGTERM), S(SIGCHLD), S(SIGCONT),   S(SIGSTOP),   S(SIGTSTP), S(SIGTTIN),  S(SIGTTOU),
	S(SIGURG),  S(SIGXCPU), S(SIGXFSZ),   S(SIGVTALRM), S(SIGPROF), S(SIGWINCH), S(SIGIO),
	S(SIGPWR),  S(SIGSYS),  S(SIGSTKFLT), {NULL, 0}};
#undef S

#define C(name)                                                                                    \
	{                                                                                          \
#name, CAP_##name                                                                  \
	}
const struct carton_choice carton_capability_names[] = {C(CHOWN),
                                                        C(DAC_OVERRIDE),
                                                        C(DAC_READ_SEARCH),
                                                        C(FOWNER),
                                                        C(FSETID),
                                                        C(KILL),
                                                        C(SETGID),
                                                        C(SETUID),
                                                        C(SETPCAP),
                                                        C(LINUX_IMMUTABLE),
                                                        C(NET_BIND_SERVICE),
                                                        C(NET_BROADCAST),
                                                        C(NET_ADMIN),
                                                        C(NET_RAW),
                                                        C(IPC_LOCK),
                                                        C(IPC_OWNER),
                                                        C(SYS_MODULE),
                                                        C(SYS_RAWIO),
                                                        C(SYS_CHROOT),
                                                        C(SYS_PTRACE),
                                                        C(SYS_PACCT),
                                                        C(SYS_ADMIN),
                                                        C(SYS_BOOT),
                                                        C(SYS_NICE),
                                                        C(SYS_RESOURCE),
                                                        C(SYS_TIME),
                                                        C(SYS_TTY_CONFIG),
                                                        C(MKNOD),
                                                        C(LEASE),
                                                        C(AUDIT_WRITE),
                                                        C(AUDIT_CONTROL),
                                                        C(SETFCAP),
                                                        C(MAC_OVERRIDE),
                                                        C(MAC_ADMIN),
                                                        C(SYSLOG),
                                                        C(WAKE_ALARM),
                                                        C(BLOCK_SUSPEND),
                                                        C(AUDIT_READ),
                                                        C(PERFMON),
                                                        C(BPF),
                                                        C(CHECKPOINT_RESTORE),
                                                        {NULL, 0}};
#undef C

const struct carton_choice carton_rlimit_names[] = {{"as", RLIMIT_AS},
                                                    {"core", RLIMIT_CORE},
                                                    {"cpu", RLIMIT_CPU},
                                                    {"data", RLIMIT_DATA},
                                                    {"fsize", RLIMIT_FSIZE},
                                                    {"locks", RLIMIT_LOCKS},
                                                    {"memlock", RLIMIT_MEMLOCK},
                                                    {"msgqueue", RLIMIT_MSGQUEUE},
                                                    {"nice", RLIMIT_NICE},
                                                    {"nofile", RLIMIT_NOFILE},
                                                    {"nproc", RLIMIT_NPROC},
                                                    {"rss", RLIMIT_RSS},
                                                    {"rtprio", RLIMIT_RTPRIO},
                                                    {"rttime", RLIMIT_RTTIME},
                                                    {"sigpending", RLIMIT_SIGPENDING},
                                                    {"stack", RLIMIT_STACK},
                                                    {NULL, 0}};

const struct carton_choice carton_persona_names[] = {
	{"linux", PER_LINUX}, {"linux32", PER_LINUX32},
	{"bsd", PER_BSD},     {"no_randomize", ADDR_NO_RANDOMIZE},
	{"uname26", UNAME26}, {NULL, 0}};

const struct carton_choice carton_policy_names[] = {{"other", SCHED_OTHER},
                                                    {"batch", SCHED_BATCH},
                                                    {"idle", SCHED_IDLE},
                                                    {"fifo", SCHED_FIFO},
                                                    {"rr", SCHED_RR},
                                                    {"deadline", 6},
                                                    {NULL, 0}};

const struct carton_choice carton_ioprio_names[] = {{"none", IOPRIO_CLASS_NONE},
                                                    {"realtime", IOPRIO_CLASS_RT},
                                                    {"best-effort", IOPRIO_CLASS_BE},
                                                    {"idle", IOPRIO_CLASS_IDLE},
                                                    {NULL, 0}};

const struct carton_choice carton_device_names[] = {
	{"char", S_IFCHR}, {"block", S_IFBLK}, {NULL, 0}};

const struct carton_choice carton_security_module_names[] = {
	{"selinux", CARTON_SELINUX}, {"apparmor", CARTON_APPARMOR}, {NULL, 0}};

const char *carton_name_of(const struct carton_choice *choices, unsigned long value)
{
	for (; choices->name; choices++)
		if (choices->value == value)
			return choices->name;
	return NULL;
}

int carton_signal_number(const char *name)
{
	char *end;
	long n;

	if (strncmp(name, "SIG", 3) == 0)
		name += 3;
	for (const struct carton_choice *c = signal_names; c->name; c++)
		if (strcmp(c->name + 3, name) == 0)
			return (int)c->value;
	if (strncmp(name, "RTM", 3) != 0 || strlen(name) < 5)
		return 0;
	n = strtol(name + 5, &end, 10);
	if (*end || (name[5] && (name[6] < '0' || name[6] > '9')))
		return 0;
	if (strncmp(name, "RTMIN", 5) == 0 && name[5] != '-' && n <= SIGRTMAX - SIGRTMIN)
		return SIGRTMIN + (int)n;
	if (strncmp(name, "RTMAX", 5) == 0 && name[5] != '+' && n >= SIGRTMIN - SIGRTMAX)
		return SIGRTMAX + (int)n;
	return 0;
}

void carton_push_signal(lua_State *L, int number)
{
	if (number == SIGRTMIN)
		lua_pushliteral(L, "SIGRTMIN");
	else if (number > SIGRTMIN && number <= SIGRTMAX)
		lua_pushfstring(L, "SIGRTMIN+%d", number - SIGRTMIN);
	else
		lua_pushstring(L, carton_name_of(signal_names, (unsigned long)number));
}

const char *carton_call_word(uint32_t call)
{
	static const char *const words[] = {
#define X(name, word) word,
		CARTON_CALLS(X)
#undef X
	};

	return call < countof(words) ? words[call] : "";
}
