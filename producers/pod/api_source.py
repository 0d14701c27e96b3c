"""Follows the pods of one node in the Kubernetes API: list, watch, and again after any failure."""

import logging
import queue
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from producers.pod.api_client import ApiClient
from producers.pod.api_objects import Pod, PodStatus, WatchEvent, pod_uid, record_of
from producers.pod.errors import ApiError
from producers.pod.records import PodRecord
from producers.pod.settings import PodSettings

_GONE: Final = 410
_QUEUE: Final = 256
_STEPS: Final = 60
_STOP_SECONDS: Final = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AllPods:
    """The whole truth at one moment: what isn't here was deleted."""

    records: list[PodRecord]


@dataclass(frozen=True, slots=True)
class PodChanged:
    """One pod is new or changed."""

    record: PodRecord


@dataclass(frozen=True, slots=True)
class PodDeleted:
    """One pod is gone from the API: its last record."""

    record: PodRecord


Change = AllPods | PodChanged | PodDeleted


class ApiSource:
    """Runs in its own thread and hands changes over by a bounded queue.

    When nobody takes from the queue, the watch waits; the API server then ends it, and the next
    list tells everything again. So nothing is lost, and nothing grows.
    """

    def __init__(
        self,
        client: ApiClient,
        settings: PodSettings,
        wake: Callable[[], None],
        randomness: random.Random | None = None,
    ) -> None:
        self.changes: queue.Queue[Change] = queue.Queue(_QUEUE)
        self.problem: str | None = "the first list is still to come"
        self.lists = 0
        self.failures = 0
        self._client = client
        self._settings = settings
        self._wake = wake
        self._random = randomness or random.SystemRandom()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pod-api", daemon=True)

    def start(self) -> None:
        """Begin, after a random wait."""
        self._thread.start()

    def stop(self) -> bool:
        """End the request under way and the thread; True when it ended in time."""
        self._stopping.set()
        self._client.close()
        self._thread.join(_STOP_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._stopping.wait(self._random.uniform(0, self._settings.start_jitter_seconds))
        version = ""
        failures = 0
        while not self._stopping.is_set():
            try:
                if not version:
                    version = self._list()
                    self.problem = None
                version = self._watch(version)
                failures = 0
            except ApiError as error:
                if error.status == _GONE:
                    # Normal after a long silence: the server no longer knows what changed since.
                    version = ""
                else:
                    self._failed(error)
                failures += 1
                self._stopping.wait(self._pause(failures, error.retry_after))
            except Exception as error:
                self._failed(error)
                _log.exception("pod: following the Kubernetes API failed; it is tried again")
                version = ""
                failures += 1
                self._stopping.wait(self._pause(failures, 0.0))

    def _failed(self, error: Exception) -> None:
        if self._stopping.is_set():
            return
        self.failures += 1
        self.problem = f"the Kubernetes API can't be followed: {error}"

    def _pause(self, failures: int, asked: float) -> float:
        longest = self._settings.backoff_seconds
        step = min(longest, longest / _STEPS * 2 ** min(failures - 1, 16))
        return max(asked, self._random.uniform(step / 2, step))

    def _list(self) -> str:
        records: list[PodRecord] = []
        version = ""
        for page in self._client.pages():
            version = page.metadata.resource_version
            records.extend(record_of(each, self._settings.labels) for each in page.items or [])
        self.lists += 1
        self._hand_over(AllPods(records))
        if not version:
            raise ApiError("the list of pods has no resourceVersion, so it can't be watched")
        return version

    def _watch(self, version: str) -> str:
        seconds = self._settings.watch_seconds * self._random.uniform(0.8, 1.2)
        for event in self._client.watch(version, seconds):
            if self._stopping.is_set():
                break
            self.problem = None
            if event.type == "ERROR":
                raise ApiError(
                    f"the watch ended: {event.object.reason}: {event.object.message}",
                    status=event.object.code,
                )
            version = event.object.metadata.resource_version or version
            change = self._change(event)
            if change is not None:
                self._hand_over(change)
        return version

    def _change(self, event: WatchEvent) -> Change | None:
        """None for a bookmark, which brings a new version only."""
        if event.type not in ("ADDED", "MODIFIED", "DELETED") or not pod_uid(event.object.metadata):
            return None
        status = event.object.status
        pod = Pod(
            event.object.metadata,
            event.object.spec,
            status if isinstance(status, PodStatus) else PodStatus(),
        )
        record = record_of(pod, self._settings.labels)
        return PodDeleted(record) if event.type == "DELETED" else PodChanged(record)

    def _hand_over(self, change: Change) -> None:
        while not self._stopping.is_set():
            try:
                self.changes.put(change, timeout=0.2)
            except queue.Full:
                continue
            self._wake()
            return
