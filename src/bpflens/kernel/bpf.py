"""Every bpf(2) command as one function, named as the command in lower case.

The functions live with their kind (:mod:`~bpflens.kernel.map_command`,
:mod:`~bpflens.kernel.prog_command`, :mod:`~bpflens.kernel.object_command`) and are gathered here.
Errors are :class:`~bpflens.errors.SyscallError` with the command, the errno and its likely cause;
the verifier's refusals are :class:`~bpflens.errors.VerifierError`.

Not here: what BPF_OBJ_GET_INFO_BY_FD returns (:mod:`bpflens.kernel.info`) and the forms of
BPF_LINK_CREATE (:mod:`bpflens.kernel.link`).

Example::

    from bpflens.kernel import bpf

    fd = bpf.map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, name="counter")
"""

from __future__ import annotations

from bpflens.kernel.command import ENOTSUPP, failure, kernel_name
from bpflens.kernel.map_command import (
    map_create,
    map_delete_batch,
    map_delete_elem,
    map_freeze,
    map_get_next_key,
    map_lookup_and_delete_batch,
    map_lookup_and_delete_elem,
    map_lookup_batch,
    map_lookup_elem,
    map_update_batch,
    map_update_elem,
)
from bpflens.kernel.object_command import (
    Query,
    TaskFd,
    btf_get_fd_by_id,
    btf_get_next_id,
    btf_load,
    enable_stats,
    iter_create,
    link_create,
    link_detach,
    link_get_fd_by_id,
    link_get_next_id,
    link_update,
    map_get_fd_by_id,
    map_get_next_id,
    obj_get,
    obj_get_info_by_fd,
    obj_pin,
    prog_get_fd_by_id,
    prog_get_next_id,
    prog_query,
    raw_tracepoint_open,
    task_fd_query,
    token_create,
)
from bpflens.kernel.prog_command import (
    TestRun,
    prog_attach,
    prog_bind_map,
    prog_detach,
    prog_load,
    prog_stream_read,
    prog_test_run,
)

__all__ = [
    "ENOTSUPP",
    "Query",
    "TaskFd",
    "TestRun",
    "btf_get_fd_by_id",
    "btf_get_next_id",
    "btf_load",
    "enable_stats",
    "failure",
    "iter_create",
    "kernel_name",
    "link_create",
    "link_detach",
    "link_get_fd_by_id",
    "link_get_next_id",
    "link_update",
    "map_create",
    "map_delete_batch",
    "map_delete_elem",
    "map_freeze",
    "map_get_fd_by_id",
    "map_get_next_id",
    "map_get_next_key",
    "map_lookup_and_delete_batch",
    "map_lookup_and_delete_elem",
    "map_lookup_batch",
    "map_lookup_elem",
    "map_update_batch",
    "map_update_elem",
    "obj_get",
    "obj_get_info_by_fd",
    "obj_pin",
    "prog_attach",
    "prog_bind_map",
    "prog_detach",
    "prog_get_fd_by_id",
    "prog_get_next_id",
    "prog_load",
    "prog_query",
    "prog_stream_read",
    "prog_test_run",
    "raw_tracepoint_open",
    "task_fd_query",
    "token_create",
]
