#!/usr/bin/env python3
"""Write ``src/bpflens/uapi/*.py``: the kernel's constants and layouts as plain Python data.

Sources: the UAPI headers (``--headers``, through ``gcc -E``), the kernel's BTF (``--btf``) for
structures and for what came after those headers, and ``uapi_newer.py`` for the names of the latter.
The output is committed; ``tests/kernel/test_uapi_drift.py`` compares it with the running kernel.

Example::

    python3 tools/gen_uapi.py            # rewrites the files
    python3 tools/gen_uapi.py --check    # exits 1 if a file would change
"""

from __future__ import annotations

import argparse
import ast
import re
import struct
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "src" / "bpflens" / "uapi"
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "src"))

import uapi_newer as newer  # noqa: E402


# ---------------------------------------------------------------- BTF
class Types:
    """The few questions this tool asks of BTF."""

    def __init__(self, data: bytes) -> None:
        hdr_len, type_off, type_len, str_off, str_len = struct.unpack_from("<IIIII", data, 4)
        self.strings = data[hdr_len + str_off : hdr_len + str_off + str_len]
        self.data = data[hdr_len + type_off : hdr_len + type_off + type_len]
        self.at = [0]
        self.by_name: dict[tuple[int, str], int] = {}
        pos, end = 0, type_len
        per = {1: 4, 3: 12, 14: 4, 17: 4}
        each = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
        while pos < end:
            name, info, _size = struct.unpack_from("<III", self.data, pos)
            kind = info >> 24 & 0x1F
            if name and kind in (4, 5, 6, 19, 8):
                self.by_name.setdefault((kind, self.text(name)), len(self.at))
            self.at.append(pos)
            pos += 12 + per.get(kind, 0) + each.get(kind, 0) * (info & 0xFFFF)

    def text(self, off: int) -> str:
        return self.strings[off : self.strings.index(b"\0", off)].decode()

    def head(self, tid: int) -> tuple[str, int, int, int, int]:
        name, info, size = struct.unpack_from("<III", self.data, self.at[tid])
        return self.text(name), info >> 24 & 0x1F, info & 0xFFFF, info >> 31, size

    def enumerators(self) -> dict[str, int]:
        out: dict[str, int] = {}
        for tid in range(1, len(self.at)):
            _, kind, vlen, signed, _ = self.head(tid)
            if kind not in (6, 19):
                continue
            pos = self.at[tid] + 12
            for i in range(vlen):
                if kind == 6:
                    name, value = struct.unpack_from("<Ii", self.data, pos + 8 * i)
                    value = value if signed else value & 0xFFFFFFFF
                else:
                    name, low, high = struct.unpack_from("<III", self.data, pos + 12 * i)
                    value = low | high << 32
                    if signed and value >> 63:
                        value -= 1 << 64
                out.setdefault(self.text(name), value)
        return out

    def find(self, name: str) -> int:
        for kind in (4, 5):
            if (kind, name) in self.by_name:
                return self.by_name[kind, name]
        raise SystemExit(f"gen_uapi: the BTF has no struct or union {name}")

    def size(self, tid: int) -> int:
        name, kind, _, _, size = self.head(tid)
        if kind in (8, 9, 10, 11, 18):
            return self.size(size)
        if kind == 2:
            return 8
        if kind == 3:
            elem, _, count = struct.unpack_from("<III", self.data, self.at[tid] + 12)
            return self.size(elem) * count
        return size

    def members(self, tid: int) -> list[tuple[str, int, int, int]]:
        """(name, type id, bit offset, bit size)."""
        _, kind, vlen, bitfields, _ = self.head(tid)
        out = []
        for i in range(vlen):
            name, mtype, off = struct.unpack_from("<III", self.data, self.at[tid] + 12 + 12 * i)
            bits = off >> 24 if bitfields else 0
            out.append((self.text(name), mtype, off & 0xFFFFFF if bitfields else off, bits))
        return out

    def is_record(self, tid: int) -> bool:
        return self.head(tid)[1] in (4, 5)


