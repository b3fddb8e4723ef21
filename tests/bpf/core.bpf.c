/* Every kind of CO-RE question, put to the types of the running kernel. */
#include "bpf.h"

LICENSE("GPL");

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct task_struct *group_leader;
	u32 in_execve : 1;
} CORE;

struct task_struct___other {
	u64 no_such_member;
} CORE;

struct sock_common {
	u16 skc_family;
	union {
		u32 skc_hash;
		u16 skc_u16hashes[2];
	};
} CORE;

struct sock {
	struct sock_common __sk_common;
} CORE;

struct no_such_struct { int x; } CORE;

enum bpf_map_type { BPF_MAP_TYPE_UNSPEC_ = 0, BPF_MAP_TYPE_HASH = 77 };
enum bpf_map_type___no { BPF_MAP_TYPE_NOT_THERE = 5 };
struct list_head { struct list_head *next, *prev; } CORE;

#define EXISTS 2
#define FIELD(x, what) __builtin_preserve_field_info(x, what)

struct results {
	u64 pid, tgid, leader_pid;
	u64 comm_size, comm_offset, pid_signed;
	u64 has_pid, has_other, has_struct, has_missing_struct;
	u64 size_list_head, size_missing;
	u64 enum_value, enum_exists, enum_missing;
	u64 guarded, bit_offset_bytes, family_offset;
	u64 type_local, type_target;
};

struct results out;
int wanted_pid;

SEC("raw_tp/sys_enter")
int ask(void *ctx)
{
	struct task_struct *task = (void *)current_task();
	struct task_struct___other *other = (void *)task;
	struct sock *sk = (void *)0;
	struct task_struct *leader;
	int number;

	if (pid_tgid() >> 32 != wanted_pid)
		return 0;
	probe_read_kernel(&number, sizeof(number), &task->pid);
	out.pid = number;
	probe_read_kernel(&number, sizeof(number), &task->tgid);
	out.tgid = number;
	probe_read_kernel(&leader, sizeof(leader), &task->group_leader);
	probe_read_kernel(&number, sizeof(number), &leader->pid);
	out.leader_pid = number;
	out.comm_size = FIELD(task->comm, 1);
	out.comm_offset = FIELD(task->comm, 0);
	out.pid_signed = FIELD(task->pid, 3);
	out.has_pid = FIELD(task->pid, EXISTS);
	out.has_other = FIELD(other->no_such_member, EXISTS);
	out.has_struct = __builtin_preserve_type_info(*(struct list_head *)0, 0);
	out.has_missing_struct = __builtin_preserve_type_info(*(struct no_such_struct *)0, 0);
	out.size_list_head = __builtin_preserve_type_info(*(struct list_head *)0, 1);
	out.size_missing = __builtin_preserve_type_info(*(struct no_such_struct *)0, 1);
	out.enum_value = __builtin_preserve_enum_value(
		*(enum bpf_map_type *)BPF_MAP_TYPE_HASH, 1);
	out.enum_exists = __builtin_preserve_enum_value(
		*(enum bpf_map_type *)BPF_MAP_TYPE_HASH, 0);
	out.enum_missing = __builtin_preserve_enum_value(
		*(enum bpf_map_type___no *)BPF_MAP_TYPE_NOT_THERE, 0);
	out.family_offset = FIELD(sk->__sk_common.skc_family, 0);
	out.guarded = 1;
	if (FIELD(other->no_such_member, EXISTS)) {
		u64 never;
		probe_read_kernel(&never, sizeof(never), &other->no_such_member);
		out.guarded = never;
	}
	out.type_local = __builtin_btf_type_id(*(struct list_head *)0, 0);
	out.type_target = __builtin_btf_type_id(*(struct list_head *)0, 1);
	return 0;
}

#ifndef OLD_LIBBPF
SEC("?raw_tp/sys_enter")
int unguarded(void *ctx)
{
	struct task_struct___other *other = (void *)current_task();
	u64 value;

	probe_read_kernel(&value, sizeof(value), &other->no_such_member);
	out.guarded = value;
	return 0;
}
#endif
