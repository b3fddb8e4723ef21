/* Objects of many kinds, for what looks at them from outside. */
#include "bpf.h"

LICENSE("GPL");

volatile const char bpf_metadata_author[] SEC(".rodata") = "zoo";
volatile const int bpf_metadata_rev SEC(".rodata") = 42;
u64 hits = 0;
int mode = 3;

enum state { STATE_NEW, STATE_OLD = 7, STATE_NEGATIVE = -2 };
typedef u64 counter;
struct inner { signed char small; short medium; s64 large; };
struct key { u32 saddr; u16 port; u8 proto; char tag; };
struct value {
	counter packets;
	enum state state;
	char name[16];
	char letters[3];
	bool marked;
	u8 mac[6];
	int low : 4;
	int wide : 13;
	void *pointer;
	struct inner inner[2];
	union { u32 number; u8 bytes[4]; } either;
};

struct { UINT(type, MAP_HASH); UINT(max_entries, 64); TYPE(key, struct key); TYPE(value, struct value); } flows SEC(".maps");
struct { UINT(type, MAP_ARRAY); UINT(max_entries, 4); TYPE(key, u32); TYPE(value, u64); } counters SEC(".maps");
struct { UINT(type, 5); UINT(max_entries, 16); TYPE(key, u32); TYPE(value, u64); } percpu SEC(".maps");
struct { UINT(type, MAP_PROG_ARRAY); UINT(max_entries, 4); UINT(key_size, 4); UINT(value_size, 4); } jumps SEC(".maps");

static NOINLINE int helper(int x) { return x * 3 + mode; }

SEC("socket") int count(struct __sk_buff *skb)
{
	u32 key = 0;
	u64 *value = lookup(&counters, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
	if (skb->len > 1000)
		return helper(skb->len);
	return 0;
}

SEC("tc") int a_rather_long_program_name(struct __sk_buff *skb) { hits++; return -1; }
SEC("xdp") int pass(void *ctx) { hits += ktime(); return 2; }
SEC("cgroup_skb/egress") int out(struct __sk_buff *skb) { return 1; }
SEC("cgroup_skb/ingress") int in(struct __sk_buff *skb) { return 1; }
