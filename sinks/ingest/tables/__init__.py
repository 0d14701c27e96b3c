"""All sinks. A new one is one module here, one line in ``SINK_TABLES``, and a migration."""

from typing import Final

from sinks.ingest.tables import (
    buckets,
    cgroup,
    dead,
    file,
    hostpath,
    loss,
    pod,
    process,
    progress,
    snapshot,
)
from sinks.ingest.tables.definition import SinkTable

SINK_TABLES: Final[tuple[SinkTable, ...]] = (
    process.TABLE,
    file.TABLE,
    snapshot.TABLE,
    hostpath.TABLE,
    cgroup.TABLE,
    pod.TABLE,
    loss.TABLE,
    buckets.TABLE,
    dead.TABLE,
    # Last: once a producer's progress is stored, so is what it spoke of, as far as it had come.
    progress.TABLE,
)

EVENT_TABLES: Final[dict[str, str]] = {
    each.name: each.table for each in SINK_TABLES if each.identified
}
"""The table of each kind of events."""
