"""``bpftool version``: the version of bpftool that this is, and what it can do.

The number is that of the real tool whose words and layouts are kept (scripts compare it); the
features are those that scripts ask for before they use ``prog dump jited``, ``prog profile`` or
signing.

Example::

    $ bpftool version
    bpftool v7.8.0
    using libbpf v1.8
    features: llvm, skeletons
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.bpftool.tool import Tool

__all__ = ["FEATURES", "LIBBPF_VERSION", "VERSION", "version"]

VERSION = "7.8.0"
LIBBPF_VERSION = "1.8"
FEATURES = {
    "libbfd": False, "llvm": True, "crypto": False, "skeletons": True, "bootstrap": False,
}  # fmt: skip
"""What scripts look for: "llvm" stands for a disassembler, "skeletons" for ``prog profile``."""


def version(tool: Tool) -> int:
    """Print it."""
    if tool.json is not None:
        tool.json.value(
            {"version": VERSION, "libbpf_version": LIBBPF_VERSION, "features": FEATURES}
        )
        return 0
    features = ", ".join(name for name, state in FEATURES.items() if state)
    tool.out(f"bpftool v{VERSION}\nusing libbpf v{LIBBPF_VERSION}\nfeatures: {features}\n")
    return 0
