"""Lowering: from the typed tree to the intermediate representation, and on to specs.

:func:`~bpflens.lang.lower.program.lower` walks every variant of every probe with a
:class:`~bpflens.lang.lower.function.FunctionLowering` and collects what they need in common (maps,
events, strings) in one :class:`~bpflens.lang.lower.resource.Resources`.
"""
