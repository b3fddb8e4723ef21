"""Fake maps and helpers, through programs that use them."""

import pytest

from bpflens.asm.assemble import assemble
from bpflens.asm.fake_kernel import FakeKernel, c_format
from bpflens.asm.fake_map import create, from_spec
from bpflens.asm.interpreter import Machine
from bpflens.asm.memory import MachineError, Memory
from bpflens.spec import MapSpec
from bpflens.uapi import bpf
from bpflens.uapi.errno import E2BIG, EEXIST, EFAULT, EINVAL, ENOENT

COUNT = """
    r6 = *(u64 *)(r1 + 0)
    *(u64 *)(r10 - 8) = r6
    r2 = r10
    r2 += -8
    r1 = map[fd:1]
    call bpf_map_lookup_elem
    if r0 == 0 goto new
    r1 = 1
    lock *(u64 *)(r0 + 0) += r1
    r0 = 0
    exit
new:
    *(u64 *)(r10 - 16) = 1
    r1 = map[fd:1]
    r2 = r10
    r2 += -8
    r3 = r10
    r3 += -16
    r4 = 0
    call bpf_map_update_elem
    exit
"""


def u64(value):
    return (value & (1 << 64) - 1).to_bytes(8, "little")


def count(fake, keys, cpu=0):
    machine = Machine(assemble(COUNT), maps={1: fake})
    return [machine.run(u64(key), cpu=cpu) for key in keys]


def test_a_hash_counts_and_fills_up():
    fake = create(bpf.BPF_MAP_TYPE_HASH, 8, 8, 2)
    assert count(fake, [1, 2, 1, 3]) == [0, 0, 0, (1 << 64) - E2BIG]
    assert dict(fake.items()) == {u64(1): u64(2), u64(2): u64(1)}
    assert fake.delete(u64(1)) == 0
    assert fake.delete(u64(1)) == -ENOENT
    assert len(fake) == 1
    assert 2 in fake
    assert 1 not in fake


def test_an_lru_hash_forgets_the_least_recently_used():
    fake = create(bpf.BPF_MAP_TYPE_LRU_HASH, 8, 8, 2)
    count(fake, [1, 2, 1, 3])
    assert set(fake) == {u64(1), u64(3)}


def test_per_cpu_values_are_apart():
    fake = create(bpf.BPF_MAP_TYPE_PERCPU_HASH, 8, 8, 4, cpus=3)
    count(fake, [1], cpu=0)
    count(fake, [1, 1], cpu=2)
    assert fake[1] == [u64(1), u64(0), u64(2)]


def test_update_flags_are_the_kernels():
    fake = create(bpf.BPF_MAP_TYPE_HASH, 8, 8, 4)
    assert fake.update(u64(1), u64(1), bpf.BPF_EXIST, None) == -ENOENT
    assert fake.update(u64(1), u64(1), bpf.BPF_NOEXIST, None) == 0
    assert fake.update(u64(1), u64(1), bpf.BPF_NOEXIST, None) == -EEXIST
    array = create(bpf.BPF_MAP_TYPE_ARRAY, 4, 8, 2)
    assert array.update(bytes(4), u64(1), bpf.BPF_NOEXIST, None) == -EEXIST
    assert array.update(b"\2\0\0\0", u64(1), 0, None) == -E2BIG
    assert array.delete(bytes(4)) == -EINVAL


def test_a_replaced_hash_value_stays_readable_through_old_pointers():
    fake = create(bpf.BPF_MAP_TYPE_HASH, 8, 8, 4)
    fake[1] = u64(5)
    old = fake.lookup(u64(1), 0)
    fake[1] = u64(6)
    assert fake.memory.load(old, 8) == 5
    assert fake[1] == u64(6)


def test_specs_become_maps_with_their_contents():
    spec = MapSpec("m", bpf.BPF_MAP_TYPE_ARRAY, 4, 4, 2, contents=[(b"\1\0\0\0", b"abcd")])
    assert from_spec(spec)[1] == b"abcd"
    with pytest.raises(ValueError, match="no fake of map type xskmap"):
        create(bpf.BPF_MAP_TYPE_XSKMAP)


