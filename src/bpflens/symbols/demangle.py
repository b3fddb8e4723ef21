"""C++ and Rust names as people write them.

Takes a symbol's name and gives the text that c++filt gives (without its verbose details); a name
that is not mangled, or that nobody can read, comes back as it is. What compilers hang behind a
name (``.cold``, ``.isra.0``) is shown the same way: ``f(int) [clone .cold]``.

The parsers are our own (:mod:`bpflens.symbols.itanium`, :mod:`bpflens.symbols.rust`) and are
imported with the first mangled name. For a C++ name that ours cannot read, the package ``cxxfilt``
is asked if it is installed. Answers are remembered, a limited number of them.

Example::

    demangle("_ZNSt6vectorIiSaIiEE9push_backERKi")
    # 'std::vector<int, std::allocator<int> >::push_back(int const&)'
"""

from __future__ import annotations

__all__ = ["demangle", "is_mangled"]

_MEMO = 1 << 14
# A name costs 50 µs or so; nobody reads longer ones.
_MAX_NAME = 1 << 14

_memo: dict[str, str] = {}


def is_mangled(name: str) -> bool:
    """Whether a name looks mangled (C++, or either of Rust's)."""
    return name.startswith(("_Z", "_R"))


def demangle(name: str) -> str:
    """Return the readable form of a name, or the name itself."""
    if not is_mangled(name) or len(name) > _MAX_NAME:
        return name
    found = _memo.get(name)
    if found is None:
        found = _demangle(name)
        if len(_memo) >= _MEMO:
            _memo.clear()
        _memo[name] = found
    return found


def _demangle(name: str) -> str:
    plain, suffix = _take_suffix(name)
    found = _rust(plain)
    if found is not None:
        # What the Rust compiler's back end appends says nothing to a person.
        return found if suffix.startswith((".llvm.", "")) else found + suffix
    found = _cxx(plain)
    if found is None:
        return name
    return found + "".join(f" [clone {clone}]" for clone in _clones(suffix))


def _take_suffix(name: str) -> tuple[str, str]:
    # A mangled name has no dots, except inside identifiers of Rust's old mangling.
    if name.startswith("_ZN") and "17h" in name:
        end = name.find("E.", name.rfind("17h") + 19)
        return (name[: end + 1], name[end + 1 :]) if end >= 0 else (name, "")
    plain, dot, suffix = name.partition(".")
    return plain, dot + suffix


def _clones(suffix: str) -> list[str]:
    # ".isra.0.cold" is two: ".isra.0" and ".cold".
    clones: list[str] = []
    for word in suffix.split(".")[1:]:
        if word.isdecimal() and clones:
            clones[-1] += f".{word}"
        else:
            clones.append(f".{word}")
    return clones


def _rust(name: str) -> str | None:
    if not name.startswith("_R") and not (name.startswith("_ZN") and "17h" in name):
        return None
    from bpflens.symbols.rust import NotRust, parse_legacy, parse_v0

    try:
        return parse_v0(name) if name.startswith("_R") else parse_legacy(name)
    except NotRust:
        return None


def _cxx(name: str) -> str | None:
    if not name.startswith("_Z"):
        return None
    from bpflens.symbols.itanium import Unknown, parse
    from bpflens.symbols.itanium_text import text

    try:
        return text(parse(name))
    except (Unknown, OverflowError, RecursionError):
        return _package(name)


def _package(name: str) -> str | None:
    from importlib import import_module

    try:
        cxxfilt = import_module("cxxfilt")
        found: str = cxxfilt.demangle(name)
    except Exception:
        # Not installed, no C++ library for it to load, or a name it cannot read either.
        return None
    return None if found == name else found
