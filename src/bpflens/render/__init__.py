"""Rendering: what a script measured, from bytes to text or JSON. Pure.

Symbols, user names and clocks come in through one :class:`~bpflens.render.resolver.Resolver`.
"""
