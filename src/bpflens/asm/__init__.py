"""eBPF instructions: encode, decode, assemble, disassemble, control flow, and an interpreter.

Pure: bytes and objects in, bytes and objects out. The modules are imported one by one.

Example::

    from bpflens.asm import instruction
    instruction.encode([instruction.mov64_imm(0, 1), instruction.exit_()])
"""
