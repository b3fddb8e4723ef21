"""``feature probe``: what this kernel can do, in bpftool's sections, as text, JSON or C macros.

Everything is tried, nothing looked up by version. Without ``full`` nothing is tried that makes the
kernel write into its log.

Example::

    $ bpftool feature probe kernel macros prefix MY_
    /*** System call availability ***/
    #define MY_HAVE_BPF_SYSCALL
"""

from __future__ import annotations

from bpflens.bpftool.tool import Failure
from bpflens.errors import Error, SyscallError
from bpflens.kernel import bpf, limits
from bpflens.uapi import bpf as u
from bpflens.uapi.helper import HELPER_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.bpftool.tool import Tool
    from bpflens.bpftool.words import Words

__all__ = ["probe"]

# Section: its name in JSON, its title in plain output, its title among macros.
_SYSTEM = ("system_config", "Scanning system configuration...", "Misc kernel config items")
_SYSCALL = ("syscall_config", "Scanning system call availability...", "System call availability")
_PROGRAMS = ("program_types", "Scanning eBPF program types...", "eBPF program types")
_MAPS = ("map_types", "Scanning eBPF map types...", "eBPF map types")
_HELPERS = ("helpers", "Scanning eBPF helper functions...", "eBPF helper functions")
_MISC = ("misc", "Scanning miscellaneous eBPF features...", "eBPF misc features")

_OPTIONS = (
    "BPF BPF_SYSCALL HAVE_EBPF_JIT BPF_JIT BPF_JIT_ALWAYS_ON DEBUG_INFO_BTF "
    "DEBUG_INFO_BTF_MODULES CGROUPS CGROUP_BPF CGROUP_NET_CLASSID SOCK_CGROUP_DATA BPF_EVENTS "
    "KPROBE_EVENTS UPROBE_EVENTS TRACING FTRACE_SYSCALLS FUNCTION_ERROR_INJECTION "
    "BPF_KPROBE_OVERRIDE NET XDP_SOCKETS LWTUNNEL_BPF NET_ACT_BPF NET_CLS_BPF NET_CLS_ACT "
    "NET_SCH_INGRESS XFRM IP_ROUTE_CLASSID IPV6_SEG6_BPF BPF_LIRC_MODE2 BPF_STREAM_PARSER "
    "NETFILTER_XT_MATCH_BPF TEST_BPF HZ"
).split()

# Settings: name in JSON, path below /proc/sys, what each value means, else, when unreadable.
_SETTINGS: tuple[tuple[str, str, tuple[str, ...], str, str], ...] = (
    (
        "unprivileged_bpf_disabled", "kernel.unprivileged_bpf_disabled",
        ("bpf() syscall for unprivileged users is enabled",
         "bpf() syscall restricted to privileged users (without recovery)",
         "bpf() syscall restricted to privileged users (admin can change)"),
        "bpf() syscall restriction has unknown value {}",
        "Unable to retrieve required privileges for bpf() syscall",
    ),
    (
        "bpf_jit_enable", "net.core.bpf_jit_enable",
        ("JIT compiler is disabled", "JIT compiler is enabled",
         "JIT compiler is enabled with debugging traces in kernel logs"),
        "JIT-compiler status has unknown value {}", "Unable to retrieve JIT-compiler status",
    ),
    (
        "bpf_jit_harden", "net.core.bpf_jit_harden",
        ("JIT compiler hardening is disabled",
         "JIT compiler hardening is enabled for unprivileged users",
         "JIT compiler hardening is enabled for all users"),
        "JIT hardening status has unknown value {}", "Unable to retrieve JIT hardening status",
    ),
    (
        "bpf_jit_kallsyms", "net.core.bpf_jit_kallsyms",
        ("JIT compiler kallsyms exports are disabled",
         "JIT compiler kallsyms exports are enabled for root"),
        "JIT kallsyms exports status has unknown value {}",
        "Unable to retrieve JIT kallsyms export status",
    ),
    (
        "bpf_jit_limit", "net.core.bpf_jit_limit", (),
        "Global memory limit for JIT compiler for unprivileged users is {} bytes",
        "Unable to retrieve global memory limit for JIT compiler for unprivileged users",
    ),
)  # fmt: skip

