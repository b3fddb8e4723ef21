"""The verifier's log → what happened at which instruction, its complaint, and its counts.

A log mixes the walk over the program (one line for each instruction visited, with register
states at levels 1 and 2), the source lines from line info, notes about functions, and at the end
the reason for a refusal and statistics. :func:`parse` sorts these; lines of the walk that carry no
complaint are kept in ``steps`` and ``notes``, so that nothing is lost.

This module does not say what a complaint means or what to do about it.

Example::

    log = parse(error.log)
    log.error        # ["R1 invalid mem access 'scalar'"]
    log.insn         # 1
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Message", "Step", "VerifierLog", "parse"]


class Step:
    """An instruction that the verifier looked at.

    ``insn`` is its slot, ``text`` the disassembly, ``state`` the registers as printed behind it
    ("" if none), ``source`` the source line that was last announced ("" if none).
    """

    __slots__ = ("insn", "source", "state", "text")

    def __init__(self, insn: int, text: str, state: str, source: str) -> None:
        self.insn = insn
        self.text = text
        self.state = state
        self.source = source

    def __repr__(self) -> str:
        return f"Step({self.insn}, {self.text!r}, {self.state!r}, {self.source!r})"


class Message:
    """A line of text that belongs to the instruction at slot ``insn`` (None: to no instruction)."""

    __slots__ = ("insn", "text")

    def __init__(self, insn: int | None, text: str) -> None:
        self.insn = insn
        self.text = text

    def __repr__(self) -> str:
        return f"Message({self.insn}, {self.text!r})"


class VerifierLog:
    """A log, sorted.

    ``steps`` in the order of the walk; ``messages`` every line that is no step, state, source line
    or statistic; ``notes`` the state lines and traces; ``summary`` the statistics as printed and
    ``stats`` the numbers in them by name ("processed insns", "limit", "peak_states", ...).
    """

    __slots__ = ("messages", "notes", "stats", "steps", "summary")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.messages: list[Message] = []
        self.notes: list[Message] = []
        self.summary: list[str] = []
        self.stats: dict[str, int] = {}

    @property
    def error(self) -> list[str]:
        """The last group of messages: why the program was refused ([] when it was not)."""
        if not self.messages:
            return []
        last = self.messages[-1].insn
        out: list[str] = []
        for message in reversed(self.messages):
            if message.insn != last:
                break
            out.append(message.text)
        return out[::-1]

    @property
    def insn(self) -> int | None:
        """The slot of the instruction the complaint is about, None if it names none."""
        if not self.messages:
            return None
        named = _named_insn(self.messages[-1].text)
        return self.messages[-1].insn if named is None else named

    @property
    def source(self) -> str:
        """The source line (``text @ file:line`` since Linux 6.9) of that instruction, or ""."""
        wanted = self.insn
        for step in reversed(self.steps):
            if step.insn == wanted:
                return step.source
        return ""


# How lines begin that tell of the walk, not of a fault.
_NOTES = (
    "func#", "from ", "caller:", "callee:", "returning from callee", "to caller at", "last_idx",
    "regs=", "parent ", "mark_precise:", "propagating ", "Live regs before", "frame", "Validating ",
    "Func#", "arg#", "stack_depth", "falling back", "BTF: ", "Global function", "subprog",
    "reuse ", "safe", "loop ", "Unpinned",
)  # fmt: skip


def parse(log: str | Iterable[str]) -> VerifierLog:
    """Sort the lines of a log (one text or its lines)."""
    out = VerifierLog()
    source = ""
    at: int | None = None
    for line in log.splitlines() if isinstance(log, str) else log:
        if not line.strip():
            continue
        if line.startswith("; "):
            source = line[2:]
            continue
        number, _, rest = line.partition(": ")
        if number.isdigit():
            at = int(number)
            if rest.startswith("("):
                text, _, state = rest.partition(" ; ")
                out.steps.append(Step(at, text.rstrip(), state.strip(), source))
            else:
                out.notes.append(Message(at, rest))
        elif line.startswith(("processed ", "verification time ", "stack depth ")):
            _statistics(out, line)
        elif line[0].isspace() or line.startswith(_NOTES):
            out.notes.append(Message(at, line.strip()))
        else:
            out.messages.append(Message(at, line))
    return out


def _statistics(out: VerifierLog, line: str) -> None:
    # "processed 5 insns (limit 1000000) max_states_per_insn 0 total_states 0 ..." and
    # "verification time 120 usec"; "stack depth 8+16" keeps its first number.
    out.summary.append(line)
    words = line.replace("(", "").replace(")", "").replace("+", " ").split()
    if words[0] == "processed" and len(words) > 2:
        out.stats["processed insns"] = int(words[1])
        words = words[3:]
    elif len(words) > 2 and words[2].isdigit():
        words = [" ".join(words[:2]), words[2]]
    for name, value in zip(words[::2], words[1::2], strict=False):
        if value.isdigit():
            out.stats[name] = int(value)


def _named_insn(text: str) -> int | None:
    # "unreachable insn 5", "jump out of range from insn 3 to 9", "back-edge from insn 4 to 2".
    _, found, rest = text.partition("insn ")
    number = rest.split(" ")[0].rstrip(",:")
    return int(number) if found and number.isdigit() else None
