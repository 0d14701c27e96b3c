"""The observers by name. A new kind of producer is a package, a function here and its line below.

Each function imports its package when called, so that a process holds only what it runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from producers.base.observer import Observer
from stream.settings import Configuration


@dataclass(frozen=True, slots=True)
class ObserverContext:
    """What an observer may need to know of the process that it runs in."""

    configuration: Configuration
    node: str
    state_folder: Path
    """Folder of this producer process, for what an observer remembers."""
    own_folders: Sequence[Path] = ()
    """Folders of this program, whose changes are not events."""


def _process(context: ObserverContext) -> Observer:
    from producers.process.observer import ProcessObserver
    from producers.process.settings import ProcessSettings

    return ProcessObserver(context.node, context.configuration.section("process", ProcessSettings))


def _file(context: ObserverContext) -> Observer:
    from producers.file.observer import FileObserver
    from producers.file.settings import FileSettings

    return FileObserver(
        context.configuration.section("file", FileSettings),
        context.state_folder / "file",
        own_folders=context.own_folders,
    )


def _cgroup(context: ObserverContext) -> Observer:
    from producers.cgroup import CgroupObserver, CgroupSettings

    return CgroupObserver(context.configuration.section("cgroup", CgroupSettings))


def _hostpath(context: ObserverContext) -> Observer:
    from producers.hostpath.observer import HostPathObserver
    from producers.hostpath.settings import HostPathSettings

    return HostPathObserver(
        context.configuration.section("hostpath", HostPathSettings),
        context.state_folder / "hostpath",
    )


def _pod(context: ObserverContext) -> Observer:
    from producers.pod.observer import PodObserver
    from producers.pod.settings import PodSettings

    return PodObserver(context.node, context.configuration.section("pod", PodSettings))


OBSERVERS: Final[dict[str, Callable[[ObserverContext], Observer]]] = {
    "process": _process,
    "file": _file,
    "hostpath": _hostpath,
    "cgroup": _cgroup,
    "pod": _pod,
}
"""Name, as in ``tenwatch produce <name>``, and how to make it."""

GROUPS: Final[dict[str, tuple[str, ...]]] = {"node": ("hostpath", "cgroup", "pod")}
"""Names for several that share one process, since they need no privilege of their own."""


def expand(names: Sequence[str]) -> list[str]:
    """The observers that the names (and groups) stand for, in order, each once."""
    found = [each for name in names for each in GROUPS.get(name, (name,))]
    return list(dict.fromkeys(each for each in found))
