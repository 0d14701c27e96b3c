"""The observer of the cgroup producer: what the base starts, asks and stops."""

from producers.base.observer import EventSink
from producers.cgroup.errors import CgroupError
from producers.cgroup.hierarchy import Hierarchy
from producers.cgroup.sampling import KIND, Sampling
from producers.cgroup.settings import CgroupSettings


class CgroupObserver:
    """Emits the resource use of the node, its pods and their containers.

    :meth:`start` raises :class:`~producers.cgroup.errors.NoCgroupsError` when the configured root
    is no cgroup file system. On a machine without pods it emits the node's totals, and those of
    containers that anything else runs.
    """

    kinds: tuple[str, ...] = (KIND,)

    def __init__(self, settings: CgroupSettings | None = None) -> None:
        self._settings = settings or CgroupSettings()
        self._sampling: Sampling | None = None

    def start(self, sink: EventSink) -> None:
        """Find the hierarchies and all cgroups, and begin to sample."""
        if self._sampling is not None:
            raise CgroupError("the cgroup observer was started twice; make another one")
        hierarchy = Hierarchy.detect(self._settings.cgroup_root)
        self._sampling = Sampling(self._settings, hierarchy, sink)
        self._sampling.start()

    def stop(self) -> None:
        """Sample a last time, so that a successor's first sample continues from there."""
        if self._sampling is not None:
            self._sampling.stop()

    def ready(self) -> str | None:
        """None once the first tick is through and the last one had no error."""
        return self._sampling.problem if self._sampling is not None else "not started"

    def degraded(self) -> list[str]:
        """What can't be read here, and how to get it."""
        return self._sampling.degraded() if self._sampling is not None else []

    def metrics(self) -> dict[str, float]:
        """Numbers of the sampling itself."""
        return self._sampling.metrics() if self._sampling is not None else {}

    @property
    def mode(self) -> str:
        """``v1``, ``v2`` or ``hybrid``; empty before the start."""
        return self._sampling.hierarchy.mode if self._sampling is not None else ""
