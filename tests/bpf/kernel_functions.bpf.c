/* Programs on kernel functions, by every section that names one. */
#include "bpf.h"

LICENSE("GPL");

u64 hits[16];
int wanted_pid;

#define COUNT(slot) do { if (pid_tgid() >> 32 == wanted_pid) hits[slot]++; } while (0)

SEC("kprobe/do_sys_openat2")
int by_kprobe(void *ctx) { COUNT(0); return 0; }

SEC("kretprobe/do_sys_openat2")
int by_kretprobe(void *ctx) { COUNT(1); return 0; }

SEC("ksyscall/openat")
int by_ksyscall(void *ctx) { COUNT(2); return 0; }

SEC("kretsyscall/openat")
int by_kretsyscall(void *ctx) { COUNT(3); return 0; }

SEC("fentry/do_sys_openat2")
int by_fentry(u64 *ctx) { COUNT(4); return 0; }

SEC("fexit/do_sys_openat2")
int by_fexit(u64 *ctx) { COUNT(5); return 0; }

SEC("lsm/file_open")
int by_lsm(u64 *ctx) { COUNT(6); return 0; }

SEC("lsm.s/file_open")
int by_sleepable_lsm(u64 *ctx) { COUNT(7); return 0; }

#ifdef MULTI
SEC("kprobe.multi/do_sys_openat*")
int by_kprobe_multi(void *ctx) { COUNT(8); return 0; }

SEC("kretprobe.multi/do_sys_openat*")
int by_kretprobe_multi(void *ctx) { COUNT(9); return 0; }
#endif
