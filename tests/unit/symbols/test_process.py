"""Processes of our own making: what nm says of their code, before and after they exit."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from bpflens.symbols import Process, Processes
from bpflens.symbols.maps import parse_maps
from bpflens.symbols.module import Modules

PROGRAM = """
#include <stdio.h>
#include <unistd.h>
static __attribute__((noinline)) int inner(int x) { return x * 7; }
int outer(int x) { return inner(x) + 1; }
int main(void) {
    printf("%p %p\\n", (void *)outer, (void *)inner);
    fflush(stdout);
    pause();
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    folder = tmp_path_factory.mktemp("program")
    (folder / "p.c").write_text(PROGRAM)
    output = folder / "program"
    subprocess.run(["gcc", "-O1", "-o", output, folder / "p.c"], check=True, timeout=60)
    return output


@pytest.fixture
def start():
    running = []

    def run(path, **words):
        child = subprocess.Popen([path], stdout=subprocess.PIPE, text=True, **words)
        running.append(child)
        return child, [int(word, 16) for word in child.stdout.readline().split()]

    yield run
    for child in running:
        child.kill()
        child.wait(10)
        child.stdout.close()


def finish(child):
    child.kill()
    child.wait(10)


def test_functions_of_a_living_process(program, start):
    child, (outer, inner) = start(program)
    process = Process(child.pid)
    assert process.problem == ""
    assert process.resolve(outer + 3) == ("outer", 3, str(program))
    assert process.resolve(inner) == ("inner", 0, str(program))
    frame = process.frame(outer + 1)
    assert len(frame.build_id or b"") == 20
    with open(program, "rb") as file, open(f"/proc/{child.pid}/mem", "rb") as memory:
        file.seek(frame.file_offset)
        memory.seek(outer + 1)
        assert file.read(8) == memory.read(8)


def test_symbols_stay_when_the_process_has_exited(program, start):
    child, (outer, inner) = start(program)
    process = Process(child.pid)
    assert process.resolve(outer) == ("outer", 0, str(program))
    finish(child)
    assert process.resolve(inner + 1) == ("inner", 1, str(program))
    assert process.resolve(outer) == ("outer", 0, str(program))
    assert not process.refresh()
    assert not process.is_current()


def test_a_process_never_asked_before_it_exited_still_resolves(program, start):
    child, (outer, _) = start(program)
    process = Process(child.pid)
    finish(child)
    assert process.resolve(outer) == ("outer", 0, str(program))


def test_a_file_replaced_meanwhile_is_not_taken_for_the_mapped_one(program, start, tmp_path):
    copy = tmp_path / "copy"
    shutil.copy(program, copy)
    child, (outer, _) = start(copy)
    copy.unlink()
    shutil.copy("/bin/true", copy)
    process = Process(child.pid)
    frame = process.frame(outer)
    # Root gets at the deleted file through map_files; another user knows the module only.
    assert frame.name in ("outer", "")
    assert frame.module == str(copy)
    if os.geteuid() == 0:
        assert frame.name == "outer"


def place_of(memory):
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def test_a_file_mapped_later_is_found():
    process = Process(os.getpid())
    with open("/bin/true", "rb") as file:
        late = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    address = place_of(late) + 1
    assert "true" not in process.frame(address).module, "the maps were read a moment ago"
    time.sleep(0.11)
    assert process.frame(address).module == os.path.realpath("/bin/true")


def test_vdso_functions_have_names():
    process = Process(os.getpid())
    vdso = [mapping for mapping in process.maps if mapping.path == "[vdso]"]
    if not vdso:
        pytest.skip("no vdso here")
    names = {process.frame(address).name for address in range(vdso[0].start, vdso[0].end, 16)}
    assert any("clock_gettime" in name for name in names)
    assert process.frame(vdso[0].start).module == "[vdso]"


def test_code_of_a_just_in_time_compiler_is_named_by_its_map():
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    start = place_of(memory)
    path = f"/tmp/perf-{os.getpid()}.map"
    try:
        with open(path, "w") as file:
            file.write(f"{start:x} 40 jitted one\n")
        process = Process(os.getpid())
        assert process.resolve(start + 5)[:2] == ("jitted one", 5)
        assert process.frame(start + 0x50).name == ""
        with open(path, "a") as file:
            file.write(f"{start + 0x80:x} 40 jitted two\n")
        assert process.resolve(start + 0x84)[:2] == ("jitted two", 4)
    finally:
        os.unlink(path)


def test_nothing_is_known_of_a_number_nobody_has():
    process = Process(2**22 + 5)
    assert process.resolve(0x400000) is None
    assert "has exited" in process.problem
    assert process.frame(5).module == ""


def test_a_kernel_thread_has_no_memory():
    if not os.path.exists("/proc/2/maps") or os.geteuid() != 0:
        pytest.skip("no kernel threads to be seen")
    assert "no memory" in Process(2).problem


def test_symbols_are_shared_between_processes(program, start, tmp_path):
    copy = tmp_path / "same_build_id"
    shutil.copy(program, copy)
    processes = Processes()
    addresses = []
    for path in (program, program, copy):
        child, (outer, _) = start(path)
        addresses.append((child.pid, outer))
    shown = [processes.resolve(pid, address)[2] for pid, address in addresses]
    assert shown == [str(program), str(program), str(copy)]
    modules = {
        id(processes.get(pid).module(processes.get(pid).mapping(address)))
        for pid, address in addresses
    }
    assert len(modules) == 1


def test_the_limit_of_processes_holds(program, start):
    processes = Processes(limit=2)
    pids = [start(program)[0].pid for _ in range(3)]
    for pid in pids:
        processes.get(pid)
    assert len(processes) == 2
    assert processes.get(pids[2]) is processes.get(pids[2])


def test_the_limit_of_modules_holds(tmp_path):
    modules = Modules(limit=3)
    for number in range(6):
        path = tmp_path / str(number)
        shutil.copy("/bin/true", path)
        assert modules.open([str(path)]) is not None
    assert len(modules) == 3


def test_exec_is_noticed(tmp_path):
    script = "import os,sys; sys.stdin.readline(); os.execv('/bin/sleep', ['sleep', '60'])"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, text=True)
    try:
        time.sleep(0.3)
        process = Process(child.pid)
        assert process.is_current()
        child.stdin.write("\n")
        child.stdin.close()
        deadline = time.monotonic() + 10
        while process.is_current() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not process.is_current()
        assert process.refresh()
        assert any("sleep" in mapping.path for mapping in process.maps)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(10)


