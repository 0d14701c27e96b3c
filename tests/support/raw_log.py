"""Raw logs made by hand, and a worker's processor run over them without a broker.

A log is a list of steps in the order of one partition: events and progress records, each of one
node. It is packed into messages of any size, and processed with commits and restarts anywhere.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream.contract.batch import BatchIdentity, encode_lines
from stream.contract.event import Event
from stream.contract.kinds import KINDS
from stream.contract.kinds.progress import ProgressEvent
from stream.contract.subjects import escape_token
from stream.contract.timestamps import format_timestamp
from stream.worker.messages import Message
from stream.worker.processor import Processor

START = 1_800_000_000
"""Seconds since the epoch at which these logs begin: a multiple of 10."""
_KIND_OF = {definition.event: name for name, definition in KINDS.items()}


def at(seconds: float) -> str:
    """A time so many seconds after the beginning of the log."""
    return format_timestamp(round((START + seconds) * 1_000_000))


@dataclass
class RawMessage:
    """One message of RAW."""

    key: str
    headers: dict[str, str]
    payload: bytes


class RawLog:
    """Collects events of several nodes; assigns node, boot and seq as a publisher does."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Event]] = []
        """Kind and event, in order."""
        self._next: dict[tuple[str, str, str], int] = {}

    def add(self, node: str, event: Event, boot: str = "boot-1") -> Event:
        """Put an event at the end; gives it with its identity."""
        kind = _KIND_OF[type(event)]
        key = (node, kind, boot)
        event.node, event.boot, event.seq = node, boot, self._next.get(key, 0)
        self._next[key] = event.seq + 1
        self.events.append((kind, event))
        return event

    def skip(self, node: str, kind: str, count: int, boot: str = "boot-1") -> None:
        """Use up seqs of events that never come."""
        key = (node, kind, boot)
        self._next[key] = self._next.get(key, 0) + count

    def progress(
        self,
        node: str,
        kind: str,
        seconds: float,
        *,
        boot: str = "boot-1",
        watermark: float | None = None,
        **fields: Any,
    ) -> None:
        """A producer's progress record about a kind, at a time after the beginning."""
        emitted = self._next.get((node, kind, boot), 0)
        record = ProgressEvent(
            ts=at(seconds),
            producer=kind,
            watermark=at(seconds if watermark is None else watermark),
            next_seq=emitted,
            seen=emitted,
            filtered=0,
            emitted=emitted,
            lost=0,
            **fields,
        )
        self.add(node, record, boot)

    def messages(self, batch: int = 64) -> list[RawMessage]:
        """Packed: neighbours of one kind, node and boot share a message, up to ``batch`` lines."""
        return pack(self.events, batch)


def pack(events: Iterable[tuple[str, Event]], batch: int) -> list[RawMessage]:
    """Messages of events that have their identity."""
    found: list[RawMessage] = []
    current: list[Event] = []
    kind = ""

    def flush() -> None:
        if current:
            found.append(message(kind, current))
            current.clear()

    for name, event in events:
        last = current[-1] if current else None
        if last is not None and (
            name != kind
            or len(current) >= batch
            or (event.node, event.boot) != (last.node, last.boot)
            or event.seq != last.seq + 1
        ):
            flush()
        kind = name
        current.append(event)
    flush()
    return found


def message(kind: str, events: list[Event]) -> RawMessage:
    """One message."""
    first = events[0]
    identity = BatchIdentity(
        kind, KINDS[kind].version, first.node, first.boot, first.seq, len(events)
    )
    return RawMessage(
        f"{kind}.{escape_token(first.node)}", identity.headers(), encode_lines(events)
    )


class MemoryStore(dict[str, Any]):
    """A state store whose commits can be taken up again, as a worker does after a crash."""

    def __init__(self, committed: dict[str, bytes] | None = None) -> None:
        super().__init__(committed or {})
        self.committed = dict(committed or {})
        self.dirty: set[str] = set()
        self.largest_commit = 0

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.dirty.add(key)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self.dirty.add(key)

    def load(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)

    def commit(self) -> None:
        self.largest_commit = max(self.largest_commit, len(self.dirty))
        for key in self.dirty:
            if key in self:
                value = self[key]
                self.committed[key] = value if isinstance(value, bytes) else value.dump()
                assert self.committed[key]
            else:
                self.committed.pop(key, None)
        self.dirty.clear()