RING = """
    r1 = map[fd:1]
    r2 = 16
    r3 = 0
    call bpf_ringbuf_reserve
    if r0 == 0 goto full
    *(u64 *)(r0 + 0) = 0x11
    *(u64 *)(r0 + 8) = 0x22
    r1 = r0
    r2 = 0
    call bpf_ringbuf_submit
    r0 = 0
    exit
full:
    r0 = 1
    exit
"""


def test_ring_buffer_records_arrive_until_it_is_full():
    ring = create(bpf.BPF_MAP_TYPE_RINGBUF, max_entries=64)
    machine = Machine(assemble(RING), maps={1: ring})
    assert [machine.run() for _ in range(3)] == [0, 0, 1]
    assert ring.drain() == [u64(0x11) + u64(0x22)] * 2
    assert machine.run() == 0
    with pytest.raises(MachineError, match="beyond a value"):
        Machine(assemble(RING.replace("r0 + 8", "r0 + 12")), maps={1: ring}).run()


def test_perf_output_says_its_cpu():
    events = create(bpf.BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 4)
    text = """
        r2 = map[fd:1]
        r3 = 0xffffffff ll
        *(u64 *)(r10 - 8) = 7
        r4 = r10
        r4 += -8
        r5 = 8
        call bpf_perf_event_output
        exit
    """
    assert Machine(assemble(text), maps={1: events}).run(bytes(8), cpu=3) == 0
    assert events.records == [(3, u64(7))]


LOOP = """
    r6 = r1
    *(u64 *)(r10 - 8) = 0
    r1 = map[fd:1]
    r2 = func[visit]
    r3 = r10
    r3 += -8
    r4 = 0
    call bpf_for_each_map_elem
    r1 = *(u64 *)(r10 - 8)
    r0 <<= 32
    r0 |= r1
    exit
visit:
    r3 = *(u64 *)(r3 + 0)
    r1 = *(u64 *)(r4 + 0)
    r1 += r3
    *(u64 *)(r4 + 0) = r1
    r0 = 0
    if r3 != 20 goto out
    r0 = 1
out:
    exit
"""


def test_callbacks_walk_over_a_map_until_they_stop():
    fake = create(bpf.BPF_MAP_TYPE_HASH, 8, 8, 4)
    for key, value in ((1, 10), (2, 20), (3, 40)):
        fake[key] = u64(value)
    assert Machine(assemble(LOOP), maps={1: fake}).run(bytes(8)) == 2 << 32 | 30


PROBE = """
    r3 = *(u64 *)(r1 + 0)
    r6 = r1
    r1 = r10
    r1 += -16
    r2 = 16
    call {helper}
    r1 = *(u64 *)(r10 - 16)
    *(u64 *)(r6 + 8) = r1
    r1 = *(u64 *)(r10 - 8)
    *(u64 *)(r6 + 16) = r1
    exit
"""


def probe(helper, memory, address):
    ctx = bytearray(u64(address) + bytes(16))
    result = Machine(assemble(PROBE.format(helper=helper)), memory=memory).run(ctx)
    return result - (1 << 64) if result >> 63 else result, bytes(ctx[8:])


def test_probes_read_what_is_there_and_clear_on_faults():
    memory = Memory()
    memory.add(bytearray(b"user text\0 beyond it"), "user", at=0x7000)
    kernel = memory.add(bytearray(b"kernel bytes, more of them"), "kernel")
    assert probe("bpf_probe_read_user", memory, 0x7000) == (0, b"user text\0 beyon")
    assert probe("bpf_probe_read_user_str", memory, 0x7000)[0] == 10
    assert probe("bpf_probe_read_kernel_str", memory, kernel) == (16, b"kernel bytes, m\0")
    assert probe("bpf_probe_read_kernel", memory, 0x7000) == (-EFAULT, bytes(16))
    assert probe("bpf_probe_read_user", memory, kernel) == (-EFAULT, bytes(16))
    assert probe("bpf_probe_read_user", memory, 0) == (-EFAULT, bytes(16))
    assert probe("bpf_probe_read", memory, kernel)[0] == 0


