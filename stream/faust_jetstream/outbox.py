"""Results that are published with the commit, and their way into the streams that want them.

A result is a message of the partition's state stream, written in the commit's atomic batch
under a subject of its own. A stream that *sources* the state streams takes it from there; only
when that stream is seen to hold it, the result is removed from the outbox.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .connection import FAILED, Connection
from .errors import ConfigurationError, NotAssignedError, StreamMismatchError
from .names import Names
from .reader import Reader
from .tasks import wait_event
from .topics import ensure_stream

if TYPE_CHECKING:
    from .partition import Partition

logger = logging.getLogger(__name__)


def subject_matches(pattern: str, subject: str) -> bool:
    """Whether a NATS subject pattern (``*`` and ``>``) matches a subject."""
    wanted, parts = pattern.split("."), subject.split(".")
    for index, part in enumerate(wanted):
        if part == ">":
            return len(parts) > index
        if index >= len(parts) or part not in ("*", parts[index]):
            return False
    return len(wanted) == len(parts)


class OutboxStream:
    """A stream that takes results: its name, the subjects of results, and its configuration."""

    def __init__(self, name: str, subjects: list[str], config: Mapping[str, Any]) -> None:
        self.name = name
        self.subjects = subjects
        self.config = dict(config)

    def sources(self, names: Names, partitions: int) -> list[dict[str, Any]]:
        """Return the ``sources`` of the stream: every partition's outbox, prefix stripped."""
        return [
            {
                "name": names.state_stream(partition),
                "subject_transforms": [
                    _transform(f"{names.state_root(partition)}.out.*.*", subject)
                    for subject in self.subjects
                ],
            }
            for partition in range(partitions)
        ]


def _transform(prefix: str, pattern: str) -> dict[str, str]:
    # Wildcards count from 1 in the source; the prefix (commit and number) has two.
    target, wildcard = [], 2
    for part in pattern.split("."):
        if part == "*":
            wildcard += 1
            target.append(f"{{{{wildcard({wildcard})}}}}")
        else:
            target.append(part)
    return {"src": f"{prefix}.{pattern}", "dest": ".".join(target)}


