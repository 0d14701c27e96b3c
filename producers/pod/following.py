"""One run of the pod producer: the thread that joins both sources and publishes what changed."""

import contextlib
import logging
import os
import queue
import select
import threading
import time
from typing import Final

from producers.base.observer import EventSink
from producers.cgroup.clock import SampleClock
from producers.pod.api_client import ApiClient
from producers.pod.api_source import ApiSource, Change
from producers.pod.errors import NoPodSourceError
from producers.pod.node_source import NodeSource
from producers.pod.settings import PodSettings
from producers.pod.table import PodTable
from stream.contract.timestamps import format_timestamp

KIND: Final = "pod"
_WATERMARK_SECONDS: Final = 1.0
_UNRESOLVED_SECONDS: Final = 1.0
_TOGETHER_SECONDS: Final = 0.02
_STOP_SECONDS: Final = 10.0
_log = logging.getLogger(__name__)


class Following:
    """Follows node and API from :meth:`start` to :meth:`stop`. ``client`` is None without an API.

    Raises :class:`~producers.pod.errors.NoPodSourceError` when there is nothing to look at.
    """

    def __init__(self, settings: PodSettings, client: ApiClient | None, sink: EventSink) -> None:
        self.problem: str | None = "the first look is still to come"
        self.api: ApiSource | None = None
        self._settings = settings
        self._sink = sink
        self._table = PodTable()
        self._clock = SampleClock()
        self._errors = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pod", daemon=True)
        self._node = NodeSource(settings)
        logs = settings.log_root / "pods"
        if client is None and "cgroups" in self._node.problems and not logs.is_dir():
            self._node.close()
            raise NoPodSourceError(
                f"no service account for the Kubernetes API, no {logs}, and "
                f"{self._node.problems['cgroups']}"
            )
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        if client is not None:
            self.api = ApiSource(client, settings, self._wake_up)

    def start(self) -> None:
        """Publish what the node shows now, then follow."""
        self._publish([], scan=True, everything=True)
        self.problem = None
        if self.api is not None:
            self.api.start()
        self._thread.start()

    def stop(self) -> None:
        """Publish what changed until now, and wait for the threads."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        api_ended = self.api is None or self.api.stop()
        self._wake_up()
        self._thread.join(_STOP_SECONDS)
        self.problem = "stopped"
        if self._thread.is_alive() or not api_ended:
            _log.warning("pod: a thread did not end within %s s", _STOP_SECONDS)
            return
        os.close(self._wake)
        self._node.close()

    def degraded(self) -> list[str]:
        """What is not known of pods, and how to get it."""
        sentences = [
            text
            for key, text in self._node.problems.items()
            if key != "cgroups" or self.api is None
        ]
        if self.api is not None and self.api.problem is not None:
            sentences.append(f"{self.api.problem}; pods are known from the node alone")
        elif self.api is None and len(self._table):
            sentences.append(
                "pods are known from the node alone, so labels, phases and most workloads are "
                "not; mount a service account that may list and watch pods"
            )
        return [f"pod: {each}" for each in sentences]

    def metrics(self) -> dict[str, float]:
        """Numbers of the following itself."""
        api = self.api
        return {
            "pod_known": float(len(self._table)),
            "pod_errors_total": float(self._errors),
            "pod_api_lists_total": float(api.lists if api is not None else 0),
            "pod_api_failures_total": float(api.failures if api is not None else 0),
        }

    def _wake_up(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        settings = self._settings
        inotify = self._node.inotify
        with select.epoll() as epoll:
            epoll.register(self._wake, select.EPOLLIN)
            if inotify is not None:
                epoll.register(inotify.descriptor, select.EPOLLIN)
            scan_at = time.monotonic() + self._pause()
            heartbeat_at = time.monotonic() + settings.heartbeat_seconds
            while not self._stopping.is_set():
                wait = min(scan_at, heartbeat_at) - time.monotonic()
                ready = epoll.poll(max(0.0, min(wait, _WATERMARK_SECONDS)))
                if (self._wake, select.EPOLLIN) in ready:
                    os.eventfd_read(self._wake)
                if ready:
                    # One look at the node for all that comes together.
                    self._stopping.wait(_TOGETHER_SECONDS)
                now = time.monotonic()
                everything = now >= heartbeat_at
                if everything:
                    heartbeat_at = now + settings.heartbeat_seconds
                if self._guarded(scan=now >= scan_at, everything=everything):
                    scan_at = now + self._pause()
            self._guarded(scan=True, everything=False)

    def _pause(self) -> float:
        """Seconds until the next look: soon while a container's name is still to come."""
        scan = self._settings.scan_seconds
        return min(scan, _UNRESOLVED_SECONDS) if self._node.unresolved else scan

    def _guarded(self, *, scan: bool, everything: bool) -> bool:
        """Publish; True when the node was looked at. One failure must not end the following."""
        try:
            scan = self._node.drain() or scan
            self._publish(self._waiting_changes(), scan=scan, everything=everything)
        except Exception as error:
            if self.problem is None:
                _log.exception("pod: publishing failed; it goes on")
            self._errors += 1
            self.problem = f"publishing failed: {type(error).__name__}: {error}"
            self._stopping.wait(_UNRESOLVED_SECONDS)
            return False
        self.problem = None
        return scan

    def _waiting_changes(self) -> list[Change]:
        changes: list[Change] = []
        if self.api is not None:
            with contextlib.suppress(queue.Empty):
                while True:
                    changes.append(self.api.changes.get_nowait())
        return changes

    def _publish(self, changes: list[Change], *, scan: bool, everything: bool) -> None:
        self._table.from_api(changes)
        if scan:
            self._table.from_node(self._node.scan())
        now = self._clock.now()
        if changes or scan or everything:
            events = self._table.events(format_timestamp(now), everything=everything)
            if events:
                self._sink.emit_many(KIND, list(events))
        self._sink.watermark(KIND, now)
