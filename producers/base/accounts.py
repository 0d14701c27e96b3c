"""What a producer counts of each kind: at every hop, so that nothing goes missing unseen."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from producers.base.event_queue import Loss
from producers.base.spool_types import LostRange
from stream.contract.kinds.loss import LossEvent
from stream.contract.timestamps import format_timestamp

MAXIMUM_REASONS: Final = 32
"""Reasons of loss per kind that get a label of their own in the metrics."""


@dataclass(slots=True)
class Account:
    """Totals of one kind in this boot. ``seen = filtered + emitted + lost``."""

    filtered: int = 0
    emitted: int = 0
    """Events that got a seq."""
    lost: int = 0
    """Counted before they got a seq."""
    dropped: int = 0
    """Of those with a seq (of any boot): taken out of the spool by its policy."""
    watermark: int = 0
    """Microseconds since the epoch; 0 while the observer has promised nothing."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Lost and dropped events by reason."""

    @property
    def seen(self) -> int:
        """Everything that the observer met."""
        return self.filtered + self.emitted + self.lost

    @property
    def watermark_text(self) -> str:
        """The watermark as it goes over the wire."""
        return format_timestamp(self.watermark)

    def blame(self, reason: str, count: int) -> None:
        """Count under a reason; beyond a number of reasons, all under ``other``."""
        known = reason in self.reasons or len(self.reasons) < MAXIMUM_REASONS
        self.reasons[reason if known else "other"] += count


class LossLedger:
    """Losses that are known and not yet written as events. Merges, so it stays small.

    Once per interval they become :class:`LossEvent`: a flood of losses is not a flood of events.
    """

    def __init__(self) -> None:
        self._reports: dict[tuple[str, str, str, bool], Loss] = {}
        self._ranges: dict[tuple[str, str, str], list[LostRange]] = {}
        self._details: dict[str, str] = {}

    def report(self, loss: Loss) -> None:
        """Add a loss without seqs."""
        found = self._reports.get(loss.key)
        if found is None:
            self._reports[loss.key] = loss
        else:
            found.merge(loss)

    def seqs(self, reason: str, lost: LostRange, detail: str = "") -> None:
        """Add a range of seqs that will never arrive."""
        ranges = self._ranges.setdefault((lost.meta.boot, lost.meta.kind, reason), [])
        if detail:
            self._details[reason] = detail
        if ranges and ranges[-1].last_seq + 1 == lost.first_seq:
            ranges[-1].last_seq = lost.last_seq
            ranges[-1].last_ts = lost.last_ts or ranges[-1].last_ts
        else:
            ranges.append(lost)

    def __bool__(self) -> bool:
        return bool(self._reports or self._ranges)

    def take(self, ts: str) -> list[LossEvent]:
        """All of them as events, reported at ``ts``; the ledger is empty afterwards."""
        events = [
            LossEvent(
                ts=ts,
                stage=each.stage,
                kind=each.kind,
                reason=each.reason,
                count=each.count,
                first_ts=each.first_ts,
                last_ts=each.last_ts,
                detail=each.detail,
            )
            for each in self._reports.values()
        ]
        for (boot, kind, reason), ranges in self._ranges.items():
            events += [
                LossEvent(
                    ts=ts,
                    stage="spool",
                    kind=kind,
                    reason=reason,
                    count=each.count,
                    lost_boot=boot,
                    first_seq=each.first_seq,
                    last_seq=each.last_seq,
                    first_ts=each.first_ts or None,
                    last_ts=each.last_ts or None,
                    detail=self._details.get(reason, ""),
                )
                for each in ranges
            ]
        self._reports, self._ranges, self._details = {}, {}, {}
        return events
