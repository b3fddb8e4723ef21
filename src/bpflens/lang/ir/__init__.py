"""The intermediate representation, and everything from it to BPF instructions.

* :mod:`~bpflens.lang.ir.ops`: what it is made of
* :mod:`~bpflens.lang.ir.builder`: how to write it
* :mod:`~bpflens.lang.ir.check`: whether it keeps its rules
* :mod:`~bpflens.lang.ir.print`: how to read it
* :mod:`~bpflens.lang.ir.optimise`: better, with the same meaning
* :mod:`~bpflens.lang.ir.regalloc`: registers and stack
* :mod:`~bpflens.lang.ir.emit`: instructions; ``emit.compile_program`` does all of it
"""
