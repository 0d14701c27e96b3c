"""For observers whose source keeps events until they are safe: tells what a kill can't take.

Some sources outlive the producer (a pinned ring buffer). Such an observer lets go of an event only
once it is on disk, and after a start asks how far the last life had come, so that nothing is lost
and nothing is handed over twice.
"""

from producers.base.event_queue import EventQueue
from producers.base.spool_record import Meta
from producers.base.spool_types import Recovery


class DurableEventQueue(EventQueue):
    """The queue of a producer that drops nothing before it has a seq (policy ``block``).

    There the n-th event that an observer hands over of a kind is the one with seq n.
    """

    boot = ""
    """This life's name."""

    def prepare(self, boot: str, recovery: Recovery) -> None:
        """Before the observers start: name this life, and what is left of earlier ones."""
        self.boot = boot
        self._durable: dict[str, int] = {}
        self._recovered = dict(recovery.next_seqs)

    def durable(self, kind: str) -> int:
        """How many of this life's events, from the first on, are in the spool or given up."""
        return self._durable.get(kind, 0)

    def recovered(self, kind: str) -> tuple[str, int] | None:
        """The last life that left events of this kind in the spool, and the seq behind them.

        None if there is nothing left; the spool removes what the broker has.
        """
        return self._recovered.get(kind)

    def settled(self, meta: Meta) -> None:
        """A batch is in the spool, or its loss is on the books. Called by the loop."""
        self._durable[meta.kind] = meta.last_seq + 1
