"""An eBPF interpreter: runs a program against memory, maps and helpers that a test provides.

A :class:`Machine` holds one program (main function first, subprograms behind it), the maps its
64-bit loads refer to, and the helper functions it may call. It is strict where the verifier is: an
access outside of known memory, a register that was never written, a helper that is not there or a
program that does not end raise :class:`~bpflens.asm.memory.MachineError` with the slot of the
instruction. It knows nothing of the verifier's proofs, so it also runs what a kernel refuses.

Helpers are ``helper(machine, r1, r2, r3, r4, r5) -> r0``; results may be negative.
:class:`~bpflens.asm.fake_kernel.FakeKernel` has a standard table, used when none is given.

Example::

    machine = Machine([mov64_imm(0, 42), exit_()])
    machine.run(b"")                      # 42
"""

from __future__ import annotations

from bpflens.asm.execute import EXIT, compile_insns
from bpflens.asm.instruction import Instruction, decode
from bpflens.asm.link import link, link_program
from bpflens.asm.memory import MachineError, Memory
from bpflens.uapi.bpf import (
    BPF_PSEUDO_BTF_ID,
    BPF_PSEUDO_CALL,
    BPF_PSEUDO_FUNC,
    BPF_PSEUDO_KFUNC_CALL,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_VALUE,
)
from bpflens.uapi.helper import HELPER_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bpflens.asm.execute import Registers, Step
    from bpflens.asm.fake_kernel import FakeKernel
    from bpflens.asm.fake_map import FakeMap
    from bpflens.asm.link import ProgramLike

    Helper = Callable[["Machine", int, int, int, int, int], int]
    Code = bytes | bytearray | memoryview | Sequence[Instruction]

__all__ = ["Machine", "TailCall", "link"]

_M64 = 0xFFFFFFFFFFFFFFFF
_STACK_SIZE = 512
_MAX_FRAMES = 8
_MAX_TAIL_CALLS = 33

# Handles of maps and functions: addresses that are no memory, so that using them as memory fails.
_HANDLE_BASE = 0xFFFFA00000000000
_HANDLE_STEP = 256


class TailCall(Exception):
    """Raised by the tail_call helper to replace the running function by another program."""

    def __init__(self, steps: list[Step | None]) -> None:
        super().__init__()
        self.steps = steps


class _Function:
    # What a function handle stands for.
    __slots__ = ("slot", "steps")

    def __init__(self, steps: list[Step | None], slot: int) -> None:
        self.steps = steps
        self.slot = slot


