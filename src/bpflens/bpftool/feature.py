"""``feature probe``: what this kernel can do with BPF, found out by trying.

Four forms, as in bpftool: plain text, JSON, C macros (``macros [prefix P]``), and what a network
device can take (``dev NAME``). Nothing is written into the kernel's log; ``full`` includes the
three helpers that cannot be probed without.

Example::

    $ bpftool feature probe | grep program_type
    eBPF program_type socket_filter is available
"""

from __future__ import annotations

import struct

from bpflens.bpftool.tool import Failure
from bpflens.errors import Error, SyscallError
from bpflens.uapi import bpf as _uapi
from bpflens.uapi.helper import HELPER_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["probe"]

_OPTIONS = """
CONFIG_BPF CONFIG_BPF_SYSCALL CONFIG_HAVE_EBPF_JIT CONFIG_BPF_JIT CONFIG_BPF_JIT_ALWAYS_ON
CONFIG_DEBUG_INFO_BTF CONFIG_DEBUG_INFO_BTF_MODULES CONFIG_CGROUPS CONFIG_CGROUP_BPF
CONFIG_CGROUP_NET_CLASSID CONFIG_SOCK_CGROUP_DATA CONFIG_BPF_EVENTS CONFIG_KPROBE_EVENTS
CONFIG_UPROBE_EVENTS CONFIG_TRACING CONFIG_FTRACE_SYSCALLS CONFIG_FUNCTION_ERROR_INJECTION
CONFIG_BPF_KPROBE_OVERRIDE CONFIG_NET CONFIG_XDP_SOCKETS CONFIG_LWTUNNEL_BPF
CONFIG_NET_ACT_BPF CONFIG_NET_CLS_BPF CONFIG_NET_CLS_ACT CONFIG_NET_SCH_INGRESS CONFIG_XFRM
CONFIG_IP_ROUTE_CLASSID CONFIG_IPV6_SEG6_BPF CONFIG_BPF_LIRC_MODE2 CONFIG_BPF_STREAM_PARSER
CONFIG_NETFILTER_XT_MATCH_BPF CONFIG_TEST_BPF CONFIG_HZ
""".split()
_FOR_DEVICES = (_uapi.BPF_PROG_TYPE_SCHED_CLS, _uapi.BPF_PROG_TYPE_XDP)
_MAPS_FOR_DEVICES = (_uapi.BPF_MAP_TYPE_HASH, _uapi.BPF_MAP_TYPE_ARRAY)

_BPF_DISABLED = (
    "bpf() syscall for unprivileged users is enabled",
    "bpf() syscall restricted to privileged users (without recovery)",
    "bpf() syscall restricted to privileged users (admin can change)",
)
_JIT = (
    "JIT compiler is disabled",
    "JIT compiler is enabled",
    "JIT compiler is enabled with debugging traces in kernel logs",
)
_HARDEN = (
    "JIT compiler hardening is disabled",
    "JIT compiler hardening is enabled for unprivileged users",
    "JIT compiler hardening is enabled for all users",
)
_KALLSYMS = (
    "JIT compiler kallsyms exports are disabled",
    "JIT compiler kallsyms exports are enabled for root",
)

# sysctl, what each of its values means, and the words when it cannot be read or is unknown.
_SYSCTLS = (
    ("kernel/unprivileged_bpf_disabled", _BPF_DISABLED,
     "Unable to retrieve required privileges for bpf() syscall",
     "bpf() syscall restriction has unknown value"),
    ("net/core/bpf_jit_enable", _JIT, "Unable to retrieve JIT-compiler status",
     "JIT-compiler status has unknown value"),
    ("net/core/bpf_jit_harden", _HARDEN, "Unable to retrieve JIT hardening status",
     "JIT hardening status has unknown value"),
    ("net/core/bpf_jit_kallsyms", _KALLSYMS, "Unable to retrieve JIT kallsyms export status",
     "JIT kallsyms exports status has unknown value"),
)  # fmt: skip
_LIMIT = "net/core/bpf_jit_limit"

