"""BTF for older kernels: unknown kinds are replaced, ids and everything else stay."""

from __future__ import annotations

import os

import pytest

from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.kernel import bpf
from bpflens.load.btf_sanitize import FEATURES, sanitized
from bpflens.uapi import btf as k


@pytest.fixture
def blob():
    builder = Builder()
    number = builder.add_int("int", 4, encoding=1)
    builder.add_float("double", 8)
    proto = builder.add_func_proto(number, [("ctx", number)])
    function = builder.add_func("main", proto, linkage=1)
    builder.add_decl_tag("note:x", function)
    tagged = builder.add_type_tag("kptr", number)
    builder.add_ptr(tagged)
    builder.add_enum64("large", [("BIG", 1 << 40), ("SMALL", 1)])
    builder.add_enum("small", [("MINUS", -1)])
    var = builder.add_var("counter", number)
    builder.add_datasec(".bss", 4, [(var, 0, 4)])
    builder.add_struct("after", 4, [("x", number, 0)])
    return builder.build()


def test_nothing_missing_changes_nothing(blob):
    assert sanitized(blob, set()) == blob


def test_kinds_that_a_kernel_lacks_are_gone_and_ids_stay(blob):
    before, after = Btf(blob), Btf(sanitized(blob, set(FEATURES)))
    assert after.nr_types == before.nr_types
    kinds = {after.kind(id) for id in range(1, after.nr_types)}
    assert kinds <= {
        k.BTF_KIND_INT, k.BTF_KIND_PTR, k.BTF_KIND_STRUCT, k.BTF_KIND_UNION, k.BTF_KIND_ENUM,
        k.BTF_KIND_TYPEDEF, k.BTF_KIND_CONST,
    }  # fmt: skip
    assert after.find("after", k.BTF_KIND_STRUCT) == before.find("after", k.BTF_KIND_STRUCT)
    large = after.type(after.find("large"))
    assert [member.name for member in large.members] == ["BIG", "SMALL"]


def test_only_what_is_missing_is_replaced(blob):
    after = Btf(sanitized(blob, {"btf_func_global"}))
    function = after.type(after.find("main", k.BTF_KIND_FUNC))
    assert function.linkage == 0
    assert after.find(".bss", k.BTF_KIND_DATASEC)


@pytest.mark.kernel
@pytest.mark.parametrize("missing", [*({name} for name in FEATURES), set(FEATURES)])
def test_kernel_takes_what_was_replaced(blob, missing):
    os.close(bpf.btf_load(sanitized(blob, missing)))
