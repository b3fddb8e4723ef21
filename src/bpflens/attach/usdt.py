"""Static user probes (USDT): every place of a probe, with the counter that switches it on.

A probe that the compiler copied has several places whose arguments are at different spots, so
each may get a cookie of its own. Where the kernel can, one link serves them all.

Example::

    Usdt("/usr/bin/python3", "python", "function__entry").attach(program)
"""

from __future__ import annotations

from bpflens.attach.attachment import Attachment
from bpflens.attach.binary import binary_path
from bpflens.attach.uprobe import Uprobe
from bpflens.elf import File
from bpflens.errors import AttachError, Error, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.attach.attachment import HasFd
    from bpflens.elf.usdt import UsdtNote

__all__ = ["Usdt", "notes"]


class Usdt:
    """The static probe ``provider:name`` of the binary ``path``; ``pid`` 0 is every process."""

    __slots__ = ("cookies", "name", "path", "pid", "provider")

    def __init__(
        self, path: str, provider: str, name: str, *, pid: int = 0, cookies: Sequence[int] = ()
    ) -> None:
        self.path = path
        self.provider = provider
        self.name = name
        self.pid = pid
        self.cookies = list(cookies)

    def __str__(self) -> str:
        return f"usdt:{self.path}:{self.provider}:{self.name}"

    def attach(self, program: HasFd, *, cookie: int = 0, cookies: Sequence[int] = ()) -> Attachment:
        """Attach at every place (``cookies``: one a place, in the order of :func:`notes`).

        Raises :class:`~bpflens.errors.AttachError`.
        """
        cookies = cookies or self.cookies
        try:
            path = binary_path(self.path)
        except NotFound as error:
            raise AttachError(str(self), str(error)) from None
        found = notes(path, self.provider, self.name)
        if not found:
            raise AttachError(str(self), "there is no such static probe", _near(path, self.name))
        made: list[Attachment] = []
        try:
            for index, note in enumerate(found):
                probe = Uprobe(
                    path,
                    file_offset=note.offset,
                    pid=self.pid,
                    ref_ctr_offset=note.semaphore_offset,
                )
                made.append(probe.attach(program, cookie=cookies[index] if cookies else cookie))
        except Error as error:
            for attachment in made:
                attachment.close()
            reason = error.reason if isinstance(error, AttachError) else str(error)
            raise AttachError(str(self), reason) from error
        fds = [fd for attachment in made for fd in attachment.fds]
        return Attachment(str(self), fds, link_fd=made[0].link_fd, slow=True)


def notes(path: str, provider: str, name: str) -> list[UsdtNote]:
    """Return the places of ``provider:name`` in a file ("" as provider: of any)."""
    with File(path) as file:
        return [
            note
            for note in file.usdt_notes()
            if note.name == name and provider in ("", note.provider) and note.offset is not None
        ]


def _near(path: str, name: str) -> list[str]:
    from difflib import get_close_matches

    with File(path) as file:
        known = {note.name: f"{note.provider}:{note.name}" for note in file.usdt_notes()}
    return [known[match] for match in get_close_matches(name, known, n=3)]