# ---------------------------------------------------------------- headers
def gcc(headers: Path, text: str, *flags: str) -> str:
    done = subprocess.run(
        ["gcc", "-E", "-P", f"-I{headers}", *flags, "-x", "c", "-"],
        input=text, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


SIZES = {"__u64": 8, "char *": 8, "__u32": 4, "struct perf_event_query_bpf *": 8, "int": 4}


def evaluate(text: str, env: dict[str, int]) -> int | None:
    """The value of a C constant expression, or None if it is not one."""
    for name, size in SIZES.items():
        text = re.sub(rf"sizeof\s*\(\s*{re.escape(name)}\s*\)", str(size), text)
    text = re.sub(r"\(\s*(unsigned |signed )?(__u64|__u32|int|long|unsigned)\s*\)", "", text)
    text = re.sub(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", text)
    text = re.sub(r"\b0+(\d+)\b", lambda m: str(int(m[1], 8)), text)
    text = re.sub(r"'(.)'", lambda m: str(ord(m[1])), text)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in env:
            return None
        if isinstance(node, (ast.Call, ast.Attribute, ast.Constant)) and not (
            isinstance(node, ast.Constant) and isinstance(node.value, int)
        ):
            return None
    value = eval(compile(tree, "c", "eval"), {"__builtins__": {}}, dict(env))
    return value if isinstance(value, int) else None


def enums(headers: Path, header: str) -> list[tuple[str, dict[str, int]]]:
    """Every enum of a header in order: (tag or "", name → value)."""
    text = gcc(headers, f"#include <{header}>\n")
    env: dict[str, int] = {}
    out = []
    for match in re.finditer(r"\benum\s*(\w*)\s*\{([^}]*)\}", text):
        values: dict[str, int] = {}
        last = -1
        for item in split_commas(match[2]):
            name, _, expr = item.partition("=")
            name = name.strip()
            if not name:
                continue
            value = evaluate(expr, env) if expr.strip() else last + 1
            if value is None:
                raise SystemExit(f"gen_uapi: cannot evaluate {item.strip()}")
            env[name] = values[name] = last = value
        out.append((match[1], values))
    return out


def split_commas(text: str) -> list[str]:
    out, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            out.append(text[start:i])
            start = i + 1
    return [*out, text[start:]]


def macros(headers: Path, header: str, known: dict[str, int], *files: str) -> dict[str, int]:
    """Object-like macros of one header (or of the named files) whose value is a number."""
    names = []
    for file in files or (header,):
        source = next(p for p in (headers / file, Path("/usr/include") / file) if p.exists())
        body = re.sub(r"/\*.*?\*/", "", source.read_text(), flags=re.S)
        names += re.findall(r"^[ \t]*#[ \t]*define[ \t]+([A-Za-z]\w*)[ \t]+\S", body, re.M)
    names = [n for n in dict.fromkeys(names) if n not in known]
    marks = "".join(f"@@{i} {name}\n" for i, name in enumerate(names))
    text = gcc(headers, f"#include <{header}>\n{marks}")
    out: dict[str, int] = {}
    for i, body in re.findall(r"@@\s*(\d+)\s+([^@]*)", text):
        value = evaluate(" ".join(body.split()), known)
        if value is not None:
            out[names[int(i)]] = value
    return out


# ---------------------------------------------------------------- text
def is_sentinel(name: str) -> bool:
    """Whether a name's value changes from kernel to kernel (or is not for users)."""
    return (
        name.startswith(("_", "MAX_BPF_ATTACH", "MAX_BPF_LINK"))
        or name.endswith(("_MAX", "_MAX_SHIFT", "_MAX_STATES"))
        or name == "BPF_F_REDIRECT_FLAGS"
    )


class Module:
    """The text of one generated module."""

    def __init__(self, name: str, doc: str) -> None:
        self.name = name
        note = "Generated by ``tools/gen_uapi.py`` from the kernel's headers and BTF: do not edit."
        self.lines = [f'"""{doc}', "", note, '"""', "", "from __future__ import annotations"]
        self.seen: dict[str, int] = {}

    def group(self, title: str, values: dict[str, int], form: str = "d") -> None:
        fresh = {n: v for n, v in values.items() if n not in self.seen and not is_sentinel(n)}
        if not fresh:
            return
        self.lines += ["", f"# {title}"] if title else [""]
        for name, value in fresh.items():
            self.lines.append(f"{name} = 0x{value:X}" if form == "x" else f"{name} = {value}")
        self.seen.update(fresh)

    def names(self, name: str, doc: str, values: list[str]) -> None:
        self.lines += ["", f"# {doc}", f"{name}: tuple[str, ...] = ("]
        self.lines += [f'    "{v}",' for v in values] + [")"]

    def table(self, name: str, doc: str, rows: dict[int, str]) -> None:
        self.lines += ["", f"# {doc}", f"{name}: dict[int, str] = {{"]
        self.lines += [f'    {k}: "{v}",' for k, v in rows.items()] + ["}"]

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def by_value(values: dict[str, int], strip: str, lower: bool = True) -> list[str]:
    """Names in the order of their values, prefix gone; the first name of a value wins."""
    out: dict[int, str] = {}
    for name, value in values.items():
        if name.startswith("__") or name.startswith("MAX_") or name.endswith("_DEPRECATED"):
            continue
        out.setdefault(value, name.removeprefix(strip))
    assert sorted(out) == list(range(len(out))), f"holes in {strip}"
    return [out[i].lower() if lower else out[i] for i in range(len(out))]


RELO_KINDS = (
    "byte_off byte_sz field_exists signed lshift_u64 rshift_u64 local_type_id target_type_id "
    "type_exists type_size enumval_exists enumval_value type_matches"
).split()  # fmt: skip


def bpf_groups(headers: Path, btf: dict[str, int]) -> list[tuple[str, dict[str, int]]]:
    groups = [(tag, dict(values)) for tag, values in enums(headers, "linux/bpf.h")]
    tags = {tag: values for tag, values in groups if tag}

    def put(tag: str, values: dict[str, int]) -> None:
        if tag not in tags:
            tags[tag] = {}
            groups.append((tag, tags[tag]))
        tags[tag].update({n: v for n, v in values.items() if n not in tags[tag]})

    for tag, text in newer.NEWER_NAMES.items():
        missing = [n for n in text.split() if n not in btf]
        if missing:
            raise SystemExit(f"gen_uapi: the BTF has no {missing}")
        put(tag, {n: btf[n] for n in text.split()})
    for tag, values in newer.NEWER_VALUES.items():
        put(tag, values)
    for values in tags.values():  # the sentinels of the header are those of its own day
        for name in [n for n in values if n.startswith("__MAX_")]:
            del values[name]
    return groups


def make_bpf(headers: Path, btf: dict[str, int]) -> Module:
    module = Module("bpf", "Constants of ``linux/bpf.h`` and ``linux/bpf_common.h``.")
    groups = bpf_groups(headers, btf)
    known = {n: v for _, values in groups for n, v in values.items()}
    module.group(
        "linux/bpf_common.h",
        macros(headers, "linux/bpf.h", known, "linux/bpf_common.h"), "x",
    )  # fmt: skip
    module.group("linux/bpf.h: macros", macros(headers, "linux/bpf.h", known), "x")
    for tag, enum in groups:
        flags = all(v and not v & (v - 1) for v in enum.values())
        module.group(tag or "flags", enum, "x" if flags else "d")
    tags = {tag: enum for tag, enum in groups if tag}
    for name, tag, strip, doc in (
        ("CMD_NAMES", "bpf_cmd", "BPF_", "Commands of bpf(2) by number."),
        ("MAP_TYPE_NAMES", "bpf_map_type", "BPF_MAP_TYPE_", "Map types, in bpftool's spelling."),
        ("PROG_TYPE_NAMES", "bpf_prog_type", "BPF_PROG_TYPE_", "Program types."),
        ("ATTACH_TYPE_NAMES", "bpf_attach_type", "BPF_", "Attach types, in libbpf's spelling."),
        ("LINK_TYPE_NAMES", "bpf_link_type", "BPF_LINK_TYPE_", "Link types."),
    ):
        module.names(name, doc, by_value(tags[tag], strip))
    module.names("CORE_RELO_KIND_NAMES", "CO-RE relocation kinds, as libbpf logs them.", RELO_KINDS)
    return module


def make_helper(headers: Path, btf: dict[str, int]) -> Module:
    module = Module("helper", "Helper functions of BPF programs: names and C signatures by id.")
    tags = {tag: values for tag, values in bpf_groups(headers, btf) if tag}
    names = by_value(tags["bpf_func_id"], "BPF_FUNC_", lower=False)
    module.names("HELPER_NAMES", "Index = helper id (BPF_FUNC_*).", names)
    text = (headers / "linux" / "bpf.h").read_text()
    found = {
        m[2]: (m[1].strip(), m[3])
        for m in re.finditer(r"^ \* ([a-z][\w ]*?[ *])\s*bpf_(\w+)\(([^)]*)\)$", text, re.M)
    }
    found["cgrp_storage_get"] = (
        "void *", "struct bpf_map *map, struct cgroup *cgroup, void *value, u64 flags",
    )  # fmt: skip
    found["cgrp_storage_delete"] = ("long", "struct bpf_map *map, struct cgroup *cgroup")
    module.lines += ["", "# (return type, parameters) in C; index = helper id, unspec is empty."]
    module.lines += ["HELPER_SIGNATURES: tuple[tuple[str, str], ...] = ("]
    for name in names:
        ret, args = found.get(name, ("", ""))
        if not ret and name != "unspec":
            raise SystemExit(f"gen_uapi: no signature of bpf_{name}")
        module.lines += [f'    ("{ret}", "{args}"),']
    module.lines += [")"]
    return module


BTF_KINDS = (
    "UNKNOWN INT PTR ARRAY STRUCT UNION ENUM FWD TYPEDEF VOLATILE CONST RESTRICT FUNC FUNC_PROTO "
    "VAR DATASEC FLOAT DECL_TAG TYPE_TAG ENUM64"
).split()  # fmt: skip


def make_btf(headers: Path) -> Module:
    module = Module("btf", "Constants of ``linux/btf.h``.")
    known: dict[str, int] = {}
    for _, values in enums(headers, "linux/btf.h"):
        known.update(values)
    module.group("kinds and linkage", known)
    module.group("macros", macros(headers, "linux/btf.h", known), "x")
    module.names("KIND_NAMES", "Kinds, as ``bpftool btf dump`` prints them.", BTF_KINDS)
    return module


def make_perf(headers: Path, types: Types) -> Module:
    module = Module("perf", "Constants of ``linux/perf_event.h`` and ``linux/hw_breakpoint.h``.")
    known: dict[str, int] = {}
    for tag, values in enums(headers, "linux/perf_event.h"):
        values = {n: v for n, v in values.items() if not n.startswith("__")}
        module.group(tag or "bits", values)
        known.update(values)
    module.group("macros", macros(headers, "linux/perf_event.h", known), "x")
    bits = {
        f"PERF_ATTR_BIT_{name.upper()}": off - 320
        for name, _, off, size in types.members(types.find("perf_event_attr"))
        if 320 <= off < 384 and name != "__reserved_1"
    }
    module.group("bit numbers in perf_event_attr.flags (the u64 at offset 40)", bits)
    for tag, values in enums(headers, "linux/hw_breakpoint.h"):
        module.group(tag or "hw_breakpoint.h", values)
    return module


ELF_PREFIXES = (
    "EI_ ELFMAG ELFCLASS ELFDATA EV_ ELFOSABI_ ET_ EM_ SHN_ SHT_ SHF_ STB_ STT_ STV_ PT_ PF_ DT_ "
    "NT_ R_BPF_ R_X86_64_ R_AARCH64_RELATIVE R_AARCH64_GLOB_DAT R_AARCH64_JUMP_SLOT "
    "R_AARCH64_ABS64 R_386_RELATIVE ELFCOMPRESS_ GRP_"
).split()  # fmt: skip


def make_elf(headers: Path) -> Module:
    module = Module("elf", "Constants of ``elf.h``.")
    values = macros(Path("/usr/include"), "elf.h", {})
    for prefix in ELF_PREFIXES:
        picked = {n: v for n, v in values.items() if n.startswith(prefix)}
        module.group(prefix.rstrip("_"), picked, "x" if prefix in ("SHF_", "DT_") else "d")
    module.group("sizes of records", {
        "SIZEOF_ELF64_EHDR": 64, "SIZEOF_ELF64_SHDR": 64, "SIZEOF_ELF64_PHDR": 56,
        "SIZEOF_ELF64_SYM": 24, "SIZEOF_ELF64_REL": 16, "SIZEOF_ELF64_RELA": 24,
        "SIZEOF_ELF32_EHDR": 52, "SIZEOF_ELF32_SHDR": 40, "SIZEOF_ELF32_PHDR": 32,
        "SIZEOF_ELF32_SYM": 16, "SIZEOF_ELF32_REL": 8, "SIZEOF_ELF32_RELA": 12,
    })  # fmt: skip
    return module


def syscalls(headers: Path, header: str, defines: str) -> dict[int, str]:
    text = gcc(headers, f"{defines}#include <{header}>\n", "-dD")
    found = re.findall(r"#define __NR(?:3264)?_(\w+) (.*)", text)
    env = {f"__NR_{n}": evaluate(v, {}) for n, v in found}
    out: dict[int, str] = {}
    for name, value in found:
        number = evaluate(value, {k: v for k, v in env.items() if v is not None})
        if number is None or name in ("syscalls", "arch_specific_syscall"):
            continue
        out.setdefault(number, name)
    return dict(sorted(out.items()))


def make_syscall(headers: Path) -> Module:
    module = Module("syscall", "System call numbers of x86-64 and AArch64, both ways.")
    want = "RENAMEAT NEW_STAT SET_GET_RLIMIT TIME32_SYSCALLS SYS_CLONE3 MEMFD_SECRET".split()
    arm = "".join(f"#define __ARCH_WANT_{w}\n" for w in want if w != "TIME32_SYSCALLS")
    tables = {
        "x86_64": syscalls(headers, "x86_64-linux-gnu/asm/unistd_64.h", ""),
        "aarch64": syscalls(headers, "asm-generic/unistd.h", "#define __BITS_PER_LONG 64\n" + arm),
    }
    # The generic header names what differs by word size after its 32-bit half.
    for table in tables.values():
        table.update({k: v for k, v in newer.NEWER_SYSCALLS.items() if k not in table})
    tables["x86_64"].update(newer.NEWER_SYSCALLS_X86_64)
    for arch, table in tables.items():
        const = f"SYSCALL_NAMES_{arch.upper()}"
        module.table(const, f"Number → name on {arch}.", dict(sorted(table.items())))
    for arch, table in tables.items():
        number = {v: k for k, v in table.items()}
        for name in ("bpf", "perf_event_open", "gettid", "epoll_create1", "epoll_wait",
                     "epoll_pwait", "epoll_ctl", "memfd_create", "pidfd_open", "setns", "unshare",
                     "mount", "capget", "capset", "fsopen", "fsconfig", "fsmount", "move_mount",
                     "open_tree", "prctl", "ioctl", "mmap", "munmap", "process_vm_readv",
                     "sched_setaffinity", "seccomp"):  # fmt: skip
            if name in number:
                module.group("", {f"NR_{name.upper()}_{arch.upper()}": number[name]})
                module.lines.pop(-2)
    return module


def make_errno(headers: Path) -> Module:
    module = Module("errno", "Error numbers with the kernel's own, which user space lacks.")
    values = macros(headers, "asm-generic/errno.h", {}, "asm-generic/errno-base.h",
                    "asm-generic/errno.h")  # fmt: skip
    values = {n: v for n, v in values.items() if n[0] == "E"}
    values |= {
        "ERESTARTSYS": 512, "ERESTARTNOINTR": 513, "ERESTARTNOHAND": 514, "ENOIOCTLCMD": 515,
        "ERESTART_RESTARTBLOCK": 516, "EPROBE_DEFER": 517, "EOPENSTALE": 518, "ENOPARAM": 519,
        "EBADHANDLE": 521, "ENOTSYNC": 522, "EBADCOOKIE": 523, "ENOTSUPP": 524, "ETOOSMALL": 525,
        "ESERVERFAULT": 526, "EBADTYPE": 527, "EJUKEBOX": 528, "EIOCBQUEUED": 529,
        "ERECALLCONFLICT": 530, "ENOGRACE": 531,
    }  # fmt: skip
    module.group("include/uapi/asm-generic/errno.h, include/linux/errno.h", values)
    names: dict[int, str] = {}
    for name, number in values.items():
        names.setdefault(number, name)
    module.table("ERRNO_NAMES", "Number → name.", dict(sorted(names.items())))
    return module


# ---------------------------------------------------------------- layouts
# The anonymous members of union bpf_attr, named by what they serve; found by their first field.
ATTR_MEMBERS = {
    "map_type": "map_create",
    "map_fd": "map_elem",
    "prog_type": "prog_load",
    "pathname": "obj",
    "target_fd": "prog_attach",
    "start_id": "get_id",
    "btf": "btf_load",
}

STRUCTS = (
    "bpf_prog_info bpf_map_info bpf_btf_info bpf_link_info bpf_func_info bpf_line_info "
    "bpf_token_info bpf_core_relo bpf_insn bpf_iter_link_info bpf_raw_tracepoint_args bpf_pidns_info "
    "bpf_stack_build_id bpf_perf_event_value bpf_sysctl bpf_sock xdp_md __sk_buff bpf_sock_ops "
    "sk_msg_md bpf_sk_lookup bpf_sock_addr bpf_cgroup_dev_ctx bpf_sockopt bpf_flow_keys "
    "bpf_devmap_val bpf_cpumap_val bpf_lpm_trie_key_u8 bpf_cgroup_storage_key bpf_dynptr "
    "bpf_timer bpf_spin_lock bpf_list_head bpf_list_node bpf_rb_root bpf_rb_node perf_event_attr "
    "perf_event_mmap_page perf_event_header perf_branch_entry btf_header btf_type perf_event_query_bpf "
    "bpf_perf_event_data pt_regs"
).split()  # fmt: skip


Field = tuple[str, int, int]


def flatten(types: Types, tid: int, base: int, prefix: str, bits: list[Field]) -> list[Field]:
    """Fields with the insides of unnamed members pulled up and of named ones dotted."""
    out: list[Field] = []
    for name, mtype, off, bit_size in types.members(tid):
        at = base + off // 8
        if bit_size:
            if name:
                bits.append((prefix + name, base * 8 + off, bit_size))
        elif types.is_record(mtype) and (not name or types.head(mtype)[0] == ""):
            inner = f"{prefix}{name}." if name else prefix
            if name:
                out.append((prefix + name, at, types.size(mtype)))
            out += flatten(types, mtype, at, inner, bits)
        elif name:
            out.append((prefix + name, at, types.size(mtype)))
    return out


def layout_text(name: str, size: int, fields: list[Field], bits: list[Field]) -> list[str]:
    const = name.upper()
    lines = ["", f"SIZEOF_{const} = {size}", f"{const}: Fields = ("]
    lines += [f'    ("{n}", {o}, {s}),' for n, o, s in fields] + [")"]
    if bits:
        lines += [f"{const}_BITS: Fields = ("]
        lines += [f'    ("{n}", {o}, {s}),' for n, o, s in bits] + [")"]
    return lines


def make_layout(types: Types) -> Module:
    module = Module("layout", "Where the fields of the kernel's ABI structures are.")
    module.lines[1:1] = [
        "",
        "Each table is a tuple of ``(name, byte offset, byte size)``; members of a named inner struct",
        "are dotted (``perf_event.bpf_cookie``), those of unnamed ones stand by themselves. ``*_BITS``",
        "holds bit fields as ``(name, bit offset, bit size)``. ``BPF_ATTR_*`` are the members of",
        "``union bpf_attr``, one for each command (``map_elem``, ``obj``, ``get_id`` are shared).",
    ]
    module.lines += ["", "Fields = tuple[tuple[str, int, int], ...]"]
    attr = types.find("bpf_attr")
    done = set()
    module.lines += ["", f"SIZEOF_BPF_ATTR = {types.size(attr)}"]
    for name, mtype, _, _ in types.members(attr):
        first = types.members(mtype)[0]
        while not first[0]:
            first = types.members(first[1])[0]
        label = name or ATTR_MEMBERS[first[0]]
        bits: list[Field] = []
        fields = flatten(types, mtype, 0, "", bits)
        fields += [f for f in newer.NEWER_ATTRS.get(label, ()) if f not in fields]
        done.add(label)
        end = max(o + s for _, o, s in fields)
        module.lines += layout_text(f"bpf_attr_{label}", end, fields, bits)
    for label, extra in newer.NEWER_ATTRS.items():
        if label not in done:
            end = max(o + s for _, o, s in extra)
            module.lines += layout_text(f"bpf_attr_{label}", end, list(extra), [])
    for name in STRUCTS:
        tid = types.find(name)
        bits = []
        fields = flatten(types, tid, 0, "", bits)
        module.lines += layout_text(name.lstrip("_"), types.size(tid), fields, bits)
    return module


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--btf", type=Path, default=Path("/sys/kernel/btf/vmlinux"))
    parser.add_argument("--headers", type=Path, default=Path("/usr/include"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", action="store_true", help="compare only")
    args = parser.parse_args()
    types = Types(args.btf.read_bytes())
    known = types.enumerators()
    modules = [
        make_bpf(args.headers, known),
        make_helper(args.headers, known),
        make_btf(args.headers),
        make_perf(args.headers, types),
        make_elf(args.headers),
        make_syscall(args.headers),
        make_errno(args.headers),
        make_layout(types),
    ]
    changed = []
    for module in modules:
        path = args.out / f"{module.name}.py"
        text = module.text()
        if not path.exists() or path.read_text() != text:
            changed.append(path.name)
            if not args.check:
                path.write_text(text)
    print("changed:", " ".join(changed) or "nothing")
    return 1 if args.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
