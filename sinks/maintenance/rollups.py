"""Rolls closed 10-second windows up to one minute and one hour.

Each round finds the windows that got rows since the last round and makes theirs anew from the last
version of every row, so late corrections arrive there, too, and nothing is ever counted twice. A
round that is cut off is simply repeated.
"""

from dataclasses import dataclass
from typing import Final

from sinks.store import metrics
from sinks.store.client import Client, Store
from sinks.store.migrations import schema_template

SLACK_SECONDS: Final = 10
"""An insert stamps its rows before they can be seen; longer than the longest insert takes."""
KEYS: Final = (
    "kind, scope, node, namespace, workload_kind, workload, pod, pod_uid, container, container_id, "
    "course, division, student, assignment"
)


@dataclass(frozen=True, slots=True)
class Target:
    """One longer window."""

    table: str
    seconds: int

    def start(self, column: str) -> str:
        """The begin of the longer window that a time lies in."""
        return f"toStartOfInterval({column}, toIntervalSecond({self.seconds}), 'UTC')"


MINUTE: Final = Target("buckets_1m", 60)
HOUR: Final = Target("buckets_1h", 3600)


def roll_up(store: Store, client: Client, target: Target) -> int:
    """Bring one target up to date and give the number of longer windows that were written."""
    template = schema_template(store.settings)
    source, rollups = template.local("buckets_10s"), template.local("rollups")
    begun = client.value("SELECT toUnixTimestamp64Milli(now64(3))")
    until = client.value(
        f"SELECT toUnixTimestamp64Milli(max(rolled_until)) FROM {rollups} "
        "WHERE target = {target:String}",
        {"target": target.table},
    )
    # Where the 10-second rows are about to go, what is left would make a window too small.
    kept = store.settings.retention("buckets_10s")
    oldest = f"AND window_start >= now() - toIntervalDay({kept - 1:d})" if kept > 1 else ""
    touched = [
        int(seconds)
        for (seconds,) in client.rows(
            f"SELECT DISTINCT toUnixTimestamp({target.start('window_start')}) FROM {source} "
            "WHERE final AND inserted_at >= fromUnixTimestamp64Milli({since:Int64}) "
            f"{oldest} ORDER BY 1",
            {"since": max(0, int(until or 0) - SLACK_SECONDS * 1000)},
        )
    ]
    if not touched:
        return 0
    client.command(
        f"INSERT INTO {template.local(target.table)} "
        f"({KEYS}, window_start, window_end, final, version, late, samples, "
        f"{metrics.plain()}) "
        f"SELECT {KEYS}, start, start + {target.seconds}, true, max(b.version), sum(b.late), "
        f"sum(b.samples), {metrics.over_windows()} "
        f"FROM (SELECT *, {target.start('window_start')} AS start FROM {source} FINAL "
        "WHERE final AND window_start >= toDateTime({first:UInt32}) "
        f"AND window_start < toDateTime({{last:UInt32}} + {target.seconds}) "
        f"AND toUnixTimestamp({target.start('window_start')}) IN {{touched:Array(UInt32)}}) AS b "
        f"GROUP BY {KEYS}, start",
        {"first": touched[0], "last": touched[-1], "touched": touched},
    )
    client.command(
        f"INSERT INTO {rollups} (target, rolled_until, windows) SELECT {{target:String}}, "
        "fromUnixTimestamp64Milli({begun:Int64}), {windows:UInt64}",
        {"target": target.table, "begun": int(begun), "windows": len(touched)},
    )
    return len(touched)