_MISC_FEATURES = (
    ("large_insn_limit", "Large program size limit"),
    ("bounded_loops", "Bounded loop support"),
    ("v2_isa_extension", "ISA extension v2"),
    ("v3_isa_extension", "ISA extension v3"),
    ("v4_isa_extension", "ISA extension v4"),
)


def probe(tool: Tool, words: Words) -> int:
    """``feature probe [kernel | dev NAME] [full] [unprivileged] [macros [prefix P]]``."""
    asked = _Asked(words)
    _check_rights(asked.unprivileged)
    report = _Report(tool, asked.prefix)
    if tool.json is not None:
        tool.json.start("{")
    if not asked.ifindex:
        _system(report)
    with_bpf = _syscall(report)
    if with_bpf:
        known = _program_types(report, asked)
        _map_types(report, asked)
        _helpers(report, asked, known)
        _misc(report, asked)
    if tool.json is not None:
        tool.json.end()
    return 0


class _Asked:
    # What the words ask for; prefix is None without "macros".
    __slots__ = ("full", "ifindex", "prefix", "unprivileged")

    def __init__(self, words: Words) -> None:
        self.full = self.unprivileged = False
        self.ifindex = 0
        self.prefix: str | None = None
        component = ""
        while words:
            word = words.peek()
            found = words.take_keyword("kernel", "dev", "full", "macros", "prefix", "unprivileged")
            if found in ("kernel", "dev"):
                if component:
                    raise Failure("component to probe already specified")
                component = found
                if found == "dev":
                    self.ifindex = _interface(words.take("device name"))
            elif found == "full":
                self.full = True
            elif found == "unprivileged":
                self.unprivileged = True
            elif found == "macros" and self.prefix is None:
                self.prefix = ""
            elif found == "prefix":
                if self.prefix is None:
                    raise Failure("'prefix' argument can only be use after 'macros'")
                if self.prefix:
                    raise Failure("'prefix' already defined")
                self.prefix = words.take("prefix")
            else:
                raise Failure(
                    "expected no more arguments, 'kernel', 'dev', 'macros' or 'prefix', "
                    f"got: '{word}'?"
                )


def _interface(name: str) -> int:
    import socket

    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise Failure(f"unrecognized netdevice '{name}': {error.strerror}") from None


def _check_rights(unprivileged: bool) -> None:
    from bpflens.kernel import capability as c

    wanted = (c.CAP_SYS_ADMIN, c.CAP_BPF, c.CAP_NET_ADMIN, c.CAP_PERFMON)
    held = c.effective()
    if unprivileged:
        if any(held >> one & 1 for one in wanted):
            c.drop_all_but([one for one in range(held.bit_length()) if one not in wanted])
        return
    missing = c.names(sum(1 << one for one in wanted if not held >> one & 1))
    if missing:
        told = ", ".join(f"CAP_{name.upper()}" for name in missing)
        raise Failure(
            f"missing {told}, required for full feature probing; run as root or use 'unprivileged'"
        )


class _Report:
    # Where the findings go, in one of the three forms.
    __slots__ = ("json", "out", "prefix")

    def __init__(self, tool: Tool, prefix: str | None) -> None:
        self.out = tool.out
        self.json = tool.json
        self.prefix = prefix if tool.json is None else None

    def start(self, section: tuple[str, str, str]) -> None:
        if self.json is not None:
            self.json.name(section[0])
            self.json.start("{")
        elif self.prefix is not None:
            self.out(f"/*** {section[2]} ***/\n")
        else:
            self.out(section[1] + "\n")

    def end(self) -> None:
        if self.json is not None:
            self.json.end()
        else:
            self.out("\n")

    def feature(self, name: str, plain: str, macro: str, has: bool) -> None:
        if self.json is not None:
            self.json.member(name, has)
        elif self.prefix is not None:
            self.out(f"#define {self.prefix}{'' if has else 'NO_'}HAVE_{macro}\n")
        else:
            self.out(f"{plain} is {'' if has else 'NOT '}available\n")


