/* Programs whose sections say what to attach them to. */
#include "bpf.h"

LICENSE("GPL");

u64 hits[8];
int wanted_pid;
static void *(*probe_attach_cookie)(void *ctx) = (void *)174;
static long (*seq_write)(void *seq, const void *data, u32 size) = (void *)127;

#define COUNT(slot) do { if (pid_tgid() >> 32 == wanted_pid) hits[slot]++; } while (0)

SEC("tp/syscalls/sys_enter_getppid")
int by_tracepoint(void *ctx) { COUNT(0); return 0; }

SEC("raw_tp/sys_enter")
int by_raw_tracepoint(void *ctx) { COUNT(1); return 0; }

SEC("tp_btf/sys_enter")
int by_tp_btf(u64 *ctx) { COUNT(2); return 0; }

SEC("uprobe/libc.so.6:rand")
int by_uprobe(void *ctx) { COUNT(3); return 0; }

SEC("uretprobe/libc.so.6:rand")
int by_uretprobe(void *ctx) { COUNT(4); return 0; }

#ifndef OLD_LIBBPF
SEC("uprobe.multi/libc.so.6:?rand")
int by_uprobe_multi(void *ctx) { COUNT(5); return 0; }
#endif

struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; } CORE;
struct bpf_iter__task { struct bpf_iter_meta *meta; void *task; } CORE;

SEC("iter/task")
int by_iterator(struct bpf_iter__task *ctx)
{
	char letter = 't';

	if (ctx->task)
		seq_write(ctx->meta->seq, &letter, 1);
	return 0;
}

SEC("xdp")
int without_target(void *ctx) { return 2; }
