/* The function that replaces it. */
#include "bpf.h"

LICENSE("GPL");

SEC("freplace/replaceable")
int instead(struct __sk_buff *skb) { return 42; }

SEC("fexit/classify")
int watch(u64 *ctx) { return 0; }
