"""What this kernel can do: found by trying, remembered only when the answer is sure.

Turns a name into a :class:`Feature` with three possible answers: yes, no, and "could not find out"
(a missing capability, no memory...), which is never remembered and never taken for a no. Versions
stand in messages only. The features are in :mod:`bpflens.kernel.feature_table`; program types,
map types and helpers have functions of their own here, because there are thousands of them.

Example::

    if has("bpf_loop"):
        ...
    feature("kprobe_multi").require()         # raises NotSupported
    helper(BPF_PROG_TYPE_XDP, BPF_FUNC_redirect).answer()
"""

from __future__ import annotations

from bpflens.errors import NotFound, NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Feature", "all_features", "feature", "has", "helper", "kfunc", "map_type", "prog_type"]


class Feature:
    """One thing that a kernel can do or not.

    ``name`` is how it is looked up, ``since`` the kernel version that brought it (for messages),
    ``what`` one sentence for people. ``probe`` returns ``True`` or ``False`` when sure and raises
    OSError (or NotSupported, which is a no with a reason) when not.
    """

    __slots__ = ("name", "since", "what", "why", "_probe", "_answer")

    def __init__(self, name: str, since: str, probe: Callable[[], bool], what: str = "") -> None:
        self.name = name
        self.since = since
        self.what = what
        self.why = ""
        self._probe = probe
        self._answer: bool | None = None

    def __bool__(self) -> bool:
        """Whether the kernel has it. Raises what the probe raised when that cannot be found out."""
        if self._answer is None:
            try:
                self._answer = self._probe()
            except NotSupported as error:
                self._answer, self.why = False, error.why or str(error)
        return self._answer

    def answer(self) -> bool | None:
        """Return ``True``, ``False``, or ``None`` when it cannot be found out (now)."""
        try:
            return bool(self)
        except OSError as error:
            self.why = str(error)
            return None

    def require(self) -> None:
        """Raise :class:`~bpflens.errors.NotSupported` unless the kernel has it."""
        if not self:
            raise NotSupported(self.name, self.since, self.why or _left_out(self.name))

    def forget(self) -> None:
        """Probe anew when next asked."""
        self._answer, self.why = None, ""

    def __repr__(self) -> str:
        known = {True: "yes", False: "no", None: "not probed"}[self._answer]
        return f"<Feature {self.name}: {known}>"


def _left_out(name: str) -> str:
    from bpflens.kernel.option import absent

    option = absent("feature", name)
    return f"this kernel was built without {option}" if option else ""


_made: dict[object, Feature] = {}


def all_features() -> Mapping[str, Feature]:
    """Return every named feature by name, unprobed ones unprobed."""
    from bpflens.kernel.feature_table import FEATURES

    return FEATURES


def feature(name: str) -> Feature:
    """Return the feature with this name. Raises NotFound with near names."""
    features = all_features()
    found = features.get(name)
    if found is None:
        from difflib import get_close_matches

        raise NotFound("feature", name, get_close_matches(name, list(features)))
    return found


def has(name: str) -> bool:
    """Say whether the kernel certainly has a feature; what cannot be found out is a no."""
    return feature(name).answer() is True


def _remembered(key: object, make: Callable[[], Feature]) -> Feature:
    found = _made.get(key)
    if found is None:
        found = _made[key] = make()
    return found


def prog_type(number: int) -> Feature:
    """Return the feature of a program type: whether the kernel has and allows it."""

    def make() -> Feature:
        from bpflens.kernel.probe import has_prog_type
        from bpflens.uapi.bpf import PROG_TYPE_NAMES

        name = PROG_TYPE_NAMES[number] if number < len(PROG_TYPE_NAMES) else str(number)
        return Feature(f"program type {name}", "", lambda: has_prog_type(number))

    return _remembered(("prog", number), make)


def map_type(number: int) -> Feature:
    """Return the feature of a map type."""

    def make() -> Feature:
        from bpflens.kernel.probe import has_map_type
        from bpflens.uapi.bpf import MAP_TYPE_NAMES

        name = MAP_TYPE_NAMES[number] if number < len(MAP_TYPE_NAMES) else str(number)
        return Feature(f"map type {name}", "", lambda: has_map_type(number))

    return _remembered(("map", number), make)


def helper(prog_type: int, number: int) -> Feature:
    """Return the feature of a helper function in programs of a type."""

    def make() -> Feature:
        from bpflens.kernel.probe import has_helper
        from bpflens.uapi.helper import HELPER_NAMES

        name = HELPER_NAMES[number] if number < len(HELPER_NAMES) else str(number)
        return Feature(f"helper bpf_{name}", "", lambda: has_helper(prog_type, number))

    return _remembered(("helper", prog_type, number), make)


def kfunc(name: str) -> Feature:
    """Return the feature of a kernel function that programs may call, by its name in BTF."""

    def make() -> Feature:
        from bpflens.kernel.probe import has_btf_name

        return Feature(f"kfunc {name}", "", lambda: has_btf_name(name))

    return _remembered(("kfunc", name), make)
