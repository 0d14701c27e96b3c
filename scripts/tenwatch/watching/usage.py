"""Asks the store who used what in the last seconds, and how every stage is."""

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from stream.contract.buckets import WINDOW_SECONDS
from tenwatch.sql_client import SqlClient


class By(StrEnum):
    """What a row is about."""

    node = "node"
    pod = "pod"
    workload = "workload"
    namespace = "namespace"
    student = "student"


KEYS: Final[dict[By, tuple[str, ...]]] = {
    By.node: ("node",),
    By.pod: ("namespace", "pod", "node"),
    By.workload: ("namespace", "workload_kind", "workload"),
    By.namespace: ("namespace",),
    By.student: ("course", "division", "student"),
}
"""Columns that name a row, by scope."""

METRICS: Final = (
    "cpu_millicores", "memory_bytes", "io_read", "io_write", "net_rx", "net_tx",
    "execs", "failures", "crashes", "file_changes",
)  # fmt: skip
"""Columns of a row behind its names. Rates (io, net) are bytes per second, counts are of the whole
span."""

_USAGE: Final = """
SELECT {keys},
    1000 * sum(cpu_us) / nullIf(sum(measured_us), 0) AS cpu_millicores,
    argMaxIf(memory_bytes_last, window_start, memory_bytes_last IS NOT NULL) AS memory_bytes,
    1e6 * sum(io_read_bytes) / nullIf(sum(measured_us), 0) AS io_read,
    1e6 * sum(io_write_bytes) / nullIf(sum(measured_us), 0) AS io_write,
    1e6 * sum(net_rx_bytes) / nullIf(sum(measured_us), 0) AS net_rx,
    1e6 * sum(net_tx_bytes) / nullIf(sum(measured_us), 0) AS net_tx,
    sum(execs) AS execs,
    sum(failures) AS failures,
    sum(crashes) AS crashes,
    sum(creates) + sum(modifies) + sum(deletes) + sum(moves) AS file_changes
FROM tenwatch.buckets
WHERE scope = {{scope:String}} AND kind IN ('cgroup', 'process', 'file')
    AND window_start >= toStartOfInterval(
        now('UTC') - toIntervalSecond({{span:UInt32}}), toIntervalSecond({window}))
GROUP BY {keys}
"""
_PRODUCERS: Final = """
SELECT count(), countIf(NOT alive AND NOT closed), maxIf(age_s, alive), sum(spooled_bytes),
    sum(lost + dropped), sum(emitted), sum(length(degraded) > 0), uniq(node)
FROM tenwatch.nodes WHERE ts > now64(6, 'UTC') - INTERVAL 10 MINUTE
"""
_TROUBLE: Final = """
SELECT
    (SELECT sum(count) FROM tenwatch.loss WHERE ts > now64(6, 'UTC') - INTERVAL 1 HOUR),
    (SELECT countIf(count IS NULL) FROM tenwatch.loss
        WHERE ts > now64(6, 'UTC') - INTERVAL 1 HOUR),
    (SELECT sum(count) FROM tenwatch.dead WHERE ts > now64(6, 'UTC') - INTERVAL 1 HOUR),
    (SELECT sum(stored) / 10 FROM tenwatch.ledger
        WHERE inserted_at > now64(3, 'UTC') - INTERVAL 10 SECOND)
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing and what it used."""

    names: tuple[str, ...]
    metrics: dict[str, float | None]


@dataclass(slots=True)
class Health:
    """How the pipeline is."""

    nodes: int = 0
    producers: int = 0
    silent: int = 0
    """Producers that should report and don't."""
    delay_seconds: float = 0.0
    """Age of the oldest newest report in the store, from source to SQL."""
    spooled_bytes: int = 0
    degraded: int = 0
    stored_per_second: float = 0.0
    """Over the last 10 seconds."""
    lost: int = 0
    """In the last hour, where the number is known."""
    lost_unknown: int = 0
    """Records of loss of unknown number, in the last hour."""
    dead: int = 0
    """In the last hour."""


@dataclass(slots=True)
class Picture:
    """All that is shown."""

    by: By
    span: int
    rows: list[Row] = field(default_factory=list)
    health: Health = field(default_factory=Health)
    taken: float = 0.0
    query_seconds: float = 0.0


def look(store: SqlClient, by: By, span: int) -> Picture:
    """Ask for everything; takes two queries and a small one."""
    began = time.monotonic()
    keys = KEYS[by]
    sql = _USAGE.format(keys=", ".join(keys), window=WINDOW_SECONDS)
    rows = [
        Row(
            tuple(str(value) for value in row[: len(keys)]),
            {
                name: None if value is None else float(value)
                for name, value in zip(METRICS, row[len(keys) :], strict=True)
            },
        )
        for row in store.rows(sql, {"scope": by.value, "span": span}).data
    ]
    return Picture(by, span, rows, _health(store), time.time(), time.monotonic() - began)


def _health(store: SqlClient) -> Health:
    producers, silent, delay, spooled, _, _, degraded, nodes = store.rows(_PRODUCERS).data[0]
    lost, unknown, dead, rate = store.rows(_TROUBLE).data[0]
    return Health(
        int(nodes), int(producers), int(silent), float(delay or 0), int(spooled), int(degraded),
        float(rate or 0), int(lost or 0), int(unknown or 0), int(dead or 0),
    )  # fmt: skip


def arranged(picture: Picture, sort: str, text: str, *, reverse: bool = False) -> list[Row]:
    """Rows whose names contain ``text``, the largest of ``sort`` first; unknown ones last."""
    found = [row for row in picture.rows if text.lower() in " ".join(row.names).lower()]
    if sort == "name":
        return sorted(found, key=lambda row: row.names, reverse=reverse)
    known = [row for row in found if row.metrics[sort] is not None]
    known.sort(key=lambda row: (-(row.metrics[sort] or 0.0), row.names), reverse=reverse)
    return known + sorted((row for row in found if row.metrics[sort] is None), key=_names)


def _names(row: Row) -> tuple[str, ...]:
    return row.names


def as_json(picture: Picture, rows: list[Row]) -> dict[str, Any]:
    """For scripts."""
    keys = KEYS[picture.by]
    return {
        "by": picture.by.value,
        "span_seconds": picture.span,
        "health": {name: getattr(picture.health, name) for name in Health.__slots__},
        "rows": [dict(zip(keys, row.names, strict=True)) | row.metrics for row in rows],
    }
