/* SPDX-License-Identifier: MIT */
/* The least program: ends at once, with success; with an argument it stays until it is killed. */
/* clang-format off */
#if defined(__x86_64__)
__asm__(".globl _start\n"
	"_start:\n"
	"	cmpq $1, (%rsp)\n" /* argc */
	"	jne 1f\n"
	"	mov $60, %eax\n" /* exit */
	"	xor %edi, %edi\n"
	"	syscall\n"
	"1:	mov $34, %eax\n" /* pause */
	"	syscall\n"
	"	jmp 1b\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n"
	"_start:\n"
	"	ldr x0, [sp]\n" /* argc */
	"	cmp x0, #1\n"
	"	b.ne 1f\n"
	"	mov x8, #93\n" /* exit */
	"	mov x0, #0\n"
	"	svc #0\n"
	"1:	mov x8, #73\n" /* ppoll */
	"	mov x0, #0\n"
	"	mov x1, #0\n"
	"	mov x2, #0\n"
	"	mov x3, #0\n"
	"	svc #0\n"
	"	b 1b\n");
#else
#error "no start for this machine yet"
#endif
