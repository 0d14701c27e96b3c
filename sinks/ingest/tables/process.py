"""Events of kind ``process``."""

from sinks.ingest.tables.definition import SinkTable
from stream.broker.streams import EVENTS_STREAM

TABLE = SinkTable(
    name="process",
    stream=EVENTS_STREAM,
    subject="events.process.*",
    table="process_events",
    feeds=("process_live_feed", "process_ended_feed"),
)
