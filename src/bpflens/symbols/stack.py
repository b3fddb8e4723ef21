"""Addresses → frames → lines of text, for kernel and user stacks.

A :class:`Frame` is one address of a stack with what is known of it; name and module are empty
where nothing is. Turning addresses into frames and frames into lines are two steps, so that JSON
and flame graphs can have the frames.

Styles: ``bpftrace`` is ``name+offset``; ``perf`` is a tab, the address and ``name+offset
(module)``; ``raw`` is the address alone. Indentation and line ends are the renderer's.

Example::

    frames = kernel_frames(addresses, Kallsyms())
    print("\\n".join(frame_text(frame, "perf") for frame in frames))
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bpflens.symbols.kallsyms import Kallsyms
    from bpflens.symbols.module import Modules
    from bpflens.symbols.process import Process

__all__ = [
    "Frame",
    "build_id_frames",
    "frame_text",
    "kernel_frames",
    "stack_text",
    "user_frames",
]


class Frame:
    """One address of a stack.

    ``offset`` is the distance from the start of ``name``; ``module`` is a kernel module's name or
    a file's path; ``file_offset`` the place in that file (``None``: not known), ``build_id`` the
    file's identity.
    """

    __slots__ = ("address", "build_id", "file_offset", "module", "name", "offset")

    def __init__(
        self,
        address: int,
        name: str = "",
        offset: int = 0,
        module: str = "",
        build_id: bytes | None = None,
        file_offset: int | None = None,
    ) -> None:
        self.address = address
        self.name = name
        self.offset = offset
        self.module = module
        self.build_id = build_id
        self.file_offset = file_offset

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and all(
            getattr(self, slot) == getattr(other, slot) for slot in self.__slots__
        )

    def __hash__(self) -> int:
        return hash((self.address, self.name, self.module))

    def __repr__(self) -> str:
        return f"<Frame {self.address:#x} {self.name}+{self.offset} {self.module!r}>"


def kernel_frames(addresses: Iterable[int], symbols: Kallsyms) -> list[Frame]:
    """Return the frames of a kernel stack; the addresses end at the first 0."""
    frames = []
    for address in addresses:
        if not address:
            break
        found = symbols.resolve(address)
        frames.append(Frame(address, *found) if found else Frame(address))
    return frames


def user_frames(addresses: Iterable[int], process: Process) -> list[Frame]:
    """Return the frames of a user stack; the addresses end at the first 0."""
    frames = []
    for address in addresses:
        if not address:
            break
        frames.append(process.frame(address))
    return frames


def build_id_frames(
    entries: Iterable[tuple[int, bytes, int]], modules: Modules, process: Process | None = None
) -> list[Frame]:
    """Return the frames of a stack taken with build ids (struct bpf_stack_build_id).

    An entry is ``(status, build id, offset or address)``: status 1 gives an offset in the file
    with that build id, 2 an address only (the file has no build id), 0 ends the stack.
    """
    frames = []
    for status, build_id, place in entries:
        if status == 1:
            module = modules.by_build_id(build_id)
            found = module.resolve(place) if module else None
            name, offset = found or ("", 0)
            path = module.path if module else ""
            frames.append(Frame(0, name, offset, path, build_id, place))
        elif status == 2:
            frames.append(process.frame(place) if process else Frame(place))
        else:
            break
    return frames


def frame_text(
    frame: Frame, style: str = "bpftrace", demangle: Callable[[str], str] | None = None
) -> str:
    """Return the line of one frame, without indentation, in one of the styles."""
    if style == "raw":
        return f"{frame.address:x}"
    name = demangle(frame.name) if demangle and frame.name else frame.name
    if style == "perf":
        module = frame.module or "[unknown]"
        return f"{frame.address:16x} {f'{name}+{frame.offset}' if name else '[unknown]'} ({module})"
    if name:
        return f"{name}+{frame.offset}"
    if frame.address:
        return f"{frame.address:#x}"
    # A frame known by build id only has no address.
    return f"{(frame.build_id or b'').hex()}+{frame.file_offset or 0:#x}"


def stack_text(
    frames: Iterable[Frame],
    style: str = "bpftrace",
    indent: str = "        ",
    demangle: Callable[[str], str] | None = None,
) -> str:
    """Return the lines of a stack, each indented and ended; an empty stack is an empty string."""
    return "".join(f"{indent}{frame_text(frame, style, demangle)}\n" for frame in frames)
