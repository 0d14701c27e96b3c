"""What the tests of the cgroup producer share: a sink, containers, and a recorded v2 machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from producers.cgroup import CgroupObserver, CgroupSettings
from stream.contract.kinds.cgroup import CgroupEvent
from tests.support.containers import Containers, require_root
from tests.support.keeping_sink import KeepingSink

RECORDED = Path(__file__).parent / "recorded_v2.txt"


@pytest.fixture
def sink() -> KeepingSink[CgroupEvent]:
    return KeepingSink("cgroup", CgroupEvent)


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    require_root()
    with Containers(tmp_path) as runtime:
        yield runtime


@pytest.fixture
def observe(sink: KeepingSink[CgroupEvent]) -> Iterator[Callable[..., CgroupObserver]]:
    """Start an observer of this machine with a short interval; stopped at the end."""
    started: list[CgroupObserver] = []

    def start(**settings: object) -> CgroupObserver:
        chosen = {"interval_seconds": 0.25, "rescan_seconds": 120, **settings}
        observer = CgroupObserver(CgroupSettings(**chosen))  # type: ignore[arg-type]
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
