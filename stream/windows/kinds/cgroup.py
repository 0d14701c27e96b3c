"""Buckets of kind ``cgroup``: resource use, from cumulative counters and gauges.

A counter says nothing by itself: what counts is its increase between two samples of the same
cgroup. The increase is spread over the windows between them in proportion to time, so that the
sum over windows is exactly what the kernel counted, and a rate is taken over the time that was
measured, whatever the sampler's nominal interval.

The rows of a container, a pod and the node come from their own cgroups. Rows of groups are sums of
pods. ``host`` is the node less its pods.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, Self

import msgspec
from msgspec import Struct, field

from stream.windows.kinds.base import BucketKind, Cell, Places, Rows
from stream.windows.scopes import (
    HOST,
    NODE,
    CellKey,
    ScopeKey,
    container_scope,
    group_scopes,
    pod_scope,
)

_SECOND: Final = 1_000_000
_WINDOW: Final = 10 * _SECOND
MAXIMUM_GAP: Final = 65 * _SECOND
"""Samples further apart say how much was used, but not when: sampling once a minute still works."""
_FORGET_AFTER: Final = 600 * _SECOND
"""A cgroup without a sample for that long is gone, though nobody said so."""

_COUNTERS: Final = {
    "cpu_usage_us": "cpu_us",
    "cpu_user_us": "cpu_user_us",
    "cpu_system_us": "cpu_system_us",
    "cpu_throttled_us": "cpu_throttled_us",
    "oom_kills": "oom_kills",
    "io_read_bytes": "io_read_bytes",
    "io_write_bytes": "io_write_bytes",
    "io_read_ops": "io_read_ops",
    "io_write_ops": "io_write_ops",
    "net_rx_bytes": "net_rx_bytes",
    "net_tx_bytes": "net_tx_bytes",
    "psi_cpu_some_us": "psi_cpu_some_us",
    "psi_memory_some_us": "psi_memory_some_us",
    "psi_io_some_us": "psi_io_some_us",
}
"""Counters of a sample, and the metrics that their increases are."""
_METRICS: Final = tuple(_COUNTERS.values())
_ADDITIVE: Final = frozenset(name for name in _METRICS if not name.startswith(("psi_", "net_")))
"""What the node used is what its pods and the host used. Not so traffic, which crosses interfaces,
nor pressure."""
_GAUGES: Final = (
    "memory_bytes",
    "memory_working_set_bytes",
    "memory_anon_bytes",
    "memory_file_bytes",
    "memory_limit_bytes",
    "pids",
)
_LIMIT: Final = _GAUGES.index("memory_limit_bytes")
_GROUPS: Final = ("workload", "namespace", "student", "assignment")

Tick = list[int | None]
"""The gauges of one sample, or their sums over several cgroups."""


def _plus(one: int | None, other: int | None) -> int | None:
    if one is None:
        return other
    return one if other is None else one + other


def _minus(one: int | None, other: int | None) -> int | None:
    return None if one is None else max(0, one - (other or 0))


class CgroupCell(Cell, array_like=True):
    """Increases, the time they were measured over, and the gauges of each sample."""

    amounts: dict[str, int] = field(default_factory=dict)
    """Increase by metric; absent where it isn't known."""
    covered: list[tuple[int, int]] = field(default_factory=list)
    """Parts of the window that lie between two samples; microseconds from its start."""
    ticks: dict[int, Tick] = field(default_factory=dict)
    """Gauges by time of the sample, in microseconds from the window's start."""
    resets: int = 0
    gaps: int = 0

    def add(self, event: Any) -> None:
        """Nothing: see :class:`Counters`."""

    def cover(self, start: int, end: int) -> None:
        """Note that a part of the window was measured."""
        covered = self.covered
        if covered and covered[-1][1] == start:
            covered[-1] = (covered[-1][0], end)
            return
        merged: list[tuple[int, int]] = []
        for first, last in sorted([*covered, (start, end)]):
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        self.covered = merged

    def merge(self, other: Self) -> None:
        for name, amount in other.amounts.items():
            self.amounts[name] = self.amounts.get(name, 0) + amount
        for start, end in other.covered:
            self.cover(start, end)
        for at, tick in other.ticks.items():
            own = self.ticks.get(at)
            self.ticks[at] = list(tick) if own is None else list(map(_plus, own, tick))
        self.resets += other.resets
        self.gaps += other.gaps

    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        measured = sum(end - start for start, end in self.covered)
        cpu = self.amounts.get("cpu_us")
        if measured:
            if cpu is not None:
                found["cpu_millicores"] = round(cpu * 1000 / measured, 3)
            found["measured_us"] = measured
        found.update((name, self.amounts[name]) for name in _METRICS if name in self.amounts)
        found.update(self._gauges())
        found["counter_resets"] = self.resets
        found["sample_gaps"] = self.gaps
        return found

    def _gauges(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        ticks = [self.ticks[at] for at in sorted(self.ticks)]
        for place, name in enumerate(_GAUGES):
            values = [value for tick in ticks if (value := tick[place]) is not None]
            if not values:
                continue
            found[f"{name}_last"] = values[-1]
            if name in ("memory_bytes", "memory_working_set_bytes"):
                found[f"{name}_mean"] = round(sum(values) / len(values), 3)
            if name in ("memory_bytes", "memory_working_set_bytes", "pids"):
                found[f"{name}_max"] = max(values)
        return found


Values = tuple[int | None, ...]
_read_counters: Callable[[Any], Values] = attrgetter(*_COUNTERS)
_read_gauges: Callable[[Any], Values] = attrgetter(*_GAUGES)


class _Last(Struct, array_like=True):
    at: int
    cgroup_id: str
    values: Values


_decoder = msgspec.msgpack.Decoder(dict[str, _Last])
_encode = msgspec.msgpack.Encoder().encode


class Counters:
    """The last sample of each cgroup of one node."""

    def __init__(self, last: dict[str, _Last] | None = None) -> None:
        self._last = last if last is not None else {}

    @classmethod
    def load(cls, stored: bytes) -> "Counters":
        """Make it of what :meth:`dump` gave."""
        return cls(_decoder.decode(stored))

    def dump(self) -> bytes:
        return _encode(self._last)

    def record(self, event: Any, microseconds: int, cell: CgroupCell, places: Places) -> None:
        tick: Tick = list(_read_gauges(event))
        if tick.count(None) < len(tick):
            cell.ticks[microseconds % _WINDOW] = tick
        key = f"{event.scope}:{event.cgroup}"
        values = _read_counters(event)
        last = self._last.get(key)
        if last is None or last.cgroup_id != event.cgroup_id:
            self._last[key] = _Last(microseconds, event.cgroup_id, values)
        elif microseconds > last.at:
            if microseconds - last.at > MAXIMUM_GAP:
                cell.gaps += 1
            else:
                self._spread(last, microseconds, values, cell, places)
            last.at, last.values = microseconds, values
        else:
            return
        if event.last:
            del self._last[key]
        if event.scope == "node":
            self._forget(microseconds - _FORGET_AFTER)

    def _spread(
        self, last: _Last, until: int, values: Values, cell: CgroupCell, places: Places
    ) -> None:
        increases: list[tuple[str, int]] = []
        for name, before, after in zip(_METRICS, last.values, values):  # noqa: B905 - hot
            if before is None or after is None:
                continue
            if after < before:
                cell.resets += 1
            else:
                increases.append((name, after - before))
        begin, total = last.at, until - last.at
        cpu_went_back = values[0] is not None and (not increases or increases[0][0] != _METRICS[0])
        position = begin
        while position < until:
            start = position - position % _WINDOW
            end = min(until, start + _WINDOW)
            place: CgroupCell | None = places.cell(position // _SECOND)
            if place is None:
                cell.gaps += 1
            else:
                amounts = place.amounts
                known = amounts.get
                done, rest = position - begin, end - begin
                if rest - done == total:
                    for name, increase in increases:
                        amounts[name] = known(name, 0) + increase
                else:
                    for name, increase in increases:
                        share = increase * rest // total - increase * done // total
                        amounts[name] = known(name, 0) + share
                if not cpu_went_back:
                    place.cover(position - start, end - start)
            position = end

    def _forget(self, before: int) -> None:
        for key in [key for key, last in self._last.items() if last.at < before]:
            del self._last[key]


def _variant(event: Any) -> str:
    scope: str = event.scope
    return scope


def _scopes(key: CellKey) -> tuple[ScopeKey, ...]:
    match key.variant:
        case "node":
            return (NODE, HOST)
        case "pod":
            return (pod_scope(key), HOST, *group_scopes(key))
        case _:
            return (container_scope(key),)


def _finish(cells: Mapping[CellKey, CgroupCell], rows: Rows) -> None:
    """Groups are summed at the node's own ticks; the host is what is left of the node."""
    nodes = [cell for key, cell in cells.items() if key.variant == "node"]
    at_ticks = {at for cell in nodes for at in cell.ticks}
    for scope_key, row in rows.items():
        if scope_key.scope in _GROUPS:
            common = {at: tick for at, tick in row.ticks.items() if at in at_ticks}
            row.ticks = common or row.ticks
            for tick in row.ticks.values():
                tick[_LIMIT] = None
    if HOST not in rows:
        return
    if not nodes:
        del rows[HOST]
        return
    pods = CgroupCell()
    for key, cell in cells.items():
        if key.variant == "pod":
            pods.merge(cell)
    rows[HOST] = _difference(nodes[0], pods)


def _difference(node: CgroupCell, pods: CgroupCell) -> CgroupCell:
    host = CgroupCell(
        samples=node.samples,
        late=node.late,
        clamped=node.clamped,
        amounts={
            name: max(0, amount - pods.amounts.get(name, 0))
            for name, amount in node.amounts.items()
            if name in _ADDITIVE
        },
        covered=list(node.covered),
        resets=node.resets,
        gaps=node.gaps,
    )
    nothing: Tick = [None] * len(_GAUGES)
    for at, tick in node.ticks.items():
        left = list(map(_minus, tick, pods.ticks.get(at, nothing)))
        left[_LIMIT] = None
        host.ticks[at] = left
    return host


CGROUP: Final = BucketKind(
    "cgroup",
    CgroupCell,
    variant=_variant,
    scopes=_scopes,
    memory=Counters,
    load_memory=Counters.load,
    finish=_finish,
)
