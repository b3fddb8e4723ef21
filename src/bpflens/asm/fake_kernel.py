"""The kernel's helpers for interpreted programs, over a world that a test sets up.

A :class:`FakeKernel` holds what helpers would ask the kernel for (the task, clocks, random numbers,
stacks, cookies) as plain attributes; :meth:`FakeKernel.helpers` is the table that
:class:`~bpflens.asm.interpreter.Machine` calls into. Memory that probes read is whatever regions
the test has put into the machine's memory, at user or kernel addresses. What programs say is kept:
``printed`` (trace_printk), ``signals``, ``seq`` (iterator output).

Example::

    kernel = FakeKernel(pid=100, tgid=100, comm=b"cat")
    Machine(code, helpers=kernel.helpers(), maps=maps).run(ctx)
"""

from __future__ import annotations

from bpflens.asm import fake_map
from bpflens.asm.execute import to_signed
from bpflens.asm.memory import USER_END, MachineError, Memory
from bpflens.uapi import bpf
from bpflens.uapi.errno import E2BIG, EFAULT, EINVAL, ENOENT, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.asm.interpreter import Helper, Machine

__all__ = ["FakeKernel", "c_format"]

_M32 = 0xFFFFFFFF
_M64 = 0xFFFFFFFFFFFFFFFF


