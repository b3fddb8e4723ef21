/* Maps in maps, program tables, and a map of the old style. */
#include "bpf.h"

LICENSE("GPL");

struct bpf_map_def { u32 type, key_size, value_size, max_entries, map_flags; };
struct bpf_map_def SEC("maps") old_style = {
	.type = MAP_HASH, .key_size = 4, .value_size = 8, .max_entries = 17, .map_flags = 1,
};
struct ____btf_map_old_style { u32 key; u64 value; };
struct ____btf_map_old_style SEC(".maps.____btf_map_old_style") ____btf_map_old_style;

struct inner {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} one SEC(".maps"), two SEC(".maps");

struct {
	UINT(type, MAP_ARRAY_OF_MAPS);
	UINT(max_entries, 4);
	TYPE(key, u32);
	ARRAY(values, struct inner);
} outer SEC(".maps") = {.values = {[1] = &one, [3] = &two}};

int tail_program(struct __sk_buff *skb);

struct {
	UINT(type, MAP_PROG_ARRAY);
	UINT(max_entries, 3);
	UINT(key_size, 4);
	ARRAY(values, int(void *));
} calls SEC(".maps") = {.values = {[2] = (void *)&tail_program}};

SEC("socket")
int tail_program(struct __sk_buff *skb)
{
	return 4242;
}

SEC("socket")
int main_program(struct __sk_buff *skb)
{
	u32 slot = 1, zero = 0;
	u64 found = 5, *value;
	void *map = lookup(&outer, &slot);

	update(&old_style, &slot, &found, 0);
	if (map && (value = lookup(map, &zero)))
		*value += 11;
	tail_call(skb, &calls, 2);
	return 1;
}
