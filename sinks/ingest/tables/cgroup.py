"""Events of kind ``cgroup``."""

from sinks.ingest.tables.definition import SinkTable
from stream.broker.streams import EVENTS_STREAM

TABLE = SinkTable(
    name="cgroup",
    stream=EVENTS_STREAM,
    subject="events.cgroup.*",
    table="cgroup_samples",
)
