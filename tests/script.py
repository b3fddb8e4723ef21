"""Scripts without a kernel: compiled for a machine that does not exist, run by the interpreter.

``check(text)`` gives the complaints of a compilation, ``output(text)`` what a script's ``begin``
probes print, events first, then its maps.
"""

from __future__ import annotations

import contextlib

from bpflens.asm.fake_kernel import FakeKernel
from bpflens.asm.fake_map import from_spec
from bpflens.asm.interpreter import Machine
from bpflens.errors import CompileError
from bpflens.lang.pipeline import Compilation
from bpflens.render.map import MapData, is_set
from bpflens.render.resolver import Resolver
from bpflens.render.text import TextRenderer

# What the running kernels of the tests lack: everything that needs their BTF.
_MISSING = frozenset(("open_coded_iter", "tp_btf", "get_current_task_btf"))


class FakeTarget:
    """A machine with nothing on it but what a test says."""

    arch = "x86_64"
    possible_cpus = 2
    page_size = 4096

    def __init__(self, **facts):
        self.facts = facts

    def btf(self):
        return None

    def module_btfs(self):
        return []

    def tracepoints(self, system, event):
        return [(s, e) for s, e in self.facts.get("tracepoints", {}) if (s, e) == (system, event)]

    def tracepoint_format(self, system, event):
        return self.facts.get("tracepoints", {}).get((system, event))

    def raw_tracepoints(self, event):
        return [event]

    def kernel_functions(self, module, function):
        return [("", function)]

    def user_functions(self, binary, function):
        return [(binary, function)]

    def binaries(self, path):
        return [path]

    def near_probes(self, kind, options):
        return []

    def usdt_probes(self, binary, provider, name):
        return [(binary, provider, name)]

    def usdt_operands(self, binary, provider, name):
        return self.facts.get("operands", [])

    def kernel_symbol(self, name):
        return self.facts.get("symbols", {}).get(name)

    def user_symbol(self, binary, name):
        return self.facts.get("symbols", {}).get(name)

    def cgroup_id(self, path):
        return self.facts.get("cgroups", {}).get(path)

    def has(self, feature):
        return feature not in _MISSING

    def read_include(self, name):
        return None


def compilation(text, *, facts=None, params=(), **options):
    """Return a compilation of a script for a fake machine."""
    return Compilation(text, FakeTarget(**(facts or {})), params=params, options=options)


def compiled(text, **named):
    """Return the compiled program of a script that has no mistakes."""
    return compilation(text, **named).run()


def check(text, **named):
    """Return ``(code, first line of the message, text it points at)`` of all complaints."""
    made = compilation(text, **named)
    with contextlib.suppress(CompileError):
        made.run()
    return [
        (item.code, item.message.split("\n")[0], text[item.start : item.end])
        for item in made.diagnostics.items
    ]


def codes(text, **named):
    """Return the codes of all complaints."""
    return [code for code, _, _ in check(text, **named)]


class _Maps:
    """The maps of one program, and what is in them as a session would read it."""

    def __init__(self, program, cpus):
        self.cpus = cpus
        self.fakes = {name: from_spec(spec, cpus) for name, spec in program.object.maps.items()}

    def data(self, schema, spec):
        fake = self.fakes[schema.spec]
        found = [(bytes(key), value) for key, value in fake.items()]
        keys = b"".join(key for key, _ in found)
        values = b"".join(
            b"".join(value) if isinstance(value, list) else bytes(value) for _, value in found
        )
        cpus = self.cpus if schema.per_cpu else 1
        size = spec.key_size if schema.key is not None else 0
        return MapData(keys, values, size, (spec.value_size + 7) // 8 * 8, cpus)


def output(text, *, kernel=None, memory=None, **named):
    """Run the ``begin`` probes of a script in the interpreter; return what it prints."""
    program = compiled(text, **named)
    maps = _Maps(program, FakeTarget.possible_cpus)
    renderer = TextRenderer(program, Resolver())
    out = []
    for probe in program.probes:
        spec = program.object.programs[probe.program]
        machine = Machine.of(spec, maps.fakes, kernel or FakeKernel(comm=b"script"), memory=memory)
        machine.run(bytes(64))
        out.append(_events(program, maps, renderer))
    for schema in sorted(program.maps, key=lambda item: item.name):
        data = maps.data(schema, program.object.maps[schema.spec])
        if is_set(schema, data):
            out.append(renderer.map(schema, data))
    return b"".join(out).decode()


def _events(program, maps, renderer):
    out = []
    ring = maps.fakes.get("ringbuf")
    for record in ring.drain() if ring is not None else []:
        number = int.from_bytes(record[:4], "little")
        schema = program.events[number]
        if schema.action == "printf":
            out.append(renderer.printf(number, record, 0, len(record), 1))
        elif schema.action == "print_value":
            out.append(renderer.value(schema, record))
        elif schema.action in ("errorf", "warnf", "runtime_error", "helper_error"):
            out.append(f"<{schema.action}>\n".encode())
    return b"".join(out)
