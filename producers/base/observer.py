"""The seam between what observes and what publishes."""

from typing import Protocol

from stream.contract.event import Event


class EventSink(Protocol):
    """Where an observer puts what it saw. Every method may be called from any thread.

    The sink assigns node, boot and seq. It is bounded; its policy (block, drop oldest, drop
    newest) is a setting, and what it drops it counts and publishes as a loss.
    """

    def emit(self, kind: str, event: Event) -> None:
        """Hand over one event. Counts as seen and emitted. The event may not be changed after."""

    def emit_many(self, kind: str, events: list[Event]) -> None:
        """The same for several events of one kind, in order; cheaper than one by one."""

    def filtered(self, kind: str, count: int = 1) -> None:
        """Count events that were seen and left out on purpose."""

    def lost(
        self,
        kind: str,
        reason: str,
        count: int | None,
        *,
        stage: str = "kernel",
        first_ts: str | None = None,
        last_ts: str | None = None,
        detail: str = "",
    ) -> None:
        """Report events that were lost before they had a seq; they count as seen and lost.

        ``count`` is None when the number can't be known.
        """

    def watermark(self, kind: str, microseconds: int) -> None:
        """Promise that no later event of this kind will carry an earlier time than this."""


class Observer(Protocol):
    """One source of events on a node. It runs its own threads and blocks nobody.

    It may have one more attribute, read once :meth:`start` has returned: ``bridged``, True if it
    also hands over what happened while no producer ran (from a pinned ring buffer, or by comparing
    with a saved state). Without it the time between two lives is published as a loss. And
    ``failure``, a sentence once it has failed for good: then the producer ends, for whoever
    supervises it to start anew.
    """

    kinds: tuple[str, ...]
    """The kinds of events that it emits."""

    def start(self, sink: EventSink) -> None:
        """Begin to observe; returns once it observes or raises an exception of its package."""

    def stop(self) -> None:
        """Stop observing, hand over what is still held (in the kernel, too), then return."""

    def ready(self) -> str | None:
        """None when it observes; else why not, in a sentence."""

    def degraded(self) -> list[str]:
        """What does not work fully: what, why, and how to get the rest; a sentence each."""

    def metrics(self) -> dict[str, float]:
        """Further numbers of its own, by Prometheus name without the prefix."""
