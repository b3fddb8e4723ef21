"""Raw dump: text and JSON, and that they are the real tool's."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.rawdump import describe, json_text, text
from bpflens.errors import FormatError

EXPECTED = """\
[1] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED
[2] INT 'char' size=1 bits_offset=0 nr_bits=8 encoding=SIGNED
[3] INT 'unsigned long' size=8 bits_offset=0 nr_bits=64 encoding=(none)
[4] INT '_Bool' size=1 bits_offset=0 nr_bits=8 encoding=BOOL
[5] FLOAT 'double' size=8
[6] ARRAY '(anon)' type_id=2 index_type_id=1 nr_elems=16
[7] ENUM 'color' encoding=SIGNED size=4 vlen=3
	'RED' val=0
	'GREEN' val=1
	'BLUE' val=-1
[8] ENUM64 'big' encoding=UNSIGNED size=8 vlen=2
	'SMALL' val=1ULL
	'HUGE' val=1099511627776ULL
[9] STRUCT '(anon)' size=8 vlen=2
	'x' type_id=1 bits_offset=0
	'y' type_id=1 bits_offset=32
[10] UNION '(anon)' size=8 vlen=2
	'whole' type_id=3 bits_offset=0
	'(anon)' type_id=9 bits_offset=0
[11] STRUCT 'node' size=64 vlen=9
	'next' type_id=12 bits_offset=0
	'name' type_id=6 bits_offset=64
	'color' type_id=7 bits_offset=192
	'low' type_id=1 bits_offset=224 bitfield_size=3
	'high' type_id=1 bits_offset=227 bitfield_size=5
	'(anon)' type_id=10 bits_offset=256
	'big' type_id=8 bits_offset=320
	'ratio' type_id=5 bits_offset=384
	'ok' type_id=4 bits_offset=448
[12] PTR '(anon)' type_id=11
[13] TYPEDEF 'node_t' type_id=11
[14] CONST '(anon)' type_id=13
[15] VOLATILE '(anon)' type_id=14
[16] RESTRICT '(anon)' type_id=12
[17] FUNC_PROTO '(anon)' ret_type_id=1 vlen=3
	'self' type_id=12
	'count' type_id=3
	'(anon)' type_id=0
[18] FUNC 'walk' type_id=17 linkage=global
[19] VAR 'root' type_id=13, linkage=global
[20] DATASEC '.bss' size=64 vlen=1
	type_id=19 offset=0 size=64 (VAR 'root')
[21] FWD 'later' fwd_kind=struct
[22] FWD 'choice' fwd_kind=union
[23] DECL_TAG 'hot' type_id=18 component_idx=-1
[24] DECL_TAG 'kept' type_id=11 component_idx=1
[25] TYPE_TAG 'user' type_id=11
[26] PTR '(anon)' type_id=0
[27] FUNC_PROTO '(anon)' ret_type_id=0 vlen=2
	'(anon)' type_id=26
	'node' type_id=12
[28] PTR '(anon)' type_id=27
[29] TYPEDEF 'btf_trace_walked' type_id=28
"""


def test_every_kind(small):
    assert "".join(text(small)) == EXPECTED


def test_chosen_types_in_the_order_asked_for(small):
    assert "".join(text(small, [21, 5, 21])) == (
        "[21] FWD 'later' fwd_kind=struct\n[5] FLOAT 'double' size=8\n"
        "[21] FWD 'later' fwd_kind=struct\n"
    )
    with pytest.raises(FormatError, match="id 99"):
        list(text(small, [99]))


def test_json_has_the_same_facts(small):
    types = json.loads("".join(json_text(small)))["types"]
    assert [t["id"] for t in types] == list(range(1, 30))
    assert types[10]["members"][3] == {
        **{"name": "low", "type_id": 1, "bits_offset": 224, "bitfield_size": 3},
    }
    assert types[6]["values"][2] == {"name": "BLUE", "val": -1}
    assert json.loads("".join(json_text(small, [20])))["types"] == [describe(small, 20)]
    assert describe(small, 20)["vars"] == [{"type_id": 19, "offset": 0, "size": 64}]


def test_split_btf_shows_only_its_own(small):
    b = Builder(base=small)
    b.add_typedef("alias", small.find("node"))
    btf = Btf(b.build(), base=small)
    assert "".join(text(btf)) == f"[{small.nr_types}] TYPEDEF 'alias' type_id=11\n"
    assert "".join(text(btf, [5])) == "[5] FLOAT 'double' size=8\n"


def test_unsigned_number_is_the_same_in_text_and_json():
    b = Builder()
    b.add_enum("e", [("TOP", 0x80000000)])
    btf = Btf(b.build())
    assert "val=2147483648" in "".join(text(btf))
    assert '"val":2147483648' in "".join(json_text(btf))


def bpftool(*args: str) -> str:
    tool = shutil.which("bpftool")
    if not tool:
        pytest.skip("there is no bpftool here")
    done = subprocess.run([tool, *args], check=True, stdout=subprocess.PIPE, timeout=60, text=True)
    return done.stdout


@pytest.mark.differential
def test_text_is_the_real_tools(vmlinux):
    theirs = bpftool("btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "raw")
    assert "".join(text(vmlinux)) == theirs


@pytest.mark.differential
def test_text_and_json_of_an_object_are_the_real_tools(small, tmp_path):
    path = tmp_path / "small.btf"
    path.write_bytes(small.raw)
    assert "".join(text(small)) == bpftool("btf", "dump", "file", str(path), "format", "raw")
    theirs = bpftool("-j", "btf", "dump", "file", str(path), "format", "raw")
    assert "".join(json_text(small)) == theirs.rstrip("\n")