def test_a_module_that_is_no_elf_file_has_a_reason(tmp_path):
    path = tmp_path / "text"
    path.write_text("hello " * 20)
    module = Modules().open([str(path)])
    assert module.resolve(0) is None
    assert "ELF" in module.problem


def test_static_probes_of_the_mapped_files():
    python = "/usr/bin/python3.11"
    if not os.path.exists(python):
        pytest.skip("no Python with probes")
    child = subprocess.Popen([python, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        time.sleep(0.3)
        found = Process(child.pid).usdt_probes()
        assert ("python", "function__entry") in {(note.provider, note.name) for _, note in found}
        assert {path for path, _ in found} == {os.path.realpath(python)}
    finally:
        child.kill()
        child.stdin.close()
        child.wait(10)


def test_maps_text():
    text = (
        b"7f0000000000-7f0000001000 r-xp 00002000 fd:01 42    /a b/c\\012d (deleted)\n"
        b"7f0000001000-7f0000002000 rw-p 00000000 00:00 0 \n"
        b"7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0   [vdso]\n"
    )
    first, second, third = parse_maps(text)
    assert (first.path, first.deleted, first.inode) == ("/a b/c\nd", True, 42)
    assert first.dev == os.makedev(0xFD, 1)
    assert first.file_offset(0x7F0000000010) == 0x2010
    assert (second.path, second.executable) == ("", False)
    assert (third.path, third.executable) == ("[vdso]", True)
