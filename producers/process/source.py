"""What the observer drives: one way to learn of processes."""

from typing import Protocol


class ProcessSource(Protocol):
    """One way to learn of processes. Built ready to observe; one thread uses it from then on."""

    def poll(self, seconds: float) -> None:
        """Wait up to that time for something to happen and hand over what did."""

    def finish(self) -> None:
        """Stop observing, hand over what is held, and let go of everything."""

    def degraded(self) -> list[str]:
        """What it does not see, why, and how to get the rest; a sentence each."""

    def metrics(self) -> dict[str, float]:
        """Numbers of its own, by Prometheus name without the prefix."""
