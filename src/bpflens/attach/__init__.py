"""Probes → links: every way of tying a loaded program to what it watches or decides.

One module for each kind, one small class in it: it says where, ``attach(program)`` ties it there
and gives an :class:`~bpflens.attach.attachment.Attachment`, to be closed. ``attachment.close_all``
closes many at once; ``probe`` makes the class that belongs to a kind and its options. Where the
kernel refuses, :class:`~bpflens.errors.AttachError` says what is missing and what to do.

Example::

    from bpflens.attach.tracepoint import Tracepoint

    with Tracepoint("sched", "sched_switch").attach(program):
        ...
"""
