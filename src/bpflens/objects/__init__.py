"""Kernel objects: the public Python API.

``map`` (:class:`~bpflens.objects.map.Map`), ``program``, ``link``, ``btf``, ``pin`` and
``iterate``. The names that users need are also importable from :mod:`bpflens` itself. Nothing is
imported here.
"""
