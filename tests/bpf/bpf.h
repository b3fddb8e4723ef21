/* The few macros and helpers that the test programs use: no libbpf is needed to build them. */
#pragma once

/* OLD_LIBBPF leaves out what the libbpf that Debian 12 has does not know. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed int s32;
typedef signed long long s64;
typedef _Bool bool;

#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
#define WEAK __attribute__((weak))
#define HIDDEN __attribute__((visibility("hidden")))
#define CORE __attribute__((preserve_access_index))
#define KCONFIG __attribute__((section(".kconfig")))
#define KSYM __attribute__((section(".ksyms")))

#define UINT(name, val) int (*name)[val]
#define TYPE(name, val) typeof(val) *name
#define ARRAY(name, val) typeof(val) *name[]

enum {
	MAP_HASH = 1, MAP_ARRAY = 2, MAP_PROG_ARRAY = 3, MAP_PERF = 4, MAP_PERCPU_ARRAY = 6,
	MAP_ARRAY_OF_MAPS = 12, MAP_HASH_OF_MAPS = 13, MAP_RINGBUF = 27, MAP_TASK_STORAGE = 29,
	MAP_BLOOM = 30, MAP_ARENA = 33,
};

static void *(*lookup)(void *map, const void *key) = (void *)1;
static long (*update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*ktime)(void) = (void *)5;
static long (*tail_call)(void *ctx, void *map, u32 index) = (void *)12;
static u64 (*pid_tgid)(void) = (void *)14;
static u64 (*current_task)(void) = (void *)35;
static long (*probe_read_kernel)(void *dst, u32 size, const void *src) = (void *)113;
static long (*loop)(u32 count, void *callback, void *ctx, u64 flags) = (void *)181;
static long (*for_each)(void *map, void *callback, void *ctx, u64 flags) = (void *)164;

struct __sk_buff { u32 len; u32 pkt_type; u32 mark; };

#define LICENSE(text) char _license[] SEC("license") = text
