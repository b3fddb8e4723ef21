"""Print a structure of the running kernel, and what the kernel can do for us.

Needs no privilege for the first half: everyone may read the kernel's BTF.
Run: python3 examples/python/kernel_types.py [STRUCT]
"""

from __future__ import annotations

import sys

from bpflens import NotFound
from bpflens.btf.query import members, struct
from bpflens.kernel.feature import all_features
from bpflens.objects.btf import vmlinux


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "path"
    types = vmlinux()
    id = struct(types, name)
    if id is None:
        raise NotFound("struct", name)
    print(f"struct {name}: {types.size_of(id)} bytes")
    for field in members(types, id):
        print(f"  +{field.offset:<5} {field.path}")
    answers = {True: "yes", False: "no", None: "cannot be found out"}
    for feature in all_features().values():
        print(f"{feature.name:<26} {answers[feature.answer()]:<20} {feature.what}")


if __name__ == "__main__":
    main()
