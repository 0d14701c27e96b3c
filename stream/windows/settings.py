"""Settings of windows."""

from msgspec import Struct

from stream.contract.timestamps import MICROSECONDS


class WindowSettings(Struct, frozen=True, kw_only=True):
    """How long windows wait. All but ``idle_seconds`` are event time."""

    grace_seconds: float = 2.0
    """Seconds that a window stays open after its producer's progress has passed its end. 2: events
    of one node reach the log within a second of each other; longer only delays final rows."""

    allowed_lateness_seconds: float = 300.0
    """Seconds after its close in which a window can still be corrected, against the watermark of
    its own node and kind. 300: closed windows are kept in the state that long; a node that was cut
    off is not late, since its watermark stood still."""

    maximum_ahead_seconds: float = 60.0
    """Seconds that an event may be ahead of its producer's clock before it counts as wrong and is
    counted in the window of that clock. 60: clocks step by less."""

    boot_silence_seconds: float = 15.0
    """Seconds by which one life of a producer may lag behind another before the watermark no
    longer waits for it. 15: progress comes every second."""

    fallback_seconds: float = 5.0
    """Seconds that kinds without progress records of their own (losses) stay behind the node's
    clock. 5: they are published with the others."""

    idle_seconds: float = 15.0
    """Seconds of wall clock without anything from a node's producer, the log being read to its
    end, after which rows of its open windows are published as final. 15: more than a window."""

    def validate(self) -> None:
        """Raise ``ValueError`` for values that can't work."""
        if self.grace_seconds < 0 or self.fallback_seconds < 0:
            raise ValueError("grace_seconds and fallback_seconds can't be negative")
        if self.allowed_lateness_seconds < 90:
            raise ValueError(
                f"allowed_lateness_seconds is {self.allowed_lateness_seconds}; use at least 90, "
                "since the increase of a counter may reach back 65 s"
            )
        if self.maximum_ahead_seconds < 20:
            raise ValueError(
                f"maximum_ahead_seconds is {self.maximum_ahead_seconds}; use 20 or more"
            )

    @staticmethod
    def microseconds(seconds: float) -> int:
        """Seconds as whole microseconds."""
        return int(seconds * MICROSECONDS)