_MACRO_HELP = """\
/*
 * Use {0}HAVE_PROG_TYPE_HELPER(prog_type_name, helper_name)
 * to determine if <helper_name> is available for <prog_type_name>,
 * e.g.
 *	#if {0}HAVE_PROG_TYPE_HELPER(xdp, bpf_redirect)
 *		// do stuff with this helper
 *	#elif
 *		// use a workaround
 *	#endif
 */
#define {0}HAVE_PROG_TYPE_HELPER(prog_type, helper)	\\
	{0}BPF__PROG_TYPE_ ## prog_type ## __HELPER_ ## helper
"""

_MOV, _EXIT = 0xB7, 0x95


def _code(*insns: tuple[int, int, int, int]) -> bytes:
    # Instructions of (opcode, register, offset, constant).
    return b"".join(struct.pack("=BBhi", *insn) for insn in insns)


_MISC = (
    ("large_insn_limit", "Large program size limit",
     _code(*[(_MOV, 0, 0, 1)] * _uapi.BPF_MAXINSNS, (_EXIT, 0, 0, 0))),
    ("bounded_loops", "Bounded loop support",
     _code((_MOV, 0, 0, 10), (0x17, 0, 0, 1), (0x55, 0, -2, 0), (_EXIT, 0, 0, 0))),
    ("v2_isa_extension", "ISA extension v2",
     _code((_MOV, 0, 0, 0), (0xA5, 0, 1, 0), (_MOV, 0, 0, 1), (_EXIT, 0, 0, 0))),
    ("v3_isa_extension", "ISA extension v3",
     _code((_MOV, 0, 0, 0), (0xA6, 0, 1, 0), (_MOV, 0, 0, 1), (_EXIT, 0, 0, 0))),
    ("v4_isa_extension", "ISA extension v4",
     _code((_MOV, 0, 0, 0), (0x16, 0, 1, 1), (0x06, 0, 0, 1), (_MOV, 0, 0, 1), (_EXIT, 0, 0, 0))),
)  # fmt: skip


class _Wish:
    __slots__ = ("full", "ifindex", "prefix", "unprivileged")

    def __init__(self) -> None:
        self.ifindex = 0
        self.full = False
        self.unprivileged = False
        self.prefix: str | None = None


def probe(tool: Tool, words: Words) -> int:
    """Probe and print."""
    wish = _options(words)
    if wish.prefix is not None and tool.json is not None:
        raise Failure("'macros' is not compatible with JSON output")
    if wish.unprivileged:
        _drop()
    printer = _Printer(tool, wish)
    if not wish.ifindex:
        _system(tool, printer, wish)
    printer.start("syscall_config", "Scanning system call availability...",
                  "System call availability")  # fmt: skip
    has_bpf = _tried(_bpf_syscall)
    printer.answer("have_bpf_syscall", "bpf() syscall", "BPF_SYSCALL", has_bpf)
    printer.end()
    if has_bpf:
        _types(printer, wish)
    if tool.json is not None:
        tool.json.end()
    return 0


def _options(words: Words) -> _Wish:
    wish = _Wish()
    target = ""
    while words:
        option = words.take_keyword("kernel", "dev", "full", "unprivileged", "macros", "prefix")
        if option in ("kernel", "dev"):
            if target:
                raise Failure("component to probe already specified")
            target = option
            if option == "dev":
                wish.ifindex = _device(words.take("device name"))
        elif option == "full":
            wish.full = True
        elif option == "unprivileged":
            wish.unprivileged = True
        elif option == "macros":
            wish.prefix = wish.prefix or ""
        elif option == "prefix":
            if wish.prefix is None:
                raise Failure("'prefix' argument can only be use after 'macros'")
            if wish.prefix:
                raise Failure("'prefix' already defined")
            wish.prefix = words.take("prefix")
        else:
            raise Failure(
                "expected no more arguments, 'kernel', 'dev', 'macros' or 'prefix', got: "
                f"'{words.peek()}'?"
            )
    return wish


