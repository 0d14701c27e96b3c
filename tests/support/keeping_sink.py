"""An event sink that keeps everything, for tests of observers without a broker."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from stream.contract.event import Event

Kept = TypeVar("Kept", bound=Event)


@dataclass
class KeptLoss:
    """One call of ``lost``."""

    reason: str
    count: int | None
    stage: str
    first_ts: str | None
    last_ts: str | None
    detail: str


@dataclass
class KeepingSink(Generic[Kept]):
    """Keeps what an observer of one kind hands over; ``open.clear()`` makes it block like a full
    queue, ``blocked`` tells when somebody waits."""

    kind: str
    type: type[Kept]
    batches: list[list[Kept]] = field(default_factory=list)
    losses: list[KeptLoss] = field(default_factory=list)
    filtered_count: int = 0
    watermarks: list[tuple[int, int]] = field(default_factory=list)
    """Batches so far, and the promised time."""
    open: threading.Event = field(default_factory=threading.Event)
    blocked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def emit(self, kind: str, event: Event) -> None:
        self.emit_many(kind, [event])

    def emit_many(self, kind: str, events: list[Event]) -> None:
        assert kind == self.kind
        if not self.open.is_set():
            self.blocked.set()
            self.open.wait(30)
        batch = [each for each in events if isinstance(each, self.type)]
        assert len(batch) == len(events) > 0
        self.batches.append(batch)

    def filtered(self, kind: str, count: int = 1) -> None:
        assert kind == self.kind
        self.filtered_count += count

    def lost(
        self,
        kind: str,
        reason: str,
        count: int | None,
        *,
        stage: str = "kernel",
        first_ts: str | None = None,
        last_ts: str | None = None,
        detail: str = "",
    ) -> None:
        assert kind == self.kind
        self.losses.append(KeptLoss(reason, count, stage, first_ts, last_ts, detail))

    def watermark(self, kind: str, microseconds: int) -> None:
        assert kind == self.kind
        self.watermarks.append((len(self.batches), microseconds))

    def events(self, where: Callable[[Kept], bool] = lambda event: True) -> list[Kept]:
        """All events so far, in order."""
        return [each for batch in list(self.batches) for each in batch if where(each)]

    def next_batch(
        self, where: Callable[[list[Kept]], bool] = lambda batch: True, seconds: float = 30.0
    ) -> list[Kept]:
        """Wait for a batch that was made wholly after this call, and give it: of those that fit,
        the second from now."""
        known = len([batch for batch in list(self.batches) if where(batch)])
        deadline = time.monotonic() + seconds
        while len(found := [batch for batch in list(self.batches) if where(batch)]) < known + 2:
            assert time.monotonic() < deadline, f"no batch of {self.kind} came"
            time.sleep(0.01)
        return found[known + 1]
