"""The BTF of several objects, joined: types that are the same once, sections of data merged.

Types are the same when their whole graphs are: classes of types are refined by what they refer to
until nothing changes. Declarations of what another object defines give way to the definition.

Example::

    joined = JoinedBtf()
    joined.add(btf, ext, places, symbols)
    data, ext_data = joined.build(sizes)
"""

from __future__ import annotations

from bpflens.btf import ext as _ext
from bpflens.btf.builder import Builder
from bpflens.btf.types import Datasec, DeclTag, Func, Var

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bpflens.btf import Btf
    from bpflens.btf.ext import CoreRelo, Ext, FuncInfo, LineInfo
    from bpflens.btf.types import Type

__all__ = ["JoinedBtf"]

_STATIC, _GLOBAL, _EXTERN = 0, 1, 2


class JoinedBtf:
    """Collects the BTF of objects and joins it."""

    __slots__ = ("_bases", "_builder", "_ids", "_parts", "_places", "_symbols", "_types")

    def __init__(self) -> None:
        self._parts: list[tuple[Btf, Ext | None]] = []
        self._places: list[Mapping[str, int]] = []
        self._symbols: list[Mapping[tuple[str, str], int]] = []
        self._types: list[tuple[int, Type]] = []
        self._bases: list[int] = []
        self._builder = Builder()
        self._ids: list[int] = []

    def add(
        self,
        btf: Btf,
        ext: Ext | None,
        places: Mapping[str, int],
        symbols: Mapping[tuple[str, str], int],
    ) -> None:
        """Add an object.

        ``places`` says where each of its sections begins in the joined one; ``symbols`` where a
        variable is in its section, by (section, name).
        """
        self._bases.append(len(self._types))
        number = len(self._parts)
        self._parts.append((btf, ext))
        self._places.append(places)
        self._symbols.append(symbols)
        self._types += [(number, btf.type(id)) for id in range(1, btf.nr_types)]

    def build(self, sizes: Mapping[str, int], lost: set[tuple[int, str]]) -> tuple[bytes, bytes]:
        """Return the two sections, given the ``sizes`` of joined sections.

        ``lost`` are (object, function) whose weak definition another object's has replaced.
        """
        builder = self._builder
        for at in self._number(self._classes()):
            part, type = self._types[at]
            if isinstance(type, Func) and (part, type.name) in lost:
                builder.add_func(type.name, self._id(part, type.type_id), _STATIC)
            else:
                builder.add_type(type, self._mapper(part))
        self._add_sections(sizes, lost)
        ext = self._build_ext()
        return builder.build(), ext

    def _global(self, part: int, id: int) -> int:
        # The place in the list of all types, -1 for void.
        return self._bases[part] + id - 1 if id else -1

    def _id(self, part: int, id: int) -> int:
        return self._ids[self._global(part, id)] if id else 0

    def _mapper(self, part: int) -> Callable[[int], int]:
        return lambda id: self._id(part, id)

    # --- which types are one ---

    def _classes(self) -> list[int]:
        # For each type the number of its class.
        shapes: dict[object, int] = {}
        classes: list[int] = []
        children: list[list[int]] = []
        for at, (part, type) in enumerate(self._types):
            below: list[int] = []
            shape: object = at  # sections, tags and definitions are nobody's twin
            if not isinstance(type, Datasec):
                one = Builder()
                one.add_type(type, lambda id, below=below: below.append(id) or 0)  # type: ignore[misc]
                if not isinstance(type, DeclTag | Func | Var):
                    shape = one.build()
            classes.append(shapes.setdefault(shape, len(shapes)))
            children.append([self._global(part, id) for id in below])
        classes = self._without_declarations(classes)
        count = len(set(classes))
        while True:
            finer: dict[object, int] = {}
            refined = [
                finer.setdefault(
                    (mine, *(classes[one] if one >= 0 else -1 for one in below)), len(finer)
                )
                if not isinstance(type, Func | Var)
                else finer.setdefault(("def", mine), len(finer))
                for mine, below, (_, type) in zip(classes, children, self._types, strict=True)
            ]
            classes = refined
            if len(finer) == count:
                return classes
            count = len(finer)

    def _without_declarations(self, classes: list[int]) -> list[int]:
        # An extern takes the class of the definition, or of the first extern of its name; so does
        # a variable that several objects define (the license, or a weak one).
        definitions: dict[tuple[type, str], int] = {}
        for wanted in (_GLOBAL, _EXTERN):
            for at, (_, type) in enumerate(self._types):
                if isinstance(type, Func | Var) and type.linkage == wanted:
                    definitions.setdefault((type.__class__, type.name), classes[at])
        return [
            definitions[type.__class__, type.name]
            if (isinstance(type, Func | Var) and type.linkage == _EXTERN)
            or (isinstance(type, Var) and type.linkage == _GLOBAL)
            else classes[at]
            for at, (_, type) in enumerate(self._types)
        ]

    def _number(self, classes: list[int]) -> list[int]:
        # Give new ids; return those that stand for their classes, in the order of the ids.
        best: dict[int, int] = {}
        for at, (_, type) in enumerate(self._types):
            if isinstance(type, Datasec):
                continue
            known = best.get(classes[at])
            if known is None or self._is_extern(known):
                if known is not None and self._is_extern(at):
                    continue
                best[classes[at]] = at
        written = sorted(best.values())
        order = {at: number for number, at in enumerate(written, 1)}
        self._ids = [order[best[one]] if one in best else 0 for one in classes]
        return written

    def _is_extern(self, at: int) -> bool:
        return getattr(self._types[at][1], "linkage", None) == _EXTERN

    # --- sections of data ---

    def _add_sections(self, sizes: Mapping[str, int], lost: set[tuple[int, str]]) -> None:
        joined: dict[str, dict[int, tuple[int, int, int]]] = {}
        declared: dict[str, int] = {}
        for part, type in self._types:
            if not isinstance(type, Datasec):
                continue
            rows = joined.setdefault(type.name, {})
            declared[type.name] = max(declared.get(type.name, 0), type.size)
            btf = self._parts[part][0]
            for one in type.vars:
                id = self._id(part, one.type_id)
                start = self._places[part].get(type.name, 0)
                name = btf.name(one.type_id)
                offset = start + self._symbols[part].get((type.name, name), one.offset)
                var = btf.type(one.type_id)
                if (part, name) in lost:
                    continue  # another object's definition counts
                if id in rows and getattr(var, "linkage", _GLOBAL) == _EXTERN:
                    continue  # it is defined here
                if type.name not in sizes and type.name not in (".kconfig", ".ksyms"):
                    continue
                rows[id] = (id, offset, one.size)
        defined = {id for name, rows in joined.items() if name in sizes for id in rows}
        for name, rows in joined.items():
            kept = [row for row in rows.values() if name in sizes or row[0] not in defined]
            if kept:
                kept.sort(key=_by_offset)
                self._builder.add_datasec(name, sizes.get(name, declared[name]), kept)

    # --- what belongs to instructions ---

    def _build_ext(self) -> bytes:
        funcs: dict[str, list[FuncInfo]] = {}
        lines: dict[str, list[LineInfo]] = {}
        relos: dict[str, list[CoreRelo]] = {}
        string = self._builder.string
        for part, (btf, ext) in enumerate(self._parts):
            if ext is None:
                continue
            start = self._places[part]
            for name, items in ext.func_info.items():
                at = start.get(name, 0)
                funcs.setdefault(name, []).extend(
                    _ext.FuncInfo(one.insn_off + at, self._id(part, one.type_id)) for one in items
                )
            for name, rows in ext.line_info.items():
                at = start.get(name, 0)
                lines.setdefault(name, []).extend(
                    _ext.LineInfo(
                        one.insn_off + at, string(btf.string(one.file_name_off)),
                        string(btf.string(one.line_off)), one.line_col,
                    )
                    for one in rows
                )  # fmt: skip
            for name, wanted in ext.core_relo.items():
                at = start.get(name, 0)
                relos.setdefault(name, []).extend(
                    _ext.CoreRelo(
                        one.insn_off + at, self._id(part, one.type_id), one.access, one.kind
                    )
                    for one in wanted
                )
        return _ext.build(self._builder, funcs, lines, relos)


def _by_offset(row: tuple[int, int, int]) -> int:
    return row[1]
