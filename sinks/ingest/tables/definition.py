"""What one sink is: which messages go into which table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SinkTable:
    """A consumer of a stream and the table that it fills."""

    name: str
    """Names the consumer (``sink-<name>``), the metrics and, for events, their kind."""
    stream: str
    subject: str
    """The filter of the consumer."""
    table: str
    identified: bool = True
    """Whether a message is a batch of events with an identity, which the ledger accounts for.
    Otherwise its rows are absolute: a repeat replaces them with the same."""
    feeds: tuple[str, ...] = ()
    """Materialized views that copy rows of the table; after a crash they are fed again."""
    maximum_rows: int = 10_000
    """Rows of one insert. 10,000: larger ones gain nothing, smaller ones make more parts."""
    maximum_bytes: int = 8 * 1024 * 1024
    """Bytes of one insert. 8 MiB: what 10,000 rows of 800 bytes take."""
    window_bytes: int = 16 * 1024 * 1024
    """Bytes that may wait here; the rest stays at the broker. Two inserts: one under way, one
    being gathered."""
