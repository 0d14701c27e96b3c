"""The observer of the pod producer: both sources, one thread that publishes."""

import contextlib
import logging
import os
import queue
import select
import threading
import time
from collections.abc import Mapping
from typing import Final

from producers.base.observer import EventSink
from producers.cgroup.clock import SampleClock
from producers.pod.api_client import ApiClient, service_url
from producers.pod.api_source import ApiSource, Change
from producers.pod.errors import NoPodSourceError, PodError
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


class PodObserver:
    """Emits what is known of each pod of the node when it changes, at the start and now and then.

    ``node`` is the Kubernetes node's name (``spec.nodeName``), never a pod's. :meth:`start` raises
    :class:`~producers.pod.errors.NoPodSourceError` when there is nothing to look at.
    """

    kinds: tuple[str, ...] = (KIND,)

    def __init__(
        self,
        node: str,
        settings: PodSettings | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings or PodSettings()
        self._table = PodTable()
        self._clock = SampleClock()
        self._node = NodeSource(self._settings)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._api = self._api_source(node, os.environ if environment is None else environment)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pod", daemon=True)
        self._problem: str | None = "not started"
        self._errors = 0
        self._sink: EventSink | None = None

    def start(self, sink: EventSink) -> None:
        """Publish what the node shows, and follow it and the API from now on."""
        if self._sink is not None:
            raise PodError("the pod observer was started twice; make another one")
        if self._api is None and "cgroups" in self._node.problems:
            logs = self._settings.log_root / "pods"
            if not logs.is_dir():
                raise NoPodSourceError(
                    f"no service account for the Kubernetes API, no {logs}, and "
                    f"{self._node.problems['cgroups']}"
                )
        self._sink = sink
        self._publish(sink, [], scan=True, everything=True)
        self._problem = None
        if self._api is not None:
            self._api.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop following; whatever changed until now is published."""
        if self._sink is None or self._stopping.is_set():
            return
        self._stopping.set()
        if self._api is not None:
            self._api.stop()
        self._wake_up()
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            _log.warning("pod: the publishing thread did not end within %s s", _STOP_SECONDS)
            return
        self._problem = "stopped"

    def ready(self) -> str | None:
        """None while pods are followed; the API being away is a degradation, not an outage."""
        return self._problem

    def degraded(self) -> list[str]:
        """What is not known of pods, and how to get it."""
        sentences = [
            text
            for key, text in self._node.problems.items()
            if key != "cgroups" or self._api is None
        ]
        if self._api is not None and self._api.problem is not None:
            sentences.append(f"{self._api.problem}; pods are known from the node alone")
        elif self._api is None and len(self._table):
            sentences.append(
                "pods are known from the node alone, so labels, phases and most workloads are "
                "not; mount a service account that may list and watch pods"
            )
        return [f"pod: {each}" for each in sentences]

    def metrics(self) -> dict[str, float]:
        """Numbers of the following itself."""
        api = self._api
        return {
            "pod_known": float(len(self._table)),
            "pod_errors_total": float(self._errors),
            "pod_api_lists_total": float(api.lists if api is not None else 0),
            "pod_api_failures_total": float(api.failures if api is not None else 0),
        }

    def _api_source(self, node: str, environment: Mapping[str, str]) -> ApiSource | None:
        settings = self._settings
        url = settings.api_url or service_url(environment)
        has_account = (settings.service_account / "token").exists()
        if settings.api == "off" or (settings.api == "auto" and not (url and has_account)):
            return None
        if not url:
            raise PodError(
                "pod.api is on, but this is no pod of a cluster (KUBERNETES_SERVICE_HOST is "
                "empty); set pod.api_url"
            )
        client = ApiClient(url, node, settings.service_account)
        return ApiSource(client, settings, self._wake_up)

    def _wake_up(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        sink = self._sink
        if sink is None:
            return
        with select.epoll() as epoll:
            epoll.register(self._wake, select.EPOLLIN)
            if self._node.inotify is not None:
                epoll.register(self._node.inotify.descriptor, select.EPOLLIN)
            scan_at = time.monotonic() + self._settings.scan_seconds
            heartbeat_at = time.monotonic() + self._settings.heartbeat_seconds
            while not self._stopping.is_set():
                now = time.monotonic()
                wait = min(scan_at - now, heartbeat_at - now, _WATERMARK_SECONDS)
                ready = [descriptor for descriptor, _ in epoll.poll(max(0.0, wait))]
                if self._wake in ready:
                    os.eventfd_read(self._wake)
                if ready:
                    # One look at the node for all that comes together.
                    self._stopping.wait(_TOGETHER_SECONDS)
                now = time.monotonic()
                scan, everything = now >= scan_at, now >= heartbeat_at
                if everything:
                    heartbeat_at = now + self._settings.heartbeat_seconds
                try:
                    scan = self._node.drain() or scan
                    self._publish(sink, self._waiting_changes(), scan=scan, everything=everything)
                    self._problem = None
                except Exception as error:
                    if self._problem is None:
                        _log.exception("pod: publishing failed; it goes on")
                    self._errors += 1
                    self._problem = f"publishing failed: {type(error).__name__}: {error}"
                    scan = True
                    self._stopping.wait(_UNRESOLVED_SECONDS)
                if scan or self._node.unresolved:
                    pause = self._settings.scan_seconds
                    if self._node.unresolved:
                        pause = min(pause, _UNRESOLVED_SECONDS)
                    scan_at = now + pause if scan else min(scan_at, now + pause)
            self._publish(sink, self._waiting_changes(), scan=True, everything=False)
        self._node.close()
        os.close(self._wake)

    def _waiting_changes(self) -> list[Change]:
        changes: list[Change] = []
        if self._api is not None:
            with contextlib.suppress(queue.Empty):
                while True:
                    changes.append(self._api.changes.get_nowait())
        return changes

    def _publish(
        self, sink: EventSink, changes: list[Change], *, scan: bool, everything: bool
    ) -> None:
        self._table.from_api(changes)
        if scan:
            self._table.from_node(self._node.scan())
        now = self._clock.now()
        if changes or scan or everything:
            events = self._table.events(format_timestamp(now), everything=everything)
            if events:
                sink.emit_many(KIND, list(events))
        sink.watermark(KIND, now)