class Machine:
    """One program and the world it runs in.

    ``insns`` is a list of Instructions or raw bytes. ``maps`` gives the map behind each number in a
    map load (an fd, or what linking chose); ``helpers`` the functions by helper id; ``kfuncs``
    those by BTF id; ``ksyms`` the addresses of kernel variables by BTF id. ``memory`` may be shared
    with other machines; it is that of the maps if they have one already. ``packet`` serves the old
    packet loads, ``ctx_loads`` (offset → value) replaces loads of context fields that the kernel
    rewrites, such as the 32-bit packet pointers of XDP. ``max_insns`` bounds a run,
    ``may_goto_budget`` the may_goto instructions in it.
    """

    def __init__(
        self,
        insns: Code,
        *,
        helpers: Mapping[int, Helper] | None = None,
        maps: Mapping[int, FakeMap] | None = None,
        kfuncs: Mapping[int, Helper] | None = None,
        ksyms: Mapping[int, int] | None = None,
        memory: Memory | None = None,
        packet: bytes = b"",
        ctx_loads: Mapping[int, int] | None = None,
        max_insns: int = 1_000_000,
        may_goto_budget: int = 1 << 23,
    ) -> None:
        if helpers is None:
            from bpflens.asm.fake_kernel import FakeKernel

            helpers = FakeKernel().helpers()
        self.maps = dict(maps or {})
        self.memory = memory or _common_memory(self.maps.values())
        self.helpers = dict(helpers)
        self.kfuncs = dict(kfuncs or {})
        self.ksyms = dict(ksyms or {})
        self.packet = packet
        self.ctx_loads = dict(ctx_loads or {})
        self.max_insns = max_insns
        self.may_goto_budget = may_goto_budget
        self.cpu = 0
        self.ctx = bytearray()
        self.ctx_address = 0
        self.executed = 0
        self._objects: list[object] = []
        self._handles: dict[int, int] = {}
        self._depth = 0
        self._tail_calls = 0
        self._gotos_left = 0
        self._steps: list[Step | None] = []
        for fake in self.maps.values():
            fake.bind(self.memory)
        self._steps = self.compile(insns)

    @classmethod
    def of(
        cls,
        program: ProgramLike,
        maps: Mapping[str, FakeMap],
        kernel: FakeKernel | None = None,
        *,
        ksyms: Mapping[str, int] | None = None,
        memory: Memory | None = None,
        max_insns: int = 1_000_000,
    ) -> Machine:
        """Return a machine for a :class:`bpflens.spec.ProgramSpec`, linked to fakes by name."""
        from bpflens.asm.fake_kernel import FakeKernel

        kernel = kernel or FakeKernel()
        linked = link_program(program, maps, kernel.kfuncs(), ksyms)
        return cls(
            linked.insns,
            helpers=kernel.helpers(),
            maps=linked.maps,
            kfuncs=linked.kfuncs,
            memory=memory,
            max_insns=max_insns,
        )

    # -------------------------------------------------------------- running
    def run(self, ctx: bytes | bytearray = b"", *, cpu: int = 0, slot: int = 0) -> int:
        """Run the program on a context and return r0 (unsigned, 64 bits).

        A ``bytearray`` is used as it is, so that writes to the context show in it. ``cpu`` chooses
        the slots of per-CPU maps; ``slot`` another function to start with.
        """
        self.cpu = cpu
        self.ctx = ctx if isinstance(ctx, bytearray) else bytearray(ctx)
        self.ctx_address = self.memory.add(self.ctx, "the context")
        self.executed = self._depth = self._tail_calls = 0
        self._gotos_left = self.may_goto_budget
        try:
            return self._enter(self._steps, slot, [self.ctx_address])
        finally:
            self.memory.remove(self.ctx_address)

    def call(self, function: int, *args: int) -> int:
        """Call a function of the program by its handle, as a helper with a callback does."""
        target = self.object(function)
        if not isinstance(target, _Function):
            raise MachineError(f"{function:#x} is not a function of the program")
        return self._enter(target.steps, target.slot, args)

    def _enter(self, steps: list[Step | None], slot: int, args: Iterable[int]) -> int:
        # One frame: own stack, own r6-r9. Returns r0.
        if self._depth == _MAX_FRAMES:
            raise MachineError(f"more than {_MAX_FRAMES} frames of calls")
        stack = self.memory.add(bytearray(b"\xa5" * _STACK_SIZE), "the stack")
        self._depth += 1
        try:
            registers = _registers(args, stack)
            while True:
                try:
                    return self._loop(steps, slot, registers)
                except TailCall as call:
                    steps, slot = call.steps, 0
                    registers = _registers([self.ctx_address], stack)
        finally:
            self._depth -= 1
            self.memory.remove(stack)

    def _loop(self, steps: list[Step | None], slot: int, registers: Registers) -> int:
        try:
            while True:
                self.executed += 1
                if self.executed > self.max_insns:
                    raise MachineError(f"no end after {self.max_insns} instructions")
                if slot < 0:
                    raise MachineError("a jump to before the program")
                step = steps[slot]
                if step is None:
                    raise MachineError("a jump into the middle of a 64-bit load")
                after = step(registers)
                if after is None:
                    slot += 1
                elif after == EXIT:
                    return registers[0] & _M64
                else:
                    slot = after
        except MachineError as error:
            if error.insn is None:
                error.insn = slot
            raise
        except IndexError:
            raise MachineError("the program runs past its end", slot) from None
        except TypeError as error:
            if None in registers:
                raise MachineError("use of a register that was never written", slot) from error
            raise

    # -------------------------------------------------------------- handles
    def handle(self, thing: object) -> int:
        """Return the address that stands for a map or another object in registers."""
        key = id(thing)
        if key not in self._handles:
            self._handles[key] = _HANDLE_BASE + _HANDLE_STEP * len(self._objects)
            self._objects.append(thing)
        return self._handles[key]

    def object(self, address: int) -> object:
        """Return what a handle stands for, None if the address is no handle."""
        index, rest = divmod(address - _HANDLE_BASE, _HANDLE_STEP)
        return self._objects[index] if not rest and 0 <= index < len(self._objects) else None

    def map(self, address: int) -> FakeMap:
        """Return the map behind a handle; MachineError if it is none."""
        from bpflens.asm.fake_map import FakeMap

        found = self.object(address)
        if not isinstance(found, FakeMap):
            raise MachineError(f"{address:#x} is not a map")
        return found

    def tail_call(self, insns: Code | Machine) -> None:
        """Go on with another program instead of the running function (at most 33 times a run)."""
        if self._tail_calls >= _MAX_TAIL_CALLS:
            return
        self._tail_calls += 1
        raise TailCall(insns._steps if isinstance(insns, Machine) else self.compile(insns))

    # -------------------------------------------------------------- what the steps ask
    def compile(self, insns: Code) -> list[Step | None]:
        """Turn a program into steps of this machine (see :mod:`bpflens.asm.execute`)."""
        if isinstance(insns, (bytes, bytearray, memoryview)):
            insns = decode(insns)
        steps: list[Step | None] = []
        self._current = steps
        steps.extend(compile_insns(insns, self))
        if self.ctx_loads:
            self._patch_ctx_loads(insns, steps)
        return steps

    def constant(self, insn: Instruction, slot: int) -> int:
        """Return the value of a 64-bit load (see BPF_PSEUDO_* in linux/bpf.h)."""
        low, high = insn.imm & 0xFFFFFFFF, insn.imm >> 32 & 0xFFFFFFFF
        if insn.src == 0:
            return insn.imm
        if insn.src == BPF_PSEUDO_MAP_FD:
            return self.handle(self._map_of(low, slot))
        if insn.src == BPF_PSEUDO_MAP_VALUE:
            return self._map_of(low, slot).value_address(high)
        if insn.src == BPF_PSEUDO_FUNC:
            return self.handle(_Function(self._current, slot + 1 + _signed(low)))
        if insn.src == BPF_PSEUDO_BTF_ID:
            if low not in self.ksyms:
                raise MachineError(f"no kernel variable has BTF id {low}", slot)
            return self.ksyms[low]
        raise MachineError(f"a 64-bit load of unknown kind {insn.src}", slot)

    def call_step(self, insn: Instruction, slot: int) -> Step:
        """Return the step of a call: subprogram, kernel function or helper."""
        if insn.src == BPF_PSEUDO_CALL:
            return self._subprogram_step(slot + 1 + insn.imm)
        table, what = self.helpers, "helper"
        if insn.src == BPF_PSEUDO_KFUNC_CALL:
            table, what = self.kfuncs, "kernel function"
        elif 0 <= insn.imm < len(HELPER_NAMES):
            what = f"helper bpf_{HELPER_NAMES[insn.imm]}"
        helper = table.get(insn.imm)
        number = insn.imm

        def call(r: Registers) -> None:
            if helper is None:
                raise MachineError(f"there is no {what} ({number})")
            r[0] = helper(self, *_arguments(r)) & _M64
            _clobber(r)

        return call

    def packet_load(self, offset: int, size: int) -> int | None:
        """Return a big-endian number of the packet, None when it is not all inside."""
        if not 0 <= offset <= len(self.packet) - size:
            return None
        return int.from_bytes(self.packet[offset : offset + size], "big")

    def may_goto(self) -> bool:
        """Spend one unit of the loop budget; True when there is none left."""
        self._gotos_left -= 1
        return self._gotos_left < 0

    def _map_of(self, number: int, slot: int) -> FakeMap:
        if number not in self.maps:
            raise MachineError(f"the program refers to map {number}, which was not given", slot)
        return self.maps[number]

    def _subprogram_step(self, target: int) -> Step:
        steps = self._current

        def call(r: Registers) -> None:
            r[0] = self._enter(steps, target, r[1:6])
            _clobber(r)

        return call

    def _patch_ctx_loads(self, insns: Sequence[Instruction], steps: list[Step | None]) -> None:
        # Loads through a pointer to a given offset of the context yield the given value.
        slot = 0
        for insn in insns:
            if insn.op & 7 == 1 and insn.off in self.ctx_loads:
                steps[slot] = self._ctx_load_step(insn, steps[slot])
            slot += 2 if insn.wide else 1

    def _ctx_load_step(self, insn: Instruction, plain: Step | None) -> Step:
        d, s, value = insn.dst, insn.src, self.ctx_loads[insn.off] & _M64
        assert plain is not None
        step = plain

        def load(r: Registers) -> int | None:
            if r[s] == self.ctx_address:
                r[d] = value
                return None
            return step(r)

        return load


def _registers(args: Iterable[int], stack: int) -> Registers:
    out: list[int | None] = [None, *args]
    out += [None] * (10 - len(out))
    out.append(stack + _STACK_SIZE)
    # A None in there is deliberate: any use of it raises TypeError, which _loop explains.
    return out  # type: ignore[return-value]


def _arguments(r: Registers) -> list[int]:
    # A helper takes fewer than five; what was never written (None) arrives as 0.
    return [value or 0 for value in r[1:6]]


def _clobber(r: Registers) -> None:
    r[1:6] = (None,) * 5  # type: ignore[assignment]


def _signed(value: int) -> int:
    return value - (1 << 32) if value & 0x80000000 else value


def _common_memory(maps: Iterable[FakeMap]) -> Memory:
    memories = {id(m.memory): m.memory for m in maps if m.memory is not None}
    if len(memories) > 1:
        raise ValueError("the maps live in different memories")
    return next(iter(memories.values()), None) or Memory()
