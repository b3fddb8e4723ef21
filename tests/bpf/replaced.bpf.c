/* A program with a function that another program may replace. */
#include "bpf.h"

LICENSE("GPL");

WEAK NOINLINE int replaceable(struct __sk_buff *skb)
{
	volatile int result = 1;

	return skb ? result : 0;
}

SEC("tc")
int classify(struct __sk_buff *skb) { return replaceable(skb); }