def test_the_task_is_what_the_test_says():
    kernel = FakeKernel(
        pid=7, tgid=5, uid=1000, gid=100, comm=b"a-name-that-is-long", ktime=9, tick=1
    )
    helpers = kernel.helpers()

    def ask(name, args=""):
        return Machine(assemble(f"{args}\ncall bpf_{name}\nexit"), helpers=helpers).run()

    assert ask("get_current_pid_tgid") == 5 << 32 | 7
    assert ask("get_current_uid_gid") == 100 << 32 | 1000
    assert [ask("ktime_get_ns"), ask("ktime_get_boot_ns")] == [9, 10]
    text = "r1 = r10\nr1 += -16\nr2 = 16\ncall bpf_get_current_comm\nr0 = *(u64 *)(r10 - 8)\nexit"
    assert Machine(assemble(text), helpers=helpers).run() == int.from_bytes(b"hat-is-\0", "little")


def test_stacks_get_ids_by_content():
    stacks = create(bpf.BPF_MAP_TYPE_STACK_TRACE, 4, 16, 8)
    kernel = FakeKernel(kernel_stack=[1, 2, 3], user_stack=[9])
    text = "r2 = map[fd:1]\nr3 = {flags}\ncall bpf_get_stackid\nexit"

    def ask(flags):
        program = assemble(text.format(flags=flags))
        return Machine(program, maps={1: stacks}, helpers=kernel.helpers()).run(bytes(8))

    assert [ask(0), ask(bpf.BPF_F_USER_STACK), ask(0), ask(1)] == [0, 1, 0, 2]
    assert [stacks[0], stacks[1], stacks[2]] == [(1, 2), (9,), (2, 3)]


def test_formats_are_the_kernels():
    memory = Memory()
    at = memory.add(bytearray(b"name\0"), "text")
    args = [(1 << 64) - 2, (1 << 64) - 2, 0xFF, at, 0x41]
    text = b"%d %lld %x %s %c %% 100"
    assert c_format(memory, text, args) == b"-2 -2 ff name A % 100"
    assert c_format(memory, b"[%5u] [%-4x] %llu", [7, 255, 1 << 63]) == (
        b"[    7] [ff  ] 9223372036854775808"
    )
    with pytest.raises(MachineError, match="refuses"):
        c_format(memory, b"%n", [1])


def test_strings_compare_as_strncmp():
    memory = Memory()
    a = memory.add(bytearray(b"abc\0xyz\0"), "a")
    text = "r1 = {a} ll\nr2 = {n}\nr3 = {b} ll\ncall bpf_strncmp\nexit"

    def compare(other, n):
        b = memory.add(bytearray(other), "b")
        result = Machine(assemble(text.format(a=a, b=b, n=n)), memory=memory).run()
        return result - (1 << 64) if result >> 63 else result

    assert compare(b"abc\0qqq\0", 8) == 0
    assert compare(b"abd\0", 4) < 0
    assert compare(b"abd\0", 2) == 0
    assert compare(b"ab\0\0", 4) > 0


def test_maps_of_maps_give_their_inner_maps():
    inner = create(bpf.BPF_MAP_TYPE_ARRAY, 4, 8, 1)
    outer = create(bpf.BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 2)
    outer[1] = inner
    text = """
        *(u32 *)(r10 - 4) = 1
        r1 = map[fd:1]
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto none
        *(u32 *)(r10 - 4) = 0
        r1 = r0
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        *(u64 *)(r0 + 0) = 5
        r0 = 0
        exit
    none:
        r0 = 1
        exit
    """
    assert Machine(assemble(text), maps={1: outer}).run() == 0
    assert inner[0] == u64(5)


def test_queues_and_stacks_differ_in_order():
    text = """
        r1 = map[fd:1]
        r2 = r10
        r2 += -8
        call bpf_map_pop_elem
        if r0 != 0 goto out
        r0 = *(u64 *)(r10 - 8)
    out:
        exit
    """
    for type, expected in ((bpf.BPF_MAP_TYPE_QUEUE, 1), (bpf.BPF_MAP_TYPE_STACK, 2)):
        fake = create(type, 0, 8, 4)
        assert fake.push(u64(1), 0) == fake.push(u64(2), 0) == 0
        machine = Machine(assemble(text), maps={1: fake})
        assert machine.run() == expected
        machine.run()
        assert machine.run() == (1 << 64) - ENOENT
