"""C++ names (Itanium ABI): the tables of its codes → what they stand for.

Data only, for :mod:`bpflens.symbols.itanium`.

Example::

    OPERATORS["pl"]       # ("+", 2): the operator and how many operands it has
"""

from __future__ import annotations

__all__ = [
    "BUILTIN",
    "BUILTIN_D",
    "OPERATORS",
    "SPECIAL",
    "STANDARD",
    "STANDARD_FULL",
    "TYPE_OPERAND",
]

BUILTIN = {
    "v": "void", "w": "wchar_t", "b": "bool", "c": "char", "a": "signed char",
    "h": "unsigned char", "s": "short", "t": "unsigned short", "i": "int", "j": "unsigned int",
    "l": "long", "m": "unsigned long", "x": "long long", "y": "unsigned long long",
    "n": "__int128", "o": "unsigned __int128", "f": "float", "d": "double", "e": "long double",
    "g": "__float128", "z": "...",
}  # fmt: skip
BUILTIN_D = {
    "d": "decimal64", "e": "decimal128", "f": "decimal32", "h": "half", "i": "char32_t",
    "s": "char16_t", "u": "char8_t", "a": "auto", "c": "decltype(auto)", "n": "decltype(nullptr)",
}  # fmt: skip
STANDARD = {
    "a": "std::allocator", "b": "std::basic_string", "s": "std::string", "i": "std::istream",
    "o": "std::ostream", "d": "std::iostream",
}  # fmt: skip
# What the abbreviations stand for; their constructors are called by the full name.
_STREAM = "<char, std::char_traits<char> >"
STANDARD_FULL = {
    "a": ("std::allocator", "allocator"),
    "b": ("std::basic_string", "basic_string"),
    "s": ("std::basic_string<char, std::char_traits<char>, std::allocator<char> >", "basic_string"),
    "i": ("std::basic_istream" + _STREAM, "basic_istream"),
    "o": ("std::basic_ostream" + _STREAM, "basic_ostream"),
    "d": ("std::basic_iostream" + _STREAM, "basic_iostream"),
}

# Code: name, number of operands.
OPERATORS = {
    "nw": ("new", 3), "na": ("new[]", 3), "dl": ("delete", 1), "da": ("delete[]", 1),
    "aw": ("co_await ", 1), "ps": ("+", 1), "ng": ("-", 1), "ad": ("&", 1), "de": ("*", 1),
    "co": ("~", 1), "pl": ("+", 2), "mi": ("-", 2), "ml": ("*", 2), "dv": ("/", 2),
    "rm": ("%", 2), "an": ("&", 2), "or": ("|", 2), "eo": ("^", 2), "aS": ("=", 2),
    "pL": ("+=", 2), "mI": ("-=", 2), "mL": ("*=", 2), "dV": ("/=", 2), "rM": ("%=", 2),
    "aN": ("&=", 2), "oR": ("|=", 2), "eO": ("^=", 2), "ls": ("<<", 2), "rs": (">>", 2),
    "lS": ("<<=", 2), "rS": (">>=", 2), "eq": ("==", 2), "ne": ("!=", 2), "lt": ("<", 2),
    "gt": (">", 2), "le": ("<=", 2), "ge": (">=", 2), "ss": ("<=>", 2), "nt": ("!", 1),
    "aa": ("&&", 2), "oo": ("||", 2), "pp": ("++", 1), "mm": ("--", 1), "cm": (",", 2),
    "pm": ("->*", 2), "pt": ("->", 2), "dt": (".", 2), "ds": (".*", 2), "cl": ("()", 2),
    "ix": ("[]", 2), "qu": ("?", 3), "st": ("sizeof ", 1), "sz": ("sizeof ", 1),
    "at": ("alignof ", 1), "az": ("alignof ", 1), "nx": ("noexcept", 1), "te": ("typeid ", 1),
    "ti": ("typeid ", 1), "tw": ("throw ", 1), "tr": ("throw", 0), "sP": ("sizeof...", 1),
    "sZ": ("sizeof...", 1), "sc": ("static_cast", 2), "dc": ("dynamic_cast", 2),
    "cc": ("const_cast", 2), "rc": ("reinterpret_cast", 2),
}  # fmt: skip
TYPE_OPERAND = ("st", "at", "ti")
SPECIAL = {
    "V": "vtable for ", "T": "VTT for ", "I": "typeinfo for ", "S": "typeinfo name for ",
    "F": "typeinfo fn for ", "J": "java Class for ", "A": "template parameter object for ",
}  # fmt: skip
