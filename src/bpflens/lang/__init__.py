"""The tracing language: from the text of a script to a compiled program.

Everything in here is pure: what depends on a kernel comes in through one
:class:`~bpflens.lang.target.Target`, and what goes out is specs and tables, not kernel objects.
The stages, each in its own module, are listed in :mod:`bpflens.lang.pipeline`.
"""