class FakeKernel:
    """Attributes that tests set, and the helpers that look at them."""

    def __init__(
        self,
        *,
        pid: int = 1234,
        tgid: int = 1234,
        uid: int = 0,
        gid: int = 0,
        comm: bytes = b"test",
        cgroup_id: int = 1,
        task: int = 0,
        ktime: int = 1_000_000_000,
        tick: int = 0,
        random: Sequence[int] = (4,),
        kernel_stack: Sequence[int] = (),
        user_stack: Sequence[int] = (),
    ) -> None:
        self.pid = pid
        self.tgid = tgid
        self.uid = uid
        self.gid = gid
        self.comm = comm
        self.cgroup_id = cgroup_id
        self.task = task
        self.ktime = ktime
        # What each reading of the clock adds to it.
        self.tick = tick
        self.random = list(random)
        self.kernel_stack = tuple(kernel_stack)
        self.user_stack = tuple(user_stack)
        self.cookie = 0
        self.func_ip = 0
        self.func_args: list[int] = []
        self.func_ret = 0
        self.paths: dict[int, bytes] = {}
        self.printed: list[bytes] = []
        self.signals: list[int] = []
        self.seq = bytearray()
        self.overridden: int | None = None

    def helpers(self) -> dict[int, Helper]:
        """Return the table of helpers by id, for ``Machine(helpers=...)``."""
        # A method _h_NAME is the helper bpf_NAME.
        out: dict[int, Helper] = {
            getattr(bpf, f"BPF_FUNC_{name[3:]}"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_h_")
        }
        for clock in ("ns", "boot_ns", "coarse_ns", "tai_ns"):
            out[getattr(bpf, f"BPF_FUNC_ktime_get_{clock}")] = self._now
        for name, user, string in (
            ("probe_read", None, False),
            ("probe_read_kernel", False, False),
            ("probe_read_user", True, False),
            ("copy_from_user", True, False),
            ("probe_read_str", None, True),
            ("probe_read_kernel_str", False, True),
            ("probe_read_user_str", True, True),
        ):
            out[getattr(bpf, f"BPF_FUNC_{name}")] = _probe(user, string)
        out[bpf.BPF_FUNC_get_current_task] = out[bpf.BPF_FUNC_get_current_task_btf] = self._task
        out[bpf.BPF_FUNC_send_signal_thread] = out[bpf.BPF_FUNC_send_signal]
        out[bpf.BPF_FUNC_cgrp_storage_get] = out[bpf.BPF_FUNC_task_storage_get]
        out[bpf.BPF_FUNC_cgrp_storage_delete] = out[bpf.BPF_FUNC_task_storage_delete]
        return out

    def kfuncs(self) -> dict[str, Helper]:
        """Return the kernel functions there are, by name."""
        return {
            "bpf_iter_num_new": _iter_num_new,
            "bpf_iter_num_next": _iter_num_next,
            "bpf_iter_num_destroy": _iter_num_destroy,
            "bpf_rcu_read_lock": _nothing,
            "bpf_rcu_read_unlock": _nothing,
            "bpf_preempt_disable": _nothing,
            "bpf_preempt_enable": _nothing,
        }

    # ---------------------------------------------------------------- task and time
    def _now(self, m: Machine, *_: int) -> int:
        now = self.ktime
        self.ktime += self.tick
        return now

    def _task(self, m: Machine, *_: int) -> int:
        return self.task

    def _h_jiffies64(self, m: Machine, *_: int) -> int:
        return self._now(m) // 4_000_000

    def _h_get_prandom_u32(self, m: Machine, *_: int) -> int:
        value = self.random.pop(0)
        self.random.append(value)
        return value & _M32

    def _h_get_smp_processor_id(self, m: Machine, *_: int) -> int:
        return m.cpu

    def _h_get_numa_node_id(self, m: Machine, *_: int) -> int:
        return 0

    def _h_get_current_pid_tgid(self, m: Machine, *_: int) -> int:
        return self.tgid << 32 | self.pid

    def _h_get_current_uid_gid(self, m: Machine, *_: int) -> int:
        return self.gid << 32 | self.uid

    def _h_get_current_cgroup_id(self, m: Machine, *_: int) -> int:
        return self.cgroup_id

    def _h_get_current_comm(self, m: Machine, at: int, size: int, *_: int) -> int:
        m.memory.write(at, self.comm[: size - 1].ljust(size, b"\0"))
        return 0

    def _h_get_ns_current_pid_tgid(
        self, m: Machine, dev: int, ino: int, at: int, size: int, *_: int
    ) -> int:
        if size != 8:
            return -EINVAL
        m.memory.store(at, 4, self.pid)
        m.memory.store(at + 4, 4, self.tgid)
        return 0

    def _h_get_attach_cookie(self, m: Machine, *_: int) -> int:
        return self.cookie

    def _h_get_func_ip(self, m: Machine, *_: int) -> int:
        return self.func_ip

    def _h_get_func_arg_cnt(self, m: Machine, *_: int) -> int:
        return len(self.func_args)

    def _h_get_func_arg(self, m: Machine, ctx: int, n: int, at: int, *_: int) -> int:
        if n >= len(self.func_args):
            return -EINVAL
        m.memory.store(at, 8, self.func_args[n])
        return 0

    def _h_get_func_ret(self, m: Machine, ctx: int, at: int, *_: int) -> int:
        m.memory.store(at, 8, self.func_ret)
        return 0

    def _h_send_signal(self, m: Machine, number: int, *_: int) -> int:
        self.signals.append(number)
        return 0

    def _h_override_return(self, m: Machine, ctx: int, value: int, *_: int) -> int:
        self.overridden = value
        return 0

    def _h_probe_write_user(self, m: Machine, to: int, at: int, size: int, *_: int) -> int:
        if to >= USER_END:
            return -EPERM
        m.memory.write(to, m.memory.read(at, size))
        return 0

    def _h_d_path(self, m: Machine, path: int, at: int, size: int, *_: int) -> int:
        text = self.paths.get(path)
        if text is None:
            return -EINVAL
        m.memory.write(at, text[: size - 1] + b"\0")
        return len(text[: size - 1]) + 1

    # ---------------------------------------------------------------- maps
    def _h_map_lookup_elem(self, m: Machine, handle: int, key: int, *_: int) -> int:
        found = m.map(handle)
        if isinstance(found, fake_map.FakeMapOfMaps):
            inner = found.inner.get(m.memory.read(key, found.key_size))
            return m.handle(inner) if inner is not None else 0
        return found.lookup(m.memory.read(key, found.key_size), m.cpu)

    def _h_map_lookup_percpu_elem(
        self, m: Machine, handle: int, key: int, cpu: int, *_: int
    ) -> int:
        found = m.map(handle)
        if cpu & _M32 >= found.cpus:
            return 0
        return found.lookup(m.memory.read(key, found.key_size), cpu & _M32)

    def _h_map_update_elem(
        self, m: Machine, handle: int, key: int, value: int, flags: int, *_: int
    ) -> int:
        found = m.map(handle)
        read = m.memory.read
        return found.update(read(key, found.key_size), read(value, found.value_size), flags, m.cpu)

    def _h_map_delete_elem(self, m: Machine, handle: int, key: int, *_: int) -> int:
        found = m.map(handle)
        return found.delete(m.memory.read(key, found.key_size))

    def _h_map_push_elem(self, m: Machine, handle: int, value: int, flags: int, *_: int) -> int:
        found = _queue(m, handle)
        return found.push(m.memory.read(value, found.value_size), flags)

    def _h_map_pop_elem(self, m: Machine, handle: int, at: int, *_: int) -> int:
        return _take(m, handle, at, True)

    def _h_map_peek_elem(self, m: Machine, handle: int, at: int, *_: int) -> int:
        return _take(m, handle, at, False)

    def _h_for_each_map_elem(
        self, m: Machine, handle: int, function: int, context: int, flags: int, *_: int
    ) -> int:
        found = m.map(handle)
        done = 0
        for key, value in found.elements(m.cpu):
            at = m.memory.add(bytearray(key), "the key of an iteration", writable=False)
            stop = m.call(function, handle, at, value, context)
            m.memory.remove(at)
            done += 1
            if stop:
                break
        return done

    def _h_loop(
        self, m: Machine, times: int, function: int, context: int, flags: int, *_: int
    ) -> int:
        times &= _M32
        if flags:
            return -EINVAL
        if times > 1 << 23:
            return -E2BIG
        for i in range(times):
            if m.call(function, i, context):
                return i + 1
        return times

    def _h_task_storage_get(
        self, m: Machine, handle: int, owner: int, initial: int, flags: int, *_: int
    ) -> int:
        found = m.map(handle)
        if not isinstance(found, fake_map.FakeStorage):
            raise MachineError(f"map {found.name} is no storage")
        value = m.memory.read(initial, found.value_size) if initial else None
        return found.get(owner, value, bool(flags & bpf.BPF_LOCAL_STORAGE_GET_F_CREATE))

    def _h_task_storage_delete(self, m: Machine, handle: int, owner: int, *_: int) -> int:
        return m.map(handle).delete(owner.to_bytes(8, "little"))

    def _h_spin_lock(self, m: Machine, *_: int) -> int:
        return 0

    def _h_spin_unlock(self, m: Machine, *_: int) -> int:
        return 0

    def _h_tail_call(self, m: Machine, ctx: int, handle: int, index: int, *_: int) -> int:
        found = m.map(handle)
        if not isinstance(found, fake_map.FakeProgArray):
            raise MachineError(f"tail call through map {found.name}, which is no prog_array")
        program = found.programs.get(index & _M32)
        if program is not None:
            m.tail_call(program)  # type: ignore[arg-type]
        return 0

    # ---------------------------------------------------------------- events
    def _h_ringbuf_reserve(self, m: Machine, handle: int, size: int, *_: int) -> int:
        return _ring(m, handle).reserve(size)

    def _h_ringbuf_submit(self, m: Machine, at: int, *_: int) -> int:
        return _finish(m, at, False)

    def _h_ringbuf_discard(self, m: Machine, at: int, *_: int) -> int:
        return _finish(m, at, True)

    def _h_ringbuf_output(self, m: Machine, handle: int, at: int, size: int, *_: int) -> int:
        return _ring(m, handle).output(m.memory.read(at, size))

    def _h_ringbuf_query(self, m: Machine, handle: int, what: int, *_: int) -> int:
        ring = _ring(m, handle)
        if what == bpf.BPF_RB_AVAIL_DATA:
            return ring.available()
        return ring.max_entries if what == bpf.BPF_RB_RING_SIZE else 0

    def _h_perf_event_output(
        self, m: Machine, ctx: int, handle: int, flags: int, at: int, size: int
    ) -> int:
        found = m.map(handle)
        if not isinstance(found, fake_map.FakePerfEventArray):
            raise MachineError(f"perf output to map {found.name}, which is no perf_event_array")
        cpu = m.cpu if flags & _M32 == bpf.BPF_F_CURRENT_CPU else flags & _M32
        return found.output(cpu, m.memory.read(at, size))

    def _h_perf_event_read(self, m: Machine, handle: int, flags: int, *_: int) -> int:
        found = m.map(handle)
        if not isinstance(found, fake_map.FakePerfEventArray):
            raise MachineError(f"map {found.name} is no perf_event_array")
        cpu = m.cpu if flags & _M32 == bpf.BPF_F_CURRENT_CPU else flags & _M32
        return found.counters.get(cpu, -ENOENT)

    def _stack(self, flags: int) -> tuple[int, ...]:
        stack = self.user_stack if flags & bpf.BPF_F_USER_STACK else self.kernel_stack
        return stack[flags & bpf.BPF_F_SKIP_FIELD_MASK :]

    def _h_get_stackid(self, m: Machine, ctx: int, handle: int, flags: int, *_: int) -> int:
        found = m.map(handle)
        if not isinstance(found, fake_map.FakeStackTrace):
            raise MachineError(f"map {found.name} is no stack_trace")
        stack = self._stack(flags)
        return found.add(stack) if stack else -EFAULT

    def _h_get_stack(self, m: Machine, ctx: int, at: int, size: int, flags: int, *_: int) -> int:
        data = b"".join(a.to_bytes(8, "little") for a in self._stack(flags))[: size // 8 * 8]
        m.memory.write(at, data.ljust(size, b"\0"))
        return len(data) or -EFAULT

    # ---------------------------------------------------------------- text
    def _h_trace_printk(self, m: Machine, fmt: int, size: int, a: int, b: int, c: int) -> int:
        text = c_format(m.memory, _text(m, fmt, size), [a, b, c])
        self.printed.append(text)
        return len(text)

    def _h_trace_vprintk(
        self, m: Machine, fmt: int, size: int, args: int, args_size: int, *_: int
    ) -> int:
        text = c_format(m.memory, _text(m, fmt, size), _words(m, args, args_size))
        self.printed.append(text)
        return len(text)

    def _h_snprintf(
        self, m: Machine, at: int, size: int, fmt: int, args: int, args_size: int
    ) -> int:
        text = c_format(m.memory, m.memory.read_string(fmt, 4096), _words(m, args, args_size))
        if size:
            m.memory.write(at, text[: size - 1] + b"\0")
        return len(text) + 1

    def _h_seq_printf(
        self, m: Machine, seq: int, fmt: int, size: int, args: int, args_size: int
    ) -> int:
        self.seq += c_format(m.memory, _text(m, fmt, size), _words(m, args, args_size))
        return 0

    def _h_seq_write(self, m: Machine, seq: int, at: int, size: int, *_: int) -> int:
        self.seq += m.memory.read(at, size)
        return 0

    def _h_strncmp(self, m: Machine, a: int, size: int, b: int, *_: int) -> int:
        x, y = m.memory.read_string(a, size), m.memory.read_string(b, size)
        for i in range(size):
            p = x[i] if i < len(x) else 0
            q = y[i] if i < len(y) else 0
            if p != q:
                return -1 if p < q else 1
            if not p:
                break
        return 0


def _nothing(m: Machine, *_: int) -> int:
    return 0


def _probe(user: bool | None, string: bool) -> Helper:
    # One of the probe_read family; None: by the address. A failed probe clears its target.
    def probe(m: Machine, to: int, size: int, at: int, *_: int) -> int:
        if not size:
            return 0
        if user is not None and (at < USER_END) != user:
            return _failed(m, to, size)
        try:
            if not string:
                m.memory.write(to, m.memory.read(at, size))
                return 0
            text = m.memory.read_string(at, size)
        except MachineError:
            return _failed(m, to, size)
        text = text[: size - 1] + b"\0"
        m.memory.write(to, text)
        return len(text)

    return probe


def _failed(m: Machine, to: int, size: int) -> int:
    m.memory.write(to, bytes(size))
    return -EFAULT


def _ring(m: Machine, handle: int) -> fake_map.FakeRingBuf:
    found = m.map(handle)
    if not isinstance(found, fake_map.FakeRingBuf):
        raise MachineError(f"map {found.name} is no ring buffer")
    return found


def _finish(m: Machine, at: int, discard: bool) -> int:
    for found in m.maps.values():
        if isinstance(found, fake_map.FakeRingBuf) and at in found.reserved:
            found.finish(at, discard)
            return 0
    raise MachineError(f"{at:#x} is no reserved record")


def _queue(m: Machine, handle: int) -> fake_map.FakeQueue:
    found = m.map(handle)
    if not isinstance(found, fake_map.FakeQueue):
        raise MachineError(f"map {found.name} is neither queue nor stack")
    return found


def _take(m: Machine, handle: int, at: int, remove: bool) -> int:
    found = _queue(m, handle)
    value = found.take(remove)
    m.memory.write(at, value if value is not None else bytes(found.value_size))
    return 0 if value is not None else -ENOENT


def _text(m: Machine, at: int, size: int) -> bytes:
    return m.memory.read(at, size).split(b"\0")[0]


def _words(m: Machine, at: int, size: int) -> list[int]:
    return [m.memory.load(at + 8 * i, 8) for i in range(size // 8)]


def _iter_num_new(m: Machine, at: int, start: int, end: int, *_: int) -> int:
    # struct bpf_iter_num is 8 opaque bytes: the current number and the end.
    first, last = to_signed(start, 32), to_signed(end, 32)
    ok = first <= last and last - first <= 1 << 23
    m.memory.store(at, 4, first - 1 if ok else 0)
    m.memory.store(at + 4, 4, last if ok else 0)
    return 0 if ok else -EINVAL if first > last else -E2BIG


def _iter_num_next(m: Machine, at: int, *_: int) -> int:
    current = to_signed(m.memory.load(at, 4), 32) + 1
    if current >= to_signed(m.memory.load(at + 4, 4), 32):
        m.memory.store(at, 8, 0)
        return 0
    m.memory.store(at, 4, current)
    return at


def _iter_num_destroy(m: Machine, at: int, *_: int) -> int:
    m.memory.store(at, 8, 0)
    return 0


# How each conversion of bpf_trace_printk and bpf_snprintf reads its argument.
_BITS = {"": 32, "l": 64, "ll": 64}


def c_format(memory: Memory, text: bytes, args: Sequence[int]) -> bytes:
    """Format as the kernel's bpf_bprintf does: ``%d %i %u %x %X %o %c %s %p %ps %pB %%``.

    Flags, widths and ``l``/``ll`` work; ``%s`` reads memory, kernel addresses stay numbers.
    """
    out = bytearray()
    todo = list(args)
    i = 0
    while i < len(text):
        if text[i] != 0x25:
            out.append(text[i])
            i += 1
            continue
        end = i + 1
        while end < len(text) and text[end : end + 1] in b"0123456789-+ #.":
            end += 1
        spec = text[i + 1 : end].decode()
        length = ""
        while text[end : end + 1] == b"l":
            length += "l"
            end += 1
        kind = text[end : end + 1].decode()
        end += 1
        if kind == "p":
            while text[end : end + 1] in (b"s", b"S", b"B", b"K", b"x"):
                end += 1
        if kind == "%":
            out += b"%"
        else:
            out += _convert(memory, spec, kind, _BITS.get(length, 64), todo.pop(0) if todo else 0)
        i = end
    return bytes(out)


def _convert(memory: Memory, spec: str, kind: str, bits: int, value: int) -> bytes:
    if kind in "di":
        return f"%{spec}d".encode() % to_signed(value, bits)
    if kind in "uxXo":
        return f"%{spec}{'d' if kind == 'u' else kind}".encode() % (value & (1 << bits) - 1)
    if kind == "c":
        return f"%{spec}c".encode() % (value & 0xFF)
    if kind == "p":
        return b"0x%x" % value
    if kind == "s":
        try:
            return f"%{spec}s".encode() % memory.read_string(value, 512)
        except MachineError:
            return b"(efault)"
    raise MachineError(f"a format the kernel refuses: %{spec}{kind}")