@dataclass
class Run:
    """What a processor gave for a log."""

    published: list[Message] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Final rows, in the order of their commits."""
    provisional: list[dict[str, Any]] = field(default_factory=list)
    processor: Processor = None  # type: ignore[assignment]
    store: MemoryStore = field(default_factory=MemoryStore)

    def lines(self, prefix: str = "events.") -> list[dict[str, Any]]:
        """Every published line below a subject, decoded; repeats of one message only once."""
        seen = set()
        found = []
        for each in self.published:
            if each.subject.startswith(prefix) and each.headers["Nats-Msg-Id"] not in seen:
                seen.add(each.headers["Nats-Msg-Id"])
                found += [msgspec.json.decode(line) for line in each.payload.splitlines()]
        return found

    def last_rows(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The newest row of each bucket, without its version."""
        newest: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in [*self.provisional, *self.rows]:
            key = tuple(row.get(name, "") for name in _ROW_KEY)
            if key not in newest or newest[key]["version"] < row["version"]:
                newest[key] = row
        return {
            key: {name: value for name, value in row.items() if name != "version"}
            for key, row in sorted(newest.items())
        }

    def row(self, **wanted: Any) -> dict[str, Any]:
        """The one last row with these fields."""
        found = [
            row
            for row in self.last_rows().values()
            if all(row.get(name, "") == value for name, value in wanted.items())
        ]
        assert len(found) == 1, f"{len(found)} rows with {wanted}"
        return found[0]


_ROW_KEY = (
    "kind", "scope", "node", "window_start", "namespace", "workload_kind", "workload", "pod",
    "pod_uid", "container", "container_id", "course", "division", "student", "assignment",
)  # fmt: skip


def window_text(seconds: float) -> str:
    """``window_start`` of the window around a time."""
    return format_timestamp((START + int(seconds // 10) * 10) * 1_000_000)[:19] + "Z"


def process(
    messages: list[RawMessage],
    *,
    commit_every: int = 7,
    restart: Callable[[int], bool] = lambda offset: False,
    provisional: bool = False,
    idle: bool = False,
    **options: Any,
) -> Run:
    """Process all messages; ``restart(offset)`` kills the worker after that message.

    A killed worker loses what it had not committed; the next one begins at the committed offset.
    """
    run = Run()
    committed_offset = 0
    number = 1
    offset = 0
    now = 1000.0
    run.processor = _new(run.store, now, options)
    killed: set[int] = set()
    while offset < len(messages):
        each = messages[offset]
        now += 0.01
        run.processor.windows.now = now
        run.published += run.processor.process(each.key, each.headers, each.payload, offset + 1)
        offset += 1
        if provisional:
            now += 2
            run.processor.windows.now = now
            run.provisional += _rows(run.processor.provisional_rows(number))
        if restart(offset) and offset not in killed:
            killed.add(offset)
            run.store = MemoryStore(run.store.committed)
            run.processor = _new(run.store, now, options)
            offset = committed_offset
        elif offset % commit_every == 0 or offset == len(messages):
            number = _commit(run, number)
            committed_offset = offset
    if idle:
        run.processor.windows.now = now + 3600
        run.processor.windows.close_idle()
    run.processor.windows.step()
    while run.processor.windows.has_final_rows:
        number = _commit(run, number)
        run.processor.windows.step()
    return run


def _new(store: MemoryStore, now: float, options: dict[str, Any]) -> Processor:
    return Processor(0, store, now=now, **options)


def _commit(run: Run, number: int) -> int:
    run.rows += _rows(run.processor.final_rows(number))
    run.store.commit()
    return number + 1


def _rows(messages: Iterable[Message]) -> Iterator[dict[str, Any]]:
    for each in messages:
        for line in each.payload.splitlines():
            yield msgspec.json.decode(line)
