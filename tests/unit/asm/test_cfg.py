import re
import time
from pathlib import Path

import pytest

from bpflens.asm.assemble import assemble
from bpflens.asm.cfg import EXIT, FALL, JUMP, Edge, control_flow
from bpflens.asm.instruction import decode
from bpflens.errors import FormatError

DATA = Path(__file__).parent / "data"


def test_graph_is_that_of_bpftool_for_a_real_program():
    codes = re.findall(
        r"^ +((?:[0-9a-f]{2} ?){8,16})$", (DATA / "xlated-opcodes.txt").read_text(), re.M
    )
    functions = control_flow(decode(bytes.fromhex("".join(codes))), xlated=True)
    edges = []
    for f in functions:
        # bpftool numbers ENTRY 0, EXIT 1 and the blocks from 2.
        edges.append(f"fn_{f.index}_bb_0 fn_{f.index}_bb_2")
        for block in f.blocks:
            for edge in block.edges:
                target = 1 if edge.target is None else edge.target + 2
                edges.append(f"fn_{f.index}_bb_{block.index + 2} fn_{f.index}_bb_{target}")
    assert edges == (DATA / "visual-edges.txt").read_text().splitlines()


def test_blocks_and_edges_of_a_loop_with_an_early_exit():
    (main, sub) = control_flow(
        assemble("""
            r6 = 0x100000000 ll
        top:
            if r6 == 5 goto done
            r6 += 1
            may_goto top
            exit
        done:
            call sub
            gotol top
        sub:
            r0 = 0
            exit
        """)
    )
    assert [(b.start, b.end) for b in main.blocks] == [(0, 2), (2, 3), (3, 5), (5, 6), (6, 8)]
    assert [b.edges for b in main.blocks] == [
        [Edge(FALL, 1)],
        [Edge(FALL, 2), Edge(JUMP, 4)],
        [Edge(FALL, 3), Edge(JUMP, 1)],
        [Edge(EXIT, None)],
        [Edge(JUMP, 1)],
    ]
    assert (sub.start, sub.end) == (8, 10)
    assert sub.blocks[0].edges == [Edge(EXIT, None)]


def test_callbacks_begin_functions_only_when_wanted():
    insns = assemble("r1 = func[visit]\nr0 = 0\nexit\nvisit:\nr0 = 1\nexit")
    assert [f.start for f in control_flow(insns)] == [0, 4]
    assert [f.start for f in control_flow(insns, callbacks=False)] == [0]


def test_jumps_out_of_the_program_are_refused():
    for text in ("goto +5\nexit", "call +5\nexit", "r1 = 1 ll\ngoto -2\nexit"):
        with pytest.raises(FormatError):
            control_flow(assemble(text))


def test_a_large_program_takes_no_time():
    lines = [f"if r1 == {i} goto out" for i in range(4000)]
    start = time.process_time()
    (function,) = control_flow(assemble("\n".join([*lines, "out:", "exit"])))
    assert len(function.blocks) == 4001
    assert time.process_time() - start < 2
