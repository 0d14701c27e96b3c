"""Kind ``progress``: what a producer says of itself every second."""

from stream.contract.event import Event, KindDefinition


class ProgressEvent(Event, kw_only=True, omit_defaults=True):
    """State of one kind of events at one producer. Counts are totals of this boot.

    ``seen = filtered + emitted + lost`` holds at the source; ``next_seq = emitted``.
    """

    producer: str
    """The kind it speaks of."""
    watermark: str
    """No later event of this kind and boot will carry an earlier time."""
    next_seq: int
    """Every seq below it has been assigned."""
    seen: int
    filtered: int
    emitted: int
    lost: int
    """Counted at the source, before a seq was assigned."""
    dropped: int = 0
    """Events with a seq that the spool's policy dropped."""
    spooled_bytes: int = 0
    """Written to the spool and not yet acknowledged by the broker."""
    oldest_age_ms: int = 0
    """Age of the oldest batch that the broker has not acknowledged."""
    interval_ms: int = 1000
    """When the next record is due."""
    degraded: list[str] = []  # noqa: RUF012 - msgspec copies an empty list default
    """Plain sentences: what does not work fully, and why."""
    closing: bool = False
    """The last record of this boot: the producer is stopping in order."""


DEFINITION = KindDefinition("progress", 1, ProgressEvent, "progress of each producer")
