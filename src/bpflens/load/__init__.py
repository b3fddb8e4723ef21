"""Specs → kernel objects: BTF, maps, relocation, programs, and what the verifier says.

``load_object`` turns an :class:`~bpflens.spec.ObjectSpec` into maps and programs in the kernel;
``object_file.read`` makes such a spec from a clang-built ``.bpf.o``. The steps are modules of
their own: ``program_btf`` (strings and functions added to BTF), ``map_create``, ``patch``
(file descriptors and addresses put into instructions), ``program_load`` (the load itself and its
failures), ``collection`` (all of it in order).

Example::

    from bpflens.load.collection import load_object

    with load_object(spec) as loaded:
        loaded.programs["count"].fd
"""
