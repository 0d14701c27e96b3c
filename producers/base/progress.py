"""The progress record: what a producer says of each of its kinds every second.

It is stored behind every event that it covers and sent once these are acknowledged, so whoever
reads it has them: the watermark is a fact, not an estimate.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from producers.base.accounts import Account
from stream.contract.kinds.progress import DEFINITION, ProgressEvent
from stream.contract.timestamps import now_timestamp

PROGRESS: Final = DEFINITION.name


def tick_offset() -> float:
    """When in each interval a producer reports, as a part of it.

    Windows end on full seconds, so a report shortly after them closes a window almost a second
    sooner than one shortly before. Spread, so that the producers of a cluster don't speak at once.
    """
    return random.uniform(0.1, 0.35)  # noqa: S311 - spreads load, hides nothing


def until_tick(interval: float, offset: float) -> float:
    """Seconds until the next report, by the wall clock; at least a quarter of the interval."""
    left = interval - (time.time() - offset * interval) % interval
    return left if left >= interval / 4 else left + interval


def progress_events(
    accounts: Mapping[str, Account],
    *,
    interval_seconds: float,
    spooled_bytes: int,
    oldest_age_ms: int,
    degraded: Sequence[str],
    closing: bool,
) -> Iterator[ProgressEvent]:
    """One record per kind, of this moment."""
    ts = now_timestamp()
    for kind, account in accounts.items():
        if kind == PROGRESS:
            continue
        yield ProgressEvent(
            ts=ts,
            producer=kind,
            watermark=account.watermark_text,
            next_seq=account.emitted,
            seen=account.seen,
            filtered=account.filtered,
            emitted=account.emitted,
            lost=account.lost,
            dropped=account.dropped,
            spooled_bytes=spooled_bytes,
            oldest_age_ms=oldest_age_ms,
            interval_ms=round(interval_seconds * 1000),
            degraded=list(degraded),
            closing=closing,
        )
