"""BTF functions → one-line prototypes, in bpftool's spelling (``int f(struct __sk_buff * skb)``).

Example::

    prototype(btf, func_id)         # 'int sock_count(struct __sk_buff * skb)'
"""

from __future__ import annotations

from bpflens.btf import types as _t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf import Btf

__all__ = ["prototype"]

_WORDS: dict[type, str] = {
    _t.Struct: "struct ", _t.Union: "union ", _t.Enum: "enum ", _t.Enum64: "enum ",
}  # fmt: skip
_QUALIFIERS: dict[type, str] = {
    _t.Const: "const ", _t.Volatile: "volatile ", _t.Restrict: "restrict ", _t.Ptr: "",
}  # fmt: skip
_DEEPEST = 64


def prototype(btf: Btf, id: int) -> str:
    """Return the prototype of a function, empty when its BTF cannot be printed so."""
    try:
        return _type(btf, id, 0)
    except ValueError:
        return ""


def _type(btf: Btf, id: int, depth: int) -> str:
    if not id:
        return "void "
    if depth > _DEEPEST:
        raise ValueError
    found = btf.type(id)
    kind = type(found)
    if isinstance(found, (_t.Int, _t.Typedef, _t.Float)):
        return f"{found.name} "
    if kind in _WORDS:
        return f"{_WORDS[kind]}{found.name} "
    if isinstance(found, _t.Ptr):
        return _type(btf, found.type_id, depth + 1) + "* "
    if isinstance(found, (_t.Const, _t.Volatile, _t.Restrict)):
        return _QUALIFIERS[kind] + _type(btf, found.type_id, depth + 1)
    if isinstance(found, _t.TypeTag):
        return _type(btf, found.type_id, depth + 1)
    if isinstance(found, _t.Array):
        return f"{_type(btf, found.type_id, depth + 1)}[{found.nr_elems}]"
    if isinstance(found, _t.Fwd):
        return f"{'union' if found.is_union else 'struct'} {found.name} "
    if isinstance(found, _t.FuncProto):
        return _function(btf, found, "", depth)
    if isinstance(found, _t.Func):
        proto = btf.type(found.type_id)
        if isinstance(proto, _t.FuncProto):
            return _function(btf, proto, found.name, depth)
    raise ValueError


def _function(btf: Btf, proto: _t.FuncProto, name: str, depth: int) -> str:
    params = []
    for param in proto.params:
        if not param.type_id:
            params.append("...")
            continue
        text = _type(btf, param.type_id, depth + 1)
        params.append(text + param.name if param.name else text.removesuffix(" "))
    return f"{_type(btf, proto.ret_type_id, depth + 1)}{name}({', '.join(params)})"
