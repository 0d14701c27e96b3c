"""Events of kind ``hostpath``."""

from sinks.ingest.tables.definition import SinkTable
from stream.broker.streams import EVENTS_STREAM

TABLE = SinkTable(
    name="hostpath",
    stream=EVENTS_STREAM,
    subject="events.hostpath.*",
    table="hostpath_events",
)
