"""Kind ``loss``: what was lost, how much of it, and why."""

from stream.contract.event import Event, KindDefinition


class LossEvent(Event, kw_only=True, omit_defaults=True):
    """One interval of loss. It is published like any event, so that SQL sees gaps."""

    stage: str
    """Where: ``kernel``, ``observer``, ``spool``, ``worker``, ``sink``."""
    kind: str
    """The kind of the lost events."""
    reason: str
    """A short fixed word: ``ring_full``, ``queue_overflow``, ``producer_down``, ``spool_full``…"""
    count: int | None = None
    """Null when it cannot be known."""
    lost_boot: str = ""
    """The boot that the lost seqs belong to, where it is not this event's own."""
    first_seq: int | None = None
    last_seq: int | None = None
    first_ts: str | None = None
    last_ts: str | None = None
    detail: str = ""


DEFINITION = KindDefinition("loss", 1, LossEvent, "what was lost and why")
