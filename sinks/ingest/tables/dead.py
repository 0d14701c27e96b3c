"""What a stage could not understand."""

from sinks.ingest.tables.definition import SinkTable
from stream.broker.streams import DEAD_STREAM

TABLE = SinkTable(
    name="dead",
    stream=DEAD_STREAM,
    subject="dead.*.*",
    table="dead_letters",
    identified=False,
    maximum_rows=2_000,
)
