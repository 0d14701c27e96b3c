"""Events of kind ``progress``."""

from sinks.ingest.tables.definition import SinkTable
from stream.broker.streams import EVENTS_STREAM

TABLE = SinkTable(
    name="progress",
    stream=EVENTS_STREAM,
    subject="events.progress.*",
    table="progress",
    feeds=("progress_newest_feed",),
)