def _device(name: str) -> int:
    import socket

    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise Failure(f"unrecognized netdevice '{name}': No such device") from None


def _drop() -> None:
    from bpflens.kernel import capability

    given_up = {capability.CAP_SYS_ADMIN, capability.CAP_BPF, capability.CAP_NET_ADMIN,
                capability.CAP_PERFMON}  # fmt: skip
    held = capability.permitted()
    kept = (number for number in range(held.bit_length()) if held >> number & 1)
    capability.drop_all_but(number for number in kept if number not in given_up)


class _Printer:
    # The three forms of an answer: JSON, C macros, plain text.
    __slots__ = ("_first", "_json", "_out", "_prefix")

    def __init__(self, tool: Tool, wish: _Wish) -> None:
        self._json = tool.json
        self._out = tool.out
        self._prefix = wish.prefix
        self._first = True
        if tool.json is not None:
            tool.json.start("{")

    def start(self, member: str, title: str, comment: str) -> None:
        if self._json is not None:
            self._json.name(member)
            self._json.start("{")
        elif self._prefix is not None:
            self._out(f"/*** {comment} ***/\n")
        else:
            self._out(title + "\n")

    def end(self, last: bool = False) -> None:
        if self._json is not None:
            self._json.end()
        elif not last:
            self._out("\n")

    def answer(self, member: str, plain: str, macro: str, state: bool) -> None:
        if self._json is not None:
            self._json.member(member, state)
        elif self._prefix is not None:
            self._out(f"#define {self._prefix}{'' if state else 'NO_'}HAVE_{macro}\n")
        else:
            self._out(f"{plain} is {'' if state else 'NOT '}available\n")

    def helpers(self, name: str, supported: bool, found: list[int], tried: Iterable[int]) -> None:
        if self._json is not None:
            names = [f"bpf_{HELPER_NAMES[number]}" for number in found]
            self._json.member(f"{name}_available_helpers", names)
        elif self._prefix is not None:
            have = set(found)
            for number in tried:
                head = f"#define {self._prefix}BPF__PROG_TYPE_{name}__HELPER_bpf_"
                self._out(f"{head}{HELPER_NAMES[number]} {int(number in have)}\n")
        else:
            self._out(f"eBPF helpers supported for program type {name}:")
            for number in found:
                self._out(f"\n\t- bpf_{HELPER_NAMES[number]}")
            self._out("\n")
            if not found:
                why = "Could not determine which helpers are available"
                self._out(f"\t{why if supported else 'Program type not supported'}\n")


# --- the system ---------------------------------------------------------------------------------


def _system(tool: Tool, printer: _Printer, wish: _Wish) -> None:
    from bpflens.kernel.limits import kernel_config, sysctl

    title = "Scanning system configuration..."
    printer.start("system_config", title, "Misc kernel config items")
    config = kernel_config()
    if wish.prefix is not None:
        rate = (config or {}).get("CONFIG_HZ")
        if rate is not None:
            tool.out(f"#define {wish.prefix}CONFIG_HZ {rate}\n")
        printer.end()
        return
    for path, meanings, unreadable, unknown in _SYSCTLS:
        value = sysctl(path)
        if tool.json is not None:
            tool.json.member(path.rpartition("/")[2], -1 if value is None else value)
        elif value is None:
            tool.out(unreadable + "\n")
        elif 0 <= value < len(meanings):
            tool.out(meanings[value] + "\n")
        else:
            tool.out(f"{unknown} {value}\n")
    _limit(tool, sysctl(_LIMIT))
    if config is None:
        tool.note("skipping kernel config, can't find correct file")
    for name in _OPTIONS if config is not None else ():
        value_text = (config or {}).get(name)
        if tool.json is not None:
            tool.json.member(name, value_text)
        else:
            state = "not set" if value_text is None else f"set to {value_text}"
            tool.out(f"{name} is {state}\n")
    printer.end()


