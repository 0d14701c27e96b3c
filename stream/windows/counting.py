"""Events of one second into the cells of one window: the innermost loop of a worker."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from stream.contract.owner import Owner
from stream.contract.timestamps import MICROSECONDS
from stream.windows.lane import Lane, LanePlaces
from stream.windows.window import Window


def runs(seconds: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Each second of those that follow each other, and where its run begins and ends."""
    start = 0
    for second, group in groupby(seconds):
        end = start + len(list(group))
        yield second, start, end
        start = end


def count(window: Window, events: Sequence[Any], owners: Sequence[Owner], late: bool) -> None:
    """Count events of a kind that has neither variants nor a memory; the lists are parallel."""
    known = window.by_owner.get
    for event, owner in zip(events, owners, strict=True):
        cell = known(owner) or window.cell(owner)
        cell.samples += 1
        cell.add(event)
        if late:
            cell.late += 1


def count_and_remember(
    lane: Lane,
    window: Window,
    events: Sequence[Any],
    owners: Sequence[Owner],
    second: int,
    changed: set[Window],
) -> None:
    """Count events of any kind; ``changed`` takes up the windows that its memory changes.

    What is ahead of the node's clock is counted, but not remembered.
    """
    kind = lane.bucket_kind
    variant_of = None if kind is None else kind.variant
    memory = None if lane.is_ahead(second) else lane.memory
    late = lane.is_late(window)
    moment = second * MICROSECONDS
    for event, owner in zip(events, owners, strict=True):
        variant = variant_of(event) if variant_of is not None else ""
        cell = window.cell(owner, variant)
        cell.samples += 1
        cell.add(event)
        if late:
            cell.late += 1
        if memory is not None:
            places = LanePlaces(lane, changed, window, owner, variant)
            memory.record(event, moment + int(event.ts[20:26]), cell, places)
