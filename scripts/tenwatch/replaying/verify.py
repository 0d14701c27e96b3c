"""Compares the final buckets of a run with the live ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenwatch.replaying.run import Run
from tenwatch.replaying.time_range import TimeRange
from tenwatch.sql_client import SqlClient

LEFT_OUT = frozenset({"version", "late", "run", "inserted_at"})
"""What may differ: how often a row was corrected, and when it came from where."""
SHOWN_DIFFERENCES = 20

_COLUMNS = """
SELECT name FROM system.columns
WHERE database = 'tenwatch' AND table = 'buckets_10s' ORDER BY position
"""
# A window is compared once it is final on both sides. Behind the newest window that the run has of
# a kind and node, the log had not been fed when the run began.
_COMPARABLE = """
WITH
    live AS (
        SELECT * FROM tenwatch.buckets_10s FINAL
        WHERE window_start >= fromUnixTimestamp64Micro({start:Int64}, 'UTC')
            AND window_start < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
    ),
    again AS (SELECT * FROM tenwatch.replay_buckets FINAL WHERE run = {run:String}),
    reached AS (
        SELECT kind, node, max(window_start) AS newest FROM again GROUP BY kind, node
    ),
    open AS (
        SELECT kind, node, window_start FROM live WHERE NOT final
        UNION DISTINCT
        SELECT kind, node, window_start FROM again WHERE NOT final
    )
"""
_BOTH = """
    SELECT 'live' AS side, {columns} FROM live
    UNION ALL
    SELECT 'replay' AS side, {columns} FROM again
"""
_COMPARED = """
    SELECT b.* FROM ({both}) AS b INNER JOIN reached AS r ON b.kind = r.kind AND b.node = r.node
    WHERE b.window_start <= r.newest
        AND (b.kind, b.node, b.window_start) NOT IN (SELECT kind, node, window_start FROM open)
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison found."""

    compared: int
    """Live rows that were compared."""
    open_windows: int
    """Windows of a kind and node that are not final on both sides, and so are left out."""
    differing: int
    """Rows that only one side has, or has otherwise; each side counts."""
    first: list[Mapping[str, Any]]
    """The first of them, the two sides of a row next to each other."""

    @property
    def equal(self) -> bool:
        """Whether everything that was compared is equal, and there was something to compare."""
        return self.differing == 0 and self.compared > 0


def verify(store: SqlClient, run: Run, window_range: TimeRange) -> Verdict:
    """Compare every column but :data:`LEFT_OUT`, in the store."""
    names = [str(row[0]) for row in store.rows(_COLUMNS).data if row[0] not in LEFT_OUT]
    columns = ", ".join(f"`{name}`" for name in names)
    both = _COMPARED.format(both=_BOTH.format(columns=columns))
    bound = {"start": window_range.start, "end": window_range.end, "run": run.name}
    alone = f"""
        SELECT any(side) AS side, {columns} FROM ({both})
        GROUP BY {columns} HAVING count() != 2
    """
    counts = store.rows(
        f"{_COMPARABLE} SELECT (SELECT countIf(side = 'live') FROM ({both})), "
        f"(SELECT count() FROM open), (SELECT count() FROM ({alone}))",
        bound,
    ).data[0]
    compared, open_windows, differing = (int(value) for value in counts)
    first: list[Mapping[str, Any]] = []
    if differing:
        shown = store.rows(
            f"{_COMPARABLE} SELECT * FROM ({alone}) "
            f"ORDER BY kind, node, scope, window_start, namespace, pod, container_id, side "
            f"LIMIT {SHOWN_DIFFERENCES}",
            bound,
        )
        first = [dict(zip(shown.columns, row, strict=True)) for row in shown.data]
    return Verdict(compared, open_windows, differing, first)
