"""Buckets of kind ``process``: programs started and ended, by the time at which they did."""

from typing import Any, Final, Self

from msgspec import field

from stream.contract.bucket_metrics import PROCESS_CLASSES
from stream.windows.kinds.base import DISTINCT_BOUND, BucketKind, Cell, fingerprint, merge_distinct

_COUNTS: Final = (
    "execs",
    "exits",
    "failures",
    "crashes",
    "core_dumps",
    "run_us",
    "builds",
    "build_failures",
    "runs",
    "run_failures",
    "notebook_cells",
)


class ProcessCell(Cell, array_like=True):
    """A program that failed left an exit code other than 0; one that crashed died by a signal."""

    execs: int = 0
    exits: int = 0
    failures: int = 0
    crashes: int = 0
    core_dumps: int = 0
    run_us: int = 0
    builds: int = 0
    build_failures: int = 0
    runs: int = 0
    run_failures: int = 0
    notebook_cells: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    programs: set[int] = field(default_factory=set)

    def add(self, event: Any) -> None:
        if event.action == "exec":
            self.execs += 1
            name = event.class_
            self.classes[name] = self.classes.get(name, 0) + 1
            if len(self.programs) < DISTINCT_BOUND:
                self.programs.add(fingerprint(event.exe or event.comm))
            return
        self.exits += 1
        if event.duration_us is not None:
            self.run_us += event.duration_us
        bad = 0
        if event.signal is not None:
            self.crashes += 1
            bad = 1
            if event.core_dumped:
                self.core_dumps += 1
        elif event.exit_code:
            self.failures += 1
            bad = 1
        if event.purpose == "build":
            self.builds += 1
            self.build_failures += bad
        elif event.purpose == "run":
            self.runs += 1
            self.run_failures += bad
        if event.notebook:
            self.notebook_cells += 1

    def merge(self, other: Self) -> None:
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, count in other.classes.items():
            self.classes[name] = self.classes.get(name, 0) + count
        merge_distinct(self.programs, other.programs)

    def metrics(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in _COUNTS}
        found["programs"] = len(self.programs)
        for name in PROCESS_CLASSES:
            found[f"execs_{name}"] = self.classes.get(name, 0)
        return found


PROCESS: Final = BucketKind("process", ProcessCell)
