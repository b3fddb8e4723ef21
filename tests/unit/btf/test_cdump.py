"""C dump: declarations, order, padding, names; and what compilers and the real tool say to it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from bpflens.btf import Btf
from bpflens.btf.builder import Builder
from bpflens.btf.cdump import Declarer, dump, type_declaration
from bpflens.errors import FormatError


def c_of(builder: Builder, **options) -> str:
    return "".join(dump(Btf(builder.build()), frame=False, **options))


class Types(Builder):
    """A builder that has ``int`` and ``char`` already."""

    def __init__(self) -> None:
        super().__init__()
        self.int = self.add_int("int", 4, 1)
        self.char = self.add_int("char", 1, 1)


def declaration(make, name: str = "x") -> str:
    builder = Types()
    id = make(builder)
    return type_declaration(Btf(builder.build()), id, name)


@pytest.mark.parametrize(
    ("make", "named", "unnamed"),
    [
        (lambda b: b.int, "int x", "int"),
        (lambda b: b.add_ptr(b.add_ptr(b.char)), "char **x", "char **"),
        (lambda b: b.add_ptr(b.add_const(b.char)), "const char *x", "const char *"),
        (lambda b: b.add_const(b.add_ptr(b.char)), "char * const x", "char * const"),
        (lambda b: b.add_restrict(b.add_ptr(0)), "void * restrict x", "void * restrict"),
        (
            lambda b: b.add_volatile(b.add_const(b.int)),
            "const volatile int x",
            "const volatile int",
        ),
        (lambda b: b.add_array(b.int, b.int, 3), "int x[3]", "int[3]"),
        (lambda b: b.add_array(b.add_array(b.int, b.int, 3), b.int, 2), "int x[2][3]", "int[2][3]"),
        (lambda b: b.add_ptr(b.add_array(b.int, b.int, 3)), "int (*x)[3]", "int(*)[3]"),
        (lambda b: b.add_array(b.add_ptr(b.int), b.int, 3), "int *x[3]", "int *[3]"),
        (lambda b: b.add_ptr(b.add_func_proto(0, [])), "void (*x)(void)", "void (*)(void)"),
        (
            lambda b: b.add_func_proto(b.int, [("a", b.char), ("", 0)]),
            "int x(char a, ...)",
            "int(char a, ...)",
        ),
        (
            lambda b: b.add_array(b.add_ptr(b.add_func_proto(b.int, [("", b.int)])), b.int, 4),
            "int (*x[4])(int)",
            "int (*[4])(int)",
        ),
        (
            lambda b: b.add_ptr(b.add_func_proto(b.add_ptr(b.add_func_proto(0, [])), [])),
            "void (* (*x)(void))(void)",
            "void (* (*)(void))(void)",
        ),
        (lambda b: b.add_ptr(b.add_struct("s", 0, [])), "struct s *x", "struct s *"),
        (lambda b: b.add_ptr(b.add_fwd("f", True)), "union f *x", "union f *"),
        (lambda b: b.add_enum("e", [("A", 1)]), "enum e x", "enum e"),
        (lambda b: b.add_enum("", [("A", 1)]), "enum {\n\tA = 1,\n} x", "enum {\n\tA = 1,\n}"),
        (
            lambda b: b.add_struct("", 4, [("a", b.int, 0)]),
            "struct {\n\tint a;\n} x",
            "struct {\n\tint a;\n}",
        ),
        (
            lambda b: b.add_ptr(b.add_type_tag("user", b.int)),
            'int __attribute__((btf_type_tag("user"))) *x',
            'int __attribute__((btf_type_tag("user"))) *',
        ),
        (
            lambda b: b.add_ptr(b.add_type_tag("address_space(1)", b.int, True)),
            "int __attribute__((address_space(1))) *x",
            "int __attribute__((address_space(1))) *",
        ),
    ],
)
def test_declarations(make, named, unnamed):
    assert declaration(make) == named
    assert declaration(make, "") == unnamed


def test_declarer_does_not_number_names():
    builder = Types()
    ids = [builder.add_struct("s", 4, [("a", builder.int, 0)]) for _ in range(2)]
    declarer = Declarer(Btf(builder.build()))
    assert [declarer.declare(id, "x") for id in ids] == ["struct s x", "struct s x"]


def test_embedded_struct_comes_first_and_pointer_needs_only_a_name():
    b = Types()
    b.add_struct("a", 16, [("inner", b.next_id + 1, 0), ("other", b.next_id + 2, 64)])
    b.add_struct("z_inner", 4, [("x", b.int, 0)])
    b.add_ptr(b.next_id + 1)
    b.add_struct("z_other", 8, [("back", b.next_id + 1, 0)])
    b.add_ptr(3)
    assert c_of(b) == (
        "struct z_inner {\n\tint x;\n};\n\n"
        "struct z_other;\n\n"
        "struct a {\n\tstruct z_inner inner;\n\tstruct z_other *other;\n};\n\n"
        "struct z_other {\n\tstruct a *back;\n};\n\n"
    )


def test_types_are_sorted_by_rank_and_name():
    b = Types()
    b.add_struct("b", 4, [("x", b.int, 0)])
    b.add_typedef("number", b.int)
    b.add_struct("a", 4, [("x", b.int, 0)])
    b.add_enum("late", [("Z", 1)])
    b.add_enum("", [("A", 1)])
    heads = [text.split("{")[0].strip() for text in c_of(b).split("\n\n")]
    assert heads == ["enum", "enum late", "typedef int number;", "struct a", "struct b", ""]
    heads = [text.split("{")[0].strip() for text in c_of(b, sort=False).split("\n\n")]
    assert heads == ["struct b", "typedef int number;", "struct a", "enum late", "enum", ""]


def test_names_that_occur_twice_are_numbered():
    b = Types()
    b.add_struct("s", 4, [("a", b.int, 0)])
    b.add_struct("s", 4, [("b", b.int, 0)])
    b.add_enum("", [("X", 1)])
    b.add_enum("", [("X", 2)])
    text = c_of(b)
    assert "struct s {" in text
    assert "struct s___2 {" in text
    assert "\tX = 1," in text
    assert "\tX___2 = 2," in text


def test_padding_and_packing():
    b = Types()
    b.add_struct("gap", 16, [("a", b.char, 0), ("b", b.int, 64)])
    b.add_struct("packed", 5, [("a", b.char, 0), ("b", b.int, 8)])
    b.add_struct("bits", 4, [("a", b.int, 0, 3), ("b", b.int, 5, 4)])
    b.add_struct("empty", 0, [])
    text = c_of(b)
    assert "struct gap {\n\tchar a;\n\tint b;\n\tlong: 0;\n\tint b" not in text
    assert "struct packed {\n\tchar a;\n\tint b;\n} __attribute__((packed));" in text
    assert "struct bits {\n\tint a: 3;\n\tchar: 2;\n\tint b: 4;\n};" in text
    assert "struct empty {};" in text


def test_enums_of_odd_sizes():
    b = Types()
    b.add_enum("byte", [("B", 1)], size=1)
    b.add_enum64("wide", [("W", 1 << 40), ("N", 1)])
    b.add_enum64("word", [("D", -1)], is_signed=True)
    b.add_enum("small_word", [("S", 1)], size=8)
    text = c_of(b)
    assert "enum byte {\n\tB = 1,\n} __attribute__((mode(byte)));" in text
    assert "enum wide {\n\tW = 1099511627776ULL,\n\tN = 1ULL,\n};" in text
    assert "enum word {\n\tD = -1LL,\n};" in text
    assert "enum small_word {\n\tS = 1,\n} __attribute__((mode(word)));" in text


def test_roots_bring_what_they_need_and_nothing_else(small):
    b = Types()
    inner = b.add_struct("inner", 4, [("x", b.int, 0)])
    outer = b.add_struct("outer", 4, [("i", inner, 0)])
    b.add_struct("other", 4, [("i", inner, 0)])
    btf = Btf(b.build())
    text = "".join(dump(btf, [outer], frame=False))
    assert text == "struct inner {\n\tint x;\n};\n\nstruct outer {\n\tstruct inner i;\n};\n\n"
    with pytest.raises(FormatError, match="no type with the id 99"):
        list(dump(btf, [99]))
    assert "".join(dump(small, [0], frame=False)) == ""


def test_typedef_of_a_struct_that_points_back_through_it():
    b = Types()
    b.add_typedef("node_t", 4)
    b.add_struct("", 8, [("next", 5, 0)])
    b.add_ptr(3)
    with pytest.raises(FormatError, match="contains itself"):
        c_of(b)


def test_struct_inside_itself_is_refused():
    b = Types()
    b.add_struct("s", 4, [("s", 3, 0)])
    with pytest.raises(FormatError, match="contains itself"):
        c_of(b)


def test_kfuncs_are_declared():
    b = Types()
    proto = b.add_func_proto(b.int, [("p", b.add_ptr(0))])
    for name in ("bpf_b", "bpf_a"):
        func = b.add_func(name, proto)
        b.add_decl_tag("bpf_kfunc", func)
    b.add_decl_tag("bpf_fastcall", func)
    text = "".join(dump(Btf(b.build())))
    assert (
        "/* BPF kfuncs */\n#ifndef BPF_NO_KFUNC_PROTOTYPES\n"
        "extern __bpf_fastcall int bpf_a(void *p) __weak __ksym;\n"
        "extern int bpf_b(void *p) __weak __ksym;\n#endif\n" in text
    )
    assert text.startswith("#ifndef __VMLINUX_H__\n")
    assert text.endswith("#endif /* __VMLINUX_H__ */\n")


def test_split_btf_dumps_with_its_base(small):
    b = Builder(base=small)
    b.add_struct("extra", 64, [("node", small.find("node"), 0)])
    text = "".join(dump(Btf(b.build(), base=small), frame=False))
    assert text.index("struct node {") < text.index("struct extra {")
    assert type_declaration(Btf(b.build(), base=small), small.nr_types, "x") == "struct extra x"


SOURCE = """
#pragma pack(push, 1)
struct packed { char a; long b; };
#pragma pack(pop)
struct later;
typedef int (*callback)(struct later *, const char *restrict, ...);
struct later { callback cb[2][3]; struct packed p; struct { char c; union { int i; short s; }; }; };
struct aligned { char a; char b __attribute__((aligned(32))); long c[0]; };
struct bits { unsigned a:3, :5, b:9; long c:40; int:0; char d:2; _Bool e:1; short f; };
enum small { ONE = 1 } __attribute__((packed)); enum wide { BIG = 0x100000000UL, NEG = -1L };
struct all { enum small s; enum wide w; struct aligned *a; struct bits b; double d; __int128 i;
    struct all *self; volatile struct later *const l; void (*f)(struct bits, enum wide); };
