"""What every stage says that it lost."""

from sinks.ingest.tables.definition import SinkTable
from stream.broker.streams import EVENTS_STREAM

TABLE = SinkTable(name="loss", stream=EVENTS_STREAM, subject="loss.*.*", table="losses")
