/* A congestion control, as a table of functions. */
#include "bpf.h"

LICENSE("GPL");

struct sock;
struct ack_sample;

struct tcp_congestion_ops {
	u32 (*ssthresh)(struct sock *sk);
	u32 (*undo_cwnd)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
	char name[16];
};

u64 calls;

SEC("struct_ops/ssthresh")
u32 ours_ssthresh(u64 *ctx) { calls++; return 2; }

SEC("struct_ops/undo")
u32 ours_undo(u64 *ctx) { return 2; }

SEC("struct_ops/avoid")
void ours_avoid(u64 *ctx) { calls++; }

#ifdef BY_LINK
SEC(".struct_ops.link")
#else
SEC(".struct_ops")
#endif
struct tcp_congestion_ops ours = {
	.ssthresh = (void *)ours_ssthresh,
	.undo_cwnd = (void *)ours_undo,
	.cong_avoid = (void *)ours_avoid,
	.name = "bpf_ours",
};
