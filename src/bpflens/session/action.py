"""What each kind of event makes the session do, except printf, which has a fast road of its own."""

from __future__ import annotations

import time
from struct import unpack_from

from bpflens.render.map import MapData

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.program import EventSchema
    from bpflens.session.session import Session

    Action = Callable[[Session, int, EventSchema, memoryview], None]

__all__ = ["perform"]


def perform(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    """Do what one event asks for; ``record`` is its payload."""
    _ACTIONS[schema.action](session, number, schema, record)


def _integers(schema: EventSchema, record: memoryview) -> list[int]:
    return [unpack_from("<q", record, field.offset)[0] for field in schema.fields]


def _print_value(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    session.output.write(session.renderer.value(schema, record))


def _print_map(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    top, div, *_ = [*_integers(schema, record), 0, 0]
    session.show_map(session.schema(schema.map), top, div)


def _print_map_item(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    found = session.schema(schema.map)
    field = schema.fields[0]
    key = bytes(record[field.offset : field.offset + field.type.size])
    source, key = session.find(found, key)
    raw = source.lookup_raw(key)
    if raw is None:
        raw = bytes(source.stride)
    cpus = source.stride // source.info.value_size if found.per_cpu else 1
    data = MapData(key, raw, source.info.key_size, source.info.value_size, cpus)
    session.output.write(session.renderer.map_item(found, data))


def _clear(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    session.clear(session.schema(schema.map))


def _zero(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    session.zero(session.schema(schema.map))


def _exit(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    if session.exit_code is None:
        session.exit_code = _integers(schema, record)[0] & 0xFF


def _time(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    from bpflens.session.resolver import strftime

    shown = strftime(schema.format.decode("utf-8", "surrogateescape"), time.time_ns())
    session.output.write(session.renderer.raw("time", shown.encode("utf-8", "surrogateescape")))


def _join(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    values = session.renderer.read(schema, record, 0)
    assert isinstance(values, list)
    delimiter = schema.format.decode("utf-8", "surrogateescape")
    words = []
    for value in values:
        if not value:
            break
        words.append(str(value))
    shown = (delimiter.join(words) + "\n").encode("utf-8", "surrogateescape")
    session.output.write(session.renderer.raw("join", shown))


def _formatted(session: Session, schema: EventSchema, record: memoryview) -> bytes:
    from bpflens.render.printf import compile_format

    resolver, trailer = session.renderer.resolver, session.renderer.trailer
    return compile_format(schema, resolver, trailer)(record, 0, len(record), 1)


def _cat(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    path = _formatted(session, schema, record)
    limit = int(str(session.program.config.get("max_cat_bytes", 10240)))
    try:
        with open(path, "rb", buffering=0) as file:
            left = limit
            while left > 0 and (piece := file.read(min(left, 65536))):
                session.output.write(session.renderer.raw("cat", piece))
                left -= len(piece)
    except OSError as error:
        name = path.decode("utf-8", "replace")
        session.output.message(f"ERROR: failed to open file '{name}' ({error.strerror})\n")


def _system(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    command = _formatted(session, schema, record)
    if session.run_command is not None:
        session.output.write(session.renderer.raw("system", session.run_command(command)))


def _helper_error(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    code = _integers(schema, record)[0] if schema.fields else None
    if session.repeated(number):
        return
    shown = session.renderer.problem(schema, "WARNING", schema.message, code)
    session.output.message_bytes(shown)


def _script_message(severity: str) -> Action:
    def act(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
        message = _formatted(session, schema, record).decode("utf-8", "surrogateescape")
        shown = session.renderer.problem(schema, severity, message.rstrip("\n"), None)
        session.output.message_bytes(shown)

    return act


def _unwatch(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    session.unwatch(_integers(schema, record)[0] & 0xFFFFFFFFFFFFFFFF)


def _packet(session: Session, number: int, schema: EventSchema, record: memoryview) -> None:
    when, length, data = schema.fields
    (time_ns,) = unpack_from("<Q", record, when.offset)
    (whole,) = unpack_from("<I", record, length.offset)
    (kept,) = unpack_from("<I", record, data.offset)
    start = data.offset + 4
    path = schema.format.decode("utf-8", "surrogateescape")
    session.packet(path, time_ns, whole, bytes(record[start : start + kept]))


_ACTIONS: dict[str, Action] = {
    "print_value": _print_value,
    "print_map": _print_map,
    "print_map_item": _print_map_item,
    "clear": _clear,
    "zero": _zero,
    "exit": _exit,
    "time": _time,
    "join": _join,
    "cat": _cat,
    "system": _system,
    "helper_error": _helper_error,
    "runtime_error": _helper_error,
    "errorf": _script_message("ERROR"),
    "warnf": _script_message("WARNING"),
    "unwatch": _unwatch,
    "skboutput": _packet,
}
