"""A script's life: compile for this machine, load, attach, run, collect, detach.

The front doors (tracing, exporter, Kubernetes runner, Python API) all use this one engine.
"""