def _sure(attempt: Callable[[], bool]) -> bool:
    # What cannot be found out for lack of a right is not there for this user.
    try:
        return attempt()
    except (SyscallError, Error):
        return False


# --- sections -----------------------------------------------------------------------------------


def _system(report: _Report) -> None:
    report.start(_SYSTEM)
    if report.prefix is None:
        for setting in _SETTINGS:
            _setting(report, *setting)
    config = limits.kernel_config()
    if config is None:
        report.out("skipping kernel config, can't open file: No such file or directory\n"
                   if report.json is None else "")  # fmt: skip
    for short in _OPTIONS if config is not None else ():
        _option(report, f"CONFIG_{short}", (config or {}).get(f"CONFIG_{short}"))
    report.end()


def _setting(
    report: _Report, name: str, path: str, meanings: tuple[str, ...], other: str, unknown: str
) -> None:
    value = limits.sysctl(path)
    if report.json is not None:
        report.json.member(name, -1 if value is None else value)
    elif value is None:
        report.out(unknown + "\n")
    else:
        known = 0 <= value < len(meanings)
        report.out((meanings[value] if known else other.format(value)) + "\n")


def _option(report: _Report, name: str, value: str | None) -> None:
    if report.json is not None:
        report.json.member(name, value)
    elif report.prefix is None:
        report.out(f"{name} is not set\n" if value is None else f"{name} is set to {value}\n")
    elif name != "CONFIG_HZ":
        return  # the others are of no use to a C program
    elif value is None:
        report.out(f"/* {report.prefix}{name} is not set */\n")
    else:
        report.out(f"#define {report.prefix}{name} {value}\n")


def _syscall(report: _Report) -> bool:
    import errno

    from bpflens.kernel.object_command import prog_get_next_id

    has = True
    try:
        prog_get_next_id(0)
    except SyscallError as error:
        has = error.errno != errno.ENOSYS
    report.start(_SYSCALL)
    report.feature("have_bpf_syscall", "bpf() syscall", "BPF_SYSCALL", has)
    report.end()
    return has


def _program_types(report: _Report, asked: _Asked) -> set[int]:
    from bpflens.kernel.probe import has_prog_type

    known = set()
    report.start(_PROGRAMS)
    for number, name in _offered(u.PROG_TYPE_NAMES, asked, _OFFLOADED_PROGRAMS):
        if asked.ifindex:
            has = _loads(_RETURN_2, number, asked.ifindex)
        else:
            has = _sure(lambda number=number: has_prog_type(number))  # type: ignore[misc]
        if has:
            known.add(number)
        macro = f"{name.upper()}_PROG_TYPE"
        report.feature(f"have_{name}_prog_type", f"eBPF program_type {name}", macro, has)
    report.end()
    return known


def _map_types(report: _Report, asked: _Asked) -> None:
    from bpflens.kernel.probe import creates, has_map_type

    report.start(_MAPS)
    for number, name in _offered(u.MAP_TYPE_NAMES, asked, _OFFLOADED_MAPS):
        if asked.ifindex:
            has = _sure(
                lambda number=number: creates(  # type: ignore[misc]
                    lambda: bpf.map_create(number, 4, 4, 1, ifindex=asked.ifindex)
                )
            )
        else:
            has = _sure(lambda number=number: has_map_type(number))  # type: ignore[misc]
        macro = f"{name.upper()}_MAP_TYPE"
        report.feature(f"have_{name}_map_type", f"eBPF map_type {name}", macro, has)
    report.end()