struct all all; struct aligned aligned; struct later later;
"""


def layout(btf: Btf) -> dict[str, list[object]]:
    found = {}
    for id in btf.ids_of_kind(4):
        item = btf.type(id)
        if item.name:
            members = [(m.name, m.bit_offset, m.bit_size) for m in item.members if m.name]
            found[item.name] = [item.size, members]
    return found


def test_what_is_dumped_compiles_to_the_same_layout(compile_c):
    before = Btf(compile_c(SOURCE).section(".BTF"))
    header = "".join(dump(before, frame=False))
    uses = "struct all all; struct aligned aligned; struct later later;"
    after = Btf(compile_c(header + uses, "-Wno-everything").section(".BTF"))
    assert layout(after) == layout(before)
    assert "".join(dump(after, frame=False)) == header


@pytest.mark.differential
def test_kernel_dump_is_that_of_debians_bpftool(vmlinux):
    # 7.1 does not sort, has no frame for kfuncs, and does not know mode(byte).
    bpftool = shutil.which("bpftool")
    if not bpftool:
        pytest.skip("there is no bpftool here")
    argv = [bpftool, "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"]
    theirs = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout
    if "BPF_NO_KFUNC_PROTOTYPES" in theirs:
        pytest.skip("this bpftool is newer than what is compared here")
    start = theirs.index("#endif\n\n", theirs.index("#pragma")) + len("#endif\n\n")
    theirs = theirs[start : theirs.rindex("#ifndef BPF_NO_PRESERVE_ACCESS_INDEX")]
    ours = "".join(dump(vmlinux, sort=False, frame=False))
    assert ours.replace(" __attribute__((mode(byte)))", "") == theirs


@pytest.mark.slow
def test_kernel_header_compiles_to_the_same_layout(vmlinux, compile_c):
    text = "".join(dump(vmlinux))
    wanted = ("task_struct", "sk_buff", "sock", "bpf_prog", "mm_struct", "inode", "net_device")
    uses = "\n".join(f"struct {name} *use_{name};" for name in wanted)
    sizes = "".join(
        f'_Static_assert(sizeof(struct {name}) == {vmlinux.size_of(vmlinux.find(name, 4))}, "");'
        for name in wanted
    )
    compile_c(f"{text}\n{uses}\n{sizes}", "-Wno-everything")
