"""Events of kind ``pod``."""

from sinks.ingest.tables.definition import SinkTable
from stream.broker.streams import EVENTS_STREAM

TABLE = SinkTable(
    name="pod",
    stream=EVENTS_STREAM,
    subject="events.pod.*",
    table="pod_events",
)