class Outbox:
    """``app.jetstream.outbox``: sends results with a partition's next commit."""

    def __init__(self, partitions: Mapping[int, "Partition"]) -> None:
        self.streams: dict[str, OutboxStream] = {}
        self._partitions = partitions
        self._targets: dict[str, str] = {}

    def send(
        self,
        partition: int,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish ``payload`` to ``subject`` if, and only if, the partition's next commit is.

        Raises :exc:`NotAssignedError` if the partition is not ours now, and
        :exc:`ConfigurationError` if no outbox stream takes the subject.
        """
        self.target(subject)
        part = self._partitions.get(partition)
        if part is None:
            raise NotAssignedError(partition)
        part.send(subject, payload, headers)

    def target(self, subject: str) -> str:
        """Return the name of the stream that takes results for ``subject``."""
        found = self._targets.get(subject)
        if found is None:
            for stream in self.streams.values():
                if any(subject_matches(pattern, subject) for pattern in stream.subjects):
                    found = stream.name
                    break
            else:
                raise ConfigurationError(
                    f"no outbox stream takes {subject}: name one before the app starts with "
                    "app.jetstream.ensure_outbox_stream(name, [subject pattern])."
                )
            if len(self._targets) > 100_000:
                self._targets.clear()
            self._targets[subject] = found
        return found


async def ensure_outbox_stream(
    connection: Connection,
    names: Names,
    stream: OutboxStream,
    partitions: int,
    *,
    replicas: int,
    storage: str,
) -> None:
    """Create an outbox stream, or add our sources to the one that exists."""
    sources = stream.sources(names, partitions)
    config = {
        "name": stream.name,
        "subjects": stream.subjects,
        "storage": storage,
        "num_replicas": replicas,
        "retention": "limits",
        "discard": "new",
        "allow_direct": True,
        **stream.config,
        "sources": sources,
    }
    found = await ensure_stream(connection, config, ())
    while True:
        if found.get("mirror"):
            raise StreamMismatchError(stream.name, {"mirror": (found["mirror"]["name"], None)})
        there = {source["name"]: source for source in found.get("sources") or ()}
        missing = [source for source in sources if not _is_same(there.get(source["name"]), source)]
        if not missing:
            return
        there.update((source["name"], source) for source in missing)
        found["sources"] = list(there.values())
        await connection.api_until_answered(f"STREAM.UPDATE.{stream.name}", found)
        # Another app may have added its sources in the same moment, and undone ours.
        answer = await connection.api_until_answered(f"STREAM.INFO.{stream.name}")
        found = answer["config"]


def _is_same(found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    return found is not None and found.get("subject_transforms") == wanted["subject_transforms"]


class OutboxCleaner:
    """Removes results from outboxes once the stream that wants them holds them.

    The proof is the stored copy itself (its ``Nats-Stream-Source`` header), read from the
    target: the lag that the server reports may say 0 while the copying stands still.
    """

    def __init__(self, connection: Connection, names: Names, outbox: Outbox) -> None:
        self.connection = connection
        self.names = names
        self.outbox = outbox
        self.removed = 0
        self._waiting: dict[int, deque[tuple[int, str, float]]] = {}
        self._stored: dict[tuple[str, str], int] = {}
        self._position: dict[str, int] = {}
        self._from_time: dict[str, str] = {}
        self._from_now: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """Commits whose results are not yet known to have arrived."""
        return sum(len(waiting) for waiting in self._waiting.values())

    def oldest_age(self, now: float) -> float:
        """Seconds since the oldest of them was committed, or found; 0 if there is none.

        More than a minute means that a stream does not take its results: its leader, or its
        limits, want looking at.
        """
        return max((now - each[0][2] for each in self._waiting.values() if each), default=0.0)

    def add(self, partition: int, sequence: int, target: str) -> None:
        """Results for ``target`` lie in the outbox, the last of them at ``sequence``."""
        waiting = self._waiting.setdefault(partition, deque())
        waiting.append((sequence, target, time.monotonic()))

    def forget(self, partition: int) -> None:
        """The partition is not ours any more."""
        self._waiting.pop(partition, None)

    async def run(self, interval: float) -> None:
        """Check and remove for ever."""
        while True:
            await asyncio.sleep(interval)
            try:
                await self.clean()
            except FAILED as error:
                logger.warning("outboxes not cleaned, trying again: %r", error)

    async def clean(self) -> None:
        """Look which results have arrived, and remove those."""
        targets = {target for waiting in self._waiting.values() for _, target, _ in waiting}
        for target in targets:
            await self._look(target)
        for partition, waiting in list(self._waiting.items()):
            source = self.names.state_stream(partition)
            arrived = 0
            while waiting and self._stored.get((waiting[0][1], source), 0) >= waiting[0][0]:
                arrived = waiting.popleft()[0]
            if arrived:
                answer = await self.connection.api(
                    f"STREAM.PURGE.{source}",
                    {"filter": f"{self.names.state_root(partition)}.out.>", "seq": arrived + 1},
                )
                self.removed += answer.get("purged", 0)

    def start_after(self, target: str, sequence: int) -> None:
        """What a target holds up to ``sequence`` is older than anything that may wait here."""
        self._from_now.setdefault(target, sequence + 1)

    def start_from(self, target: str, since: str) -> None:
        """Results found at recovery were written at ``since`` (RFC 3339, UTC) or later."""
        self._position.pop(target, None)
        self._from_time[target] = min(since, self._from_time.get(target, since))

    async def _look(self, target: str) -> None:
        """Read the headers that were stored in a target since the last look."""
        data = asyncio.Event()
        reader = Reader(
            self.connection,
            target,
            self.outbox.streams[target].subjects,
            self._position.get(target, self._from_now.get(target, 1)),
            data.set,
            headers_only=True,
            start_time=None if target in self._position else self._from_time.pop(target, None),
        )
        reader.start()
        try:
            while reader.pending != 0 or reader.buffer:
                if not reader.buffer:
                    data.clear()
                    if not await wait_event(data, 5):
                        return
                    continue
                for sequence, _, _, _, headers in reader.take(1000):
                    self._position[target] = sequence + 1
                    told = (headers or {}).get("Nats-Stream-Source", "").split(" ")
                    if len(told) > 1 and told[1].isdigit():
                        key = (target, told[0])
                        self._stored[key] = max(int(told[1]), self._stored.get(key, 0))
        finally:
            await reader.close()
