"""What the tests of the cgroup producer share: a sink that keeps, and a recorded v2 machine."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from producers.cgroup import CgroupObserver, CgroupSettings
from stream.contract.event import Event
from stream.contract.kinds.cgroup import CgroupEvent
from tests.support.containers import Containers, require_root

RECORDED = Path(__file__).parent / "recorded_v2.txt"


@dataclass
class KeptLoss:
    reason: str
    count: int | None
    first_ts: str | None
    last_ts: str | None
    detail: str


@dataclass
class KeepingSink:
    """Keeps what an observer hands over; ``hold`` makes it block like a full queue."""

    batches: list[list[CgroupEvent]] = field(default_factory=list)
    losses: list[KeptLoss] = field(default_factory=list)
    watermarks: list[tuple[int, int]] = field(default_factory=list)
    """Batches so far, and the promised time."""
    open: threading.Event = field(default_factory=threading.Event)
    blocked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def emit(self, kind: str, event: Event) -> None:
        self.emit_many(kind, [event])

    def emit_many(self, kind: str, events: list[Event]) -> None:
        assert kind == "cgroup"
        if not self.open.is_set():
            self.blocked.set()
            self.open.wait(30)
        self.batches.append([each for each in events if isinstance(each, CgroupEvent)])

    def filtered(self, kind: str, count: int = 1) -> None:
        raise AssertionError("the cgroup producer filters nothing")

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
        assert (kind, stage) == ("cgroup", "observer")
        self.losses.append(KeptLoss(reason, count, first_ts, last_ts, detail))

    def watermark(self, kind: str, microseconds: int) -> None:
        assert kind == "cgroup"
        self.watermarks.append((len(self.batches), microseconds))

    def events(self, cgroup: str) -> list[CgroupEvent]:
        """Every event of one cgroup path, in order."""
        return [each for batch in list(self.batches) for each in batch if each.cgroup == cgroup]

    def ticks(self) -> list[list[CgroupEvent]]:
        """The batches of whole ticks: those that begin with the node."""
        return [batch for batch in list(self.batches) if batch[0].scope == "node"]

    def after(self, seconds: float = 30.0) -> list[CgroupEvent]:
        """Wait for a tick that began after this call, and give it."""
        known = len(self.ticks()) + 1
        deadline = time.monotonic() + seconds
        while len(self.ticks()) <= known:
            assert time.monotonic() < deadline, "no tick came"
            time.sleep(0.01)
        return self.ticks()[known]


def of(events: list[CgroupEvent], cgroup: str) -> CgroupEvent:
    """The one event of a cgroup in a tick."""
    (found,) = [each for each in events if each.cgroup == cgroup]
    return found


@pytest.fixture
def sink() -> KeepingSink:
    return KeepingSink()


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    require_root()
    with Containers(tmp_path) as runtime:
        yield runtime


@pytest.fixture
def observe(sink: KeepingSink) -> Iterator[Callable[..., CgroupObserver]]:
    """Start an observer of this machine with a short interval; stopped at the end."""
    started: list[CgroupObserver] = []

    def start(**settings: object) -> CgroupObserver:
        observer = CgroupObserver(CgroupSettings(**{"interval_seconds": 0.25, **settings}))  # type: ignore[arg-type]
        observer.start(sink)
        started.append(observer)
        return observer

    yield start
    for observer in started:
        observer.stop()


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The recorded machine, unpacked: ``cgroup``, ``proc`` and ``sys`` below one folder."""
    root = tmp_path / "machine"
    path: Path | None = None
    lines: list[str] = []

    def flush() -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines[:-1]) + ("\n" if lines[:-1] else ""))

    for line in [*RECORDED.read_text().splitlines(), "==> end <=="]:
        if line.startswith("==> ") and line.endswith(" <=="):
            flush()
            path, lines = root / line[4:-4], []
        else:
            lines.append(line)
    return root
