"""Constants out of C headers: what ``gcc -E`` leaves, evaluated.

Enumerators and object-like macros whose values are integer constant expressions become Python
ints. Nothing is compiled or run.

Example::

    known = dict(pair for _, values in enums(Path("/usr/include"), "linux/btf.h")
                 for pair in values.items())
    macros(Path("/usr/include"), "linux/btf.h", known)["BTF_MAGIC"]      # 0xeB9F
"""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

SIZES = {"__u64": 8, "char *": 8, "__u32": 4, "struct perf_event_query_bpf *": 8, "int": 4}


def preprocess(headers: Path, text: str, *flags: str) -> str:
    """What ``gcc -E -P`` makes of a text, with ``headers`` before the system's own."""
    done = subprocess.run(
        ["gcc", "-E", "-P", f"-I{headers}", *flags, "-x", "c", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


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
        if isinstance(node, ast.Call | ast.Attribute):
            return None
        if isinstance(node, ast.Constant) and not isinstance(node.value, int):
            return None
    value = eval(compile(tree, "c", "eval"), {"__builtins__": {}}, dict(env))
    return value if isinstance(value, int) else None


def enums(headers: Path, header: str) -> list[tuple[str, dict[str, int]]]:
    """Every enum of a header in order: (tag or "", name → value)."""
    text = preprocess(headers, f"#include <{header}>\n")
    env: dict[str, int] = {}
    out = []
    for match in re.finditer(r"\benum\s*(\w*)\s*\{([^}]*)\}", text):
        values: dict[str, int] = {}
        last = -1
        for item in _split_commas(match[2]):
            name, _, expression = item.partition("=")
            name = name.strip()
            if not name:
                continue
            value = evaluate(expression, env) if expression.strip() else last + 1
            if value is None:
                raise SystemExit(f"gen_uapi: cannot evaluate {item.strip()}")
            env[name] = values[name] = last = value
        out.append((match[1], values))
    return out


def _split_commas(text: str) -> list[str]:
    out, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            out.append(text[start:i])
            start = i + 1
    return [*out, text[start:]]


def macros(headers: Path, header: str, known: dict[str, int], *files: str) -> dict[str, int]:
    """Object-like macros of one header (or of the named files) whose value is a number."""
    names: list[str] = []
    for file in files or (header,):
        source = next(p for p in (headers / file, Path("/usr/include") / file) if p.exists())
        body = re.sub(r"/\*.*?\*/", "", source.read_text(), flags=re.DOTALL)
        names += re.findall(r"^[ \t]*#[ \t]*define[ \t]+([A-Za-z]\w*)[ \t]+\S", body, re.MULTILINE)
    names = [n for n in dict.fromkeys(names) if n not in known]
    marks = "".join(f"@@{i} {name}\n" for i, name in enumerate(names))
    text = preprocess(headers, f"#include <{header}>\n{marks}")
    out: dict[str, int] = {}
    for i, body in re.findall(r"@@\s*(\d+)\s+([^@]*)", text):
        value = evaluate(" ".join(body.split()), known)
        if value is not None:
            out[names[int(i)]] = value
    return out


def syscall_numbers(headers: Path, header: str, defines: str) -> dict[int, str]:
    """The ``__NR_*`` of a header as number → name, with the given macros defined before."""
    text = preprocess(headers, f"{defines}#include <{header}>\n", "-dD")
    found = re.findall(r"#define __NR(?:3264)?_(\w+) (.*)", text)
    env: dict[str, int] = {}
    for name, value in found:
        number = evaluate(value, {})
        if number is not None:
            env[f"__NR_{name}"] = number
    out: dict[int, str] = {}
    for name, value in found:
        number = evaluate(value, env)
        if number is not None and name not in ("syscalls", "arch_specific_syscall"):
            out.setdefault(number, name)
    return dict(sorted(out.items()))
