/* What an object expects of the kernel: options, variables, functions. */
#include "bpf.h"

LICENSE("GPL");

enum libbpf_tristate { TRI_NO = 0, TRI_YES = 1, TRI_MODULE = 2 };

extern int LINUX_KERNEL_VERSION KCONFIG;
extern bool CONFIG_BPF_SYSCALL KCONFIG WEAK;
extern enum libbpf_tristate CONFIG_BPF_JIT KCONFIG WEAK;
extern char CONFIG_NET KCONFIG WEAK;
extern u64 CONFIG_HZ KCONFIG WEAK;
extern char CONFIG_DEFAULT_HOSTNAME[16] KCONFIG WEAK;
extern bool CONFIG_THAT_NOBODY_HAS KCONFIG WEAK;

extern const void schedule KSYM;
extern const void no_such_symbol KSYM WEAK;
extern const int no_such_variable KSYM WEAK;

struct bpf_iter_num { u64 opaque[1]; };
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) KSYM;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) KSYM;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) KSYM;
extern int bpf_no_such_kfunc(int x) KSYM WEAK;

struct results {
	u64 version, syscall, jit, net, hz, missing_option;
	u64 schedule, missing_symbol, missing_variable, sum, missing_function;
	char hostname[16];
} out;

SEC("tc")
int ask(struct __sk_buff *skb)
{
	struct bpf_iter_num it;
	int *number;

	out.version = LINUX_KERNEL_VERSION;
	out.syscall = CONFIG_BPF_SYSCALL;
	out.jit = CONFIG_BPF_JIT;
	out.net = CONFIG_NET;
	out.hz = CONFIG_HZ;
	out.missing_option = CONFIG_THAT_NOBODY_HAS;
	for (int i = 0; i < 16; i++)
		out.hostname[i] = CONFIG_DEFAULT_HOSTNAME[i];
	out.schedule = (u64)&schedule;
	out.missing_symbol = (u64)&no_such_symbol;
	out.missing_variable = (u64)&no_such_variable;
	bpf_iter_num_new(&it, 0, 5);
	while ((number = bpf_iter_num_next(&it)))
		out.sum += *number;
	bpf_iter_num_destroy(&it);
#ifndef OLD_LIBBPF
	out.missing_function = !bpf_no_such_kfunc;
	if (bpf_no_such_kfunc)
		out.sum = bpf_no_such_kfunc(1);
#endif
	return 0;
}
