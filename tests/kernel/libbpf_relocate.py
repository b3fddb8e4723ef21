"""Let the real libbpf relocate an object, and print the instructions that come out.

usage: libbpf_relocate.py OBJECT TARGET_BTF  → one line of hexadecimal for each program

Loading itself may fail; relocation comes before it.
"""

from __future__ import annotations

import ctypes
import sys


class OpenOpts(ctypes.Structure):
    """struct bpf_object_open_opts of libbpf 1.1"""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("attach_prog_fd", ctypes.c_uint32),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
        ("kernel_log_buf", ctypes.c_char_p),
        ("kernel_log_size", ctypes.c_size_t),
        ("kernel_log_level", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
    ]


def main(object_path: str, btf_path: str) -> None:
    lib = ctypes.CDLL("libbpf.so.1")
    pointer = ctypes.c_void_p
    lib.bpf_object__open_file.restype = pointer
    lib.bpf_object__next_program.restype = pointer
    lib.bpf_program__insns.restype = pointer
    lib.bpf_program__insn_cnt.restype = ctypes.c_size_t
    lib.libbpf_set_print(None)
    opts = OpenOpts(sz=ctypes.sizeof(OpenOpts), btf_custom_path=btf_path.encode())
    obj = lib.bpf_object__open_file(object_path.encode(), ctypes.byref(opts))
    lib.bpf_object__load(pointer(obj))
    program = lib.bpf_object__next_program(pointer(obj), None)
    while program:
        count = lib.bpf_program__insn_cnt(pointer(program))
        print(ctypes.string_at(lib.bpf_program__insns(pointer(program)), count * 8).hex())
        program = lib.bpf_object__next_program(pointer(obj), pointer(program))


main(*sys.argv[1:])