_MACRO_GUIDE = """\
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


def _helpers(report: _Report, asked: _Asked, known: set[int]) -> None:
    report.start(_HELPERS)
    if report.prefix is not None:
        report.out(_MACRO_GUIDE.format(report.prefix))
    for number, name in _offered(u.PROG_TYPE_NAMES, asked, _OFFLOADED_PROGRAMS):
        found = _helpers_of(number, asked) if number in known else []
        names = [f"bpf_{HELPER_NAMES[helper]}" for helper in found]
        if report.json is not None:
            report.json.member(f"{name}_available_helpers", names)
        elif report.prefix is not None:
            _helper_macros(report, name, set(found), asked.full)
        else:
            report.out(f"eBPF helpers supported for program type {name}:")
            report.out("".join(f"\n\t- {helper}" for helper in names) + "\n")
            if number not in known:
                report.out("\tProgram type not supported\n")
            elif not names:
                report.out("\tCould not determine which helpers are available\n")
    report.end()


def _helper_macros(report: _Report, program: str, found: set[int], full: bool) -> None:
    from bpflens.kernel.probe import NOISY_HELPERS

    start = f"#define {report.prefix}BPF__PROG_TYPE_{program}__HELPER_bpf_"
    report.out(
        "".join(
            f"{start}{name} {int(number in found)}\n"
            for number, name in enumerate(HELPER_NAMES)
            if number and (full or number not in NOISY_HELPERS)
        )
    )


def _helpers_of(number: int, asked: _Asked) -> list[int]:
    from bpflens.kernel import probe as p

    try:
        if not asked.ifindex:
            return p.helpers_of(number, noisy=asked.full)
        return [
            helper
            for helper in range(1, len(HELPER_NAMES))
            if (asked.full or helper not in p.NOISY_HELPERS)
            and p.has_helper(number, helper, ifindex=asked.ifindex)
        ]
    except SyscallError:
        return []


def _misc(report: _Report, asked: _Asked) -> None:
    report.start(_MISC)
    for (name, plain), code in zip(_MISC_FEATURES, _misc_programs(), strict=True):
        has = _loads(code, u.BPF_PROG_TYPE_SOCKET_FILTER, asked.ifindex)
        report.feature(f"have_{name}", plain, name.upper(), has)
    report.end()


def _misc_programs() -> list[bytes]:
    from bpflens.asm import instruction as i

    zero, one, end = i.mov64_imm(0, 0), i.mov64_imm(0, 1), i.exit_()
    return [
        i.encode([one]) * u.BPF_MAXINSNS + i.encode([end]),
        i.encode([i.mov64_imm(0, 10), i.alu64_imm(u.BPF_SUB, 0, 1),
                  i.jmp_imm(u.BPF_JNE, 0, 0, -2), end]),
        i.encode([zero, i.jmp_imm(u.BPF_JLT, 0, 0, 1), one, end]),
        i.encode([zero, i.jmp32_imm(u.BPF_JLT, 0, 0, 1), one, end]),
        i.encode([zero, i.jmp32_imm(u.BPF_JEQ, 0, 1, 1), i.gotol(1), one, end]),
    ]  # fmt: skip


# --- devices ------------------------------------------------------------------------------------

_OFFLOADED_PROGRAMS = (u.BPF_PROG_TYPE_SCHED_CLS, u.BPF_PROG_TYPE_XDP)
_OFFLOADED_MAPS = (u.BPF_MAP_TYPE_HASH, u.BPF_MAP_TYPE_ARRAY)
# mov r0, 2; exit
_RETURN_2 = b"\xb7\0\0\0\2\0\0\0\x95\0\0\0\0\0\0\0"


def _offered(
    names: tuple[str, ...], asked: _Asked, offloaded: tuple[int, ...]
) -> list[tuple[int, str]]:
    # The types to try: all, or those that devices take.
    return [
        (number, name)
        for number, name in enumerate(names)
        if number and (not asked.ifindex or number in offloaded)
    ]


def _loads(code: bytes, prog_type: int, ifindex: int) -> bool:
    from bpflens.kernel.probe import loads

    return _sure(lambda: loads(code, prog_type, ifindex=ifindex))
