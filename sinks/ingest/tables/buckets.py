"""Rows of 10-second windows, provisional and final."""

from sinks.ingest.tables.definition import SinkTable
from stream.broker.streams import BUCKETS_STREAM

TABLE = SinkTable(
    name="buckets",
    stream=BUCKETS_STREAM,
    subject="buckets.*.*",
    table="buckets_10s",
    identified=False,
)
