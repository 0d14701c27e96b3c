"""The thread that samples: ticks on the wall clock, and what happens between them."""

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from producers.base.observer import EventSink
from producers.cgroup.hierarchy import Hierarchy
from producers.cgroup.lifecycle import Lifecycle
from producers.cgroup.sampler import Sampler
from producers.cgroup.settings import CgroupSettings
from stream.contract.kinds.cgroup import CgroupEvent

KIND: Final = "cgroup"
_NEWBORN_SECONDS: Final = 0.25
_STOP_SECONDS: Final = 10.0
_NICE: Final = -10
_log = logging.getLogger(__name__)


class Sampling:
    """One run from start to stop; everything but :meth:`start` and :meth:`stop` is one thread's."""

    def __init__(self, settings: CgroupSettings, hierarchy: Hierarchy, sink: EventSink) -> None:
        self.hierarchy = hierarchy
        self.problem: str | None = "the first tick is still to come"
        self._settings = settings
        self._sink = sink
        self._sampler = Sampler(settings, hierarchy, self._emit, self._lost)
        self._epoll = select.epoll()
        self._lifecycle = Lifecycle(settings, hierarchy, self._sampler, self._epoll)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cgroup", daemon=True)
        self._ticks = 0
        self._errors = 0
        self._tick_seconds = 0.0
        self._rescan_at = 0.0

    def start(self) -> None:
        """Find what exists, then let the thread go on."""
        self._lifecycle.start()
        self._rescan_at = time.monotonic() + self._settings.rescan_seconds
        self._thread.start()

    def stop(self) -> None:
        """Let the thread sample once more, and wait for its end."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            _log.warning("cgroup: the sampling thread did not end within %s s", _STOP_SECONDS)
        self.problem = "stopped"

    def degraded(self) -> list[str]:
        """What can't be read here, and how to get it."""
        sampler = self._sampler
        sentences = list(self._lifecycle.problems.values())
        if not sampler.block_accounting:
            sentences.append(
                "containers' disk figures are unknown: this kernel counts block I/O in v1 cgroups "
                "only on disks with a throttle rule; boot with cgroup v2"
            )
        if sampler.reader.denied:
            refused = "; ".join(sorted(sampler.reader.denied.values())[:3])
            sentences.append(f"some figures are unknown: {refused}; let the producer read them")
        return [f"cgroup: {each}" for each in sentences]

    def metrics(self) -> dict[str, float]:
        """Numbers of the sampling itself."""
        return {
            "cgroup_ticks_total": float(self._ticks),
            "cgroup_tick_errors_total": float(self._errors),
            "cgroup_tick_seconds": self._tick_seconds,
            "cgroup_tracked": float(len(self._sampler.tracked)),
            "cgroup_unsampled_ends_total": float(self._sampler.unsampled_ends),
            "cgroup_inotify_overflows_total": float(self._lifecycle.overflows),
        }

    def _emit(self, events: list[CgroupEvent]) -> None:
        self._sink.emit_many(KIND, list(events))

    def _lost(self, first_ts: str, last_ts: str, path: str) -> None:
        self._sink.lost(
            KIND,
            "end_not_sampled",
            1,
            stage="observer",
            first_ts=first_ts,
            last_ts=last_ts,
            detail=f"{path} was gone before its last figures could be read",
        )

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            # A container's last figures can be read for some milliseconds only; on a busy node
            # this thread would often be late. It uses little, so it takes nothing from others.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        interval = self._settings.interval_seconds
        next_tick = time.time()
        try:
            while not self._stopping.is_set():
                wait = next_tick - time.time()
                if not 0 < wait <= interval:
                    # Due; or the wall clock was set back, then its new time counts.
                    self._guarded(self._tick)
                    next_tick = next_aligned(time.time(), interval)
                else:
                    if self._lifecycle.has_newborns:
                        wait = min(wait, _NEWBORN_SECONDS)
                    self._guarded(partial(self._between, wait))
            self._guarded(self._tick)
        finally:
            self._lifecycle.close()
            self._sampler.close()
            self._epoll.close()
            os.close(self._wake)

    def _tick(self) -> None:
        began = time.monotonic()
        if began >= self._rescan_at or self._lifecycle.inotify is None:
            self._rescan_at = began + self._settings.rescan_seconds
            self._sampler.refresh_devices()
            self._lifecycle.rescan()
        self._lifecycle.follow_all()
        self._sink.watermark(KIND, self._sampler.tick())
        self._tick_seconds = time.monotonic() - began
        self._ticks += 1
        self.problem = None

    def _between(self, wait: float) -> None:
        ready = [descriptor for descriptor, _ in self._epoll.poll(wait)]
        if self._wake in ready:
            ready.remove(self._wake)
            os.eventfd_read(self._wake)
        self._lifecycle.handle(ready)
        if self._lifecycle.has_newborns:
            self._lifecycle.watch_newborns(time.monotonic())

    def _guarded(self, step: Callable[[], None]) -> None:
        """One bad step must not end the sampling; it shows in ``problem`` until a tick succeeds."""
        try:
            step()
        except Exception as error:
            if self.problem is None:
                _log.exception("cgroup: sampling failed; it goes on at the next tick")
            self._errors += 1
            self.problem = f"sampling failed: {type(error).__name__}: {error}"
            # A step that fails at once must not turn the thread into a busy loop.
            self._stopping.wait(_NEWBORN_SECONDS)


def next_aligned(now: float, interval: float) -> float:
    """The next multiple of ``interval`` since the epoch, later than ``now`` (both in seconds)."""
    step = round(interval * 1000)
    return (int(now * 1000) // step + 1) * step / 1000
