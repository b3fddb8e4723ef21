/* Global variables of every kind, maps in BTF, functions that call each other. */
#include "bpf.h"

LICENSE("Dual BSD/GPL");

struct key { u32 cpu; u32 slot; };
struct value { u64 count; char name[16]; };

struct {
	UINT(type, MAP_HASH);
	UINT(max_entries, 64);
	TYPE(key, struct key);
	TYPE(value, struct value);
} table SEC(".maps");

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 3);
	UINT(key_size, 4);
	UINT(value_size, 8);
	UINT(map_flags, 1024);
} plain SEC(".maps");

struct {
	UINT(type, MAP_RINGBUF);
	UINT(max_entries, 8192);
} events SEC(".maps");

const volatile u32 factor = 3;
const volatile char greeting[] = "hello";
int start = 40;
static volatile int hidden_start = 2;
u64 counted;
u32 table_of_numbers[4] = {1, 2, 3, 4};
int other SEC(".data.other") = 7;

static NOINLINE int twice(int x)
{
	return x * 2 + hidden_start;
}

NOINLINE int global_add(int a, int b)
{
	return twice(a) + b;
}

HIDDEN NOINLINE int hidden_add(int a, int b)
{
	return a + b + counted;
}

static int count_one(u32 index, u64 *sum)
{
	*sum += table_of_numbers[index & 3];
	return 0;
}

SEC("socket")
int first(struct __sk_buff *skb)
{
	struct key key = {1, 2};
	struct value value = {.count = start, .name = "written"};
	u64 sum = 0;

	counted++;
	update(&table, &key, &value, 0);
	loop(4, count_one, &sum, 0);
	return global_add(start, factor) + sum + other;
}

SEC("socket")
int second(struct __sk_buff *skb)
{
	return hidden_add(start, greeting[skb->mark & 3]);
}

#ifndef OLD_LIBBPF
SEC("?tc")
int not_loaded(struct __sk_buff *skb)
{
	return 0;
}
#endif
