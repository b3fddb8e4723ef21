/* A program that finds the arguments of static probes as libbpf's usdt.bpf.h does. */
#include "bpf.h"

LICENSE("GPL");

struct __bpf_usdt_arg_spec {
	u64 val_off;
	u32 arg_type;
	short reg_off;
	bool arg_signed;
	char arg_bitshift;
};

struct __bpf_usdt_spec {
	struct __bpf_usdt_arg_spec args[12];
	u64 usdt_cookie;
	short arg_cnt;
};

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 256);
	TYPE(key, int);
	TYPE(value, struct __bpf_usdt_spec);
} __bpf_usdt_specs SEC(".maps");

static u64 (*attach_cookie)(void *ctx) = (void *)174;
static long (*probe_read_user)(void *dst, u32 size, const void *src) = (void *)112;

u64 calls, places, count, cookie, first, second, third;

static u64 argument(void *ctx, struct __bpf_usdt_spec *spec, int index)
{
	struct __bpf_usdt_arg_spec *arg = &spec->args[index];
	u64 value = 0;
	void *at;

	if (arg->arg_type == 0)
		value = arg->val_off;
	else if (probe_read_kernel(&value, sizeof(value), ctx + arg->reg_off))
		return 0;
	if (arg->arg_type == 2) {
		at = (void *)value + arg->val_off;
		if (probe_read_user(&value, sizeof(value), at))
			return 0;
	}
	value <<= arg->arg_bitshift;
	if (arg->arg_signed)
		return (s64)value >> arg->arg_bitshift;
	return value >> arg->arg_bitshift;
}

static void take(void *ctx)
{
	int id = attach_cookie(ctx);
	struct __bpf_usdt_spec *spec = lookup(&__bpf_usdt_specs, &id);

	calls++;
	places |= 1ULL << (id & 63);
	if (!spec)
		return;
	count = spec->arg_cnt;
	cookie = spec->usdt_cookie;
	first = argument(ctx, spec, 0);
	second = argument(ctx, spec, 1);
	third = argument(ctx, spec, 2);
}

SEC("usdt//proc/self/exe:bpflens_test:three")
int three(void *ctx) { take(ctx); return 0; }