def _limit(tool: Tool, value: int | None) -> None:
    what = "global memory limit for JIT compiler for unprivileged users"
    if tool.json is not None:
        tool.json.member("bpf_jit_limit", -1 if value is None else value)
    elif value is None:
        tool.out(f"Unable to retrieve {what}\n")
    else:
        tool.out(f"{what[0].upper()}{what[1:]} is {value} bytes\n")


# --- trying -------------------------------------------------------------------------------------


def _tried(question: Callable[[], bool]) -> bool:
    # What cannot be found out is not available to whoever asks.
    try:
        return question()
    except (Error, OSError):
        return False


def _bpf_syscall() -> bool:
    from bpflens.kernel.object_command import prog_get_next_id

    try:
        prog_get_next_id(0)
    except SyscallError as error:
        return error.errno != 38
    return True


def _types(printer: _Printer, wish: _Wish) -> None:
    from bpflens.kernel import probe as _probe

    names = _uapi.PROG_TYPE_NAMES
    programs = _FOR_DEVICES if wish.ifindex else range(1, len(names))
    printer.start("program_types", "Scanning eBPF program types...", "eBPF program types")
    supported = {}
    for kind in programs:
        name = names[kind]
        state = _tried(lambda kind=kind: _program(kind, wish))  # type: ignore[misc]
        supported[kind] = state
        printer.answer(f"have_{name}_prog_type", f"eBPF program_type {name}",
                       f"{name.upper()}_PROG_TYPE", state)  # fmt: skip
    printer.end()
    maps = _MAPS_FOR_DEVICES if wish.ifindex else range(1, len(_uapi.MAP_TYPE_NAMES))
    printer.start("map_types", "Scanning eBPF map types...", "eBPF map types")
    for kind in maps:
        name = _uapi.MAP_TYPE_NAMES[kind]
        state = _tried(lambda kind=kind: _map(kind, wish))  # type: ignore[misc]
        printer.answer(f"have_{name}_map_type", f"eBPF map_type {name}",
                       f"{name.upper()}_MAP_TYPE", state)  # fmt: skip
    printer.end()
    printer.start("helpers", "Scanning eBPF helper functions...", "eBPF helper functions")
    if wish.prefix is not None:
        printer._out(_MACRO_HELP.format(wish.prefix))
    noisy = () if wish.full else _probe.NOISY_HELPERS
    tried = [number for number in range(1, len(HELPER_NAMES)) if number not in noisy]
    for kind in programs:
        found = _helpers(kind, wish, tried) if supported[kind] else []
        printer.helpers(names[kind], supported[kind], found, tried)
    printer.end()
    _misc(printer, wish)


def _program(kind: int, wish: _Wish) -> bool:
    from bpflens.kernel import probe as _probe

    if wish.ifindex:
        return _probe.loads(_probe.RETURN_0, kind, ifindex=wish.ifindex, explain=False)
    return _probe.has_prog_type(kind)


def _map(kind: int, wish: _Wish) -> bool:
    from bpflens.kernel import probe as _probe
    from bpflens.kernel.map_command import map_create

    if wish.ifindex:
        return _probe.creates(lambda: map_create(kind, 4, 4, 1, ifindex=wish.ifindex))
    return _probe.has_map_type(kind)


def _helpers(kind: int, wish: _Wish, tried: list[int]) -> list[int]:
    from bpflens.kernel import probe as _probe

    try:
        if wish.ifindex:
            return [n for n in tried if _probe.has_helper(kind, n, ifindex=wish.ifindex)]
        return _probe.helpers_of(kind, noisy=wish.full)
    except (Error, OSError):
        return []


def _misc(printer: _Printer, wish: _Wish) -> None:
    from bpflens.kernel import probe as _probe

    title = "Scanning miscellaneous eBPF features..."
    printer.start("misc", title, "eBPF misc features")
    for name, plain, code in _MISC:
        state = _tried(
            lambda code=code: _probe.loads(  # type: ignore[misc]
                code, _uapi.BPF_PROG_TYPE_SOCKET_FILTER, ifindex=wish.ifindex, explain=False
            )
        )
        printer.answer(f"have_{name}", plain, name.upper(), state)
    printer.end(last=True)
