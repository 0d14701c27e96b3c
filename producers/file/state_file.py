"""Opening the saved state, and what its last use tells of the time since."""

import contextlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

from producers.file.errors import StateError
from producers.file.state import State

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class History:
    """What the saved state tells of the last life of this producer."""

    damage: str = ""
    """Why an earlier state was set aside; empty when it was not."""
    doubtful_ends: list[bytes] = field(default_factory=list)
    """Paths whose end was reported so shortly before a crash that it may not have left."""


def open_state(path: Path, now_us: int, repeat_window_us: int) -> tuple[State, History]:
    """Open or make the state; a damaged one is set aside, which is a loss.

    Whatever was reported within ``repeat_window_us`` before the producer was killed is doubted,
    so that the first scan reports it again. Raises
    :class:`~producers.file.errors.StateError` when nothing can be written there.
    """
    history = History()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        state = State(path)
    except StateError as error:
        if not path.exists():
            raise
        _log.error("the state of files is set aside: %s", error)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).unlink()
        path.replace(path.with_name(path.name + ".damaged"))
        state = State(path)
        history.damage = str(error)
        return state, history
    alive_us = state.meta("alive_us")
    if alive_us is not None and not state.meta("is_clean"):
        history.doubtful_ends = state.doubt_since(alive_us - repeat_window_us)
    state.set_meta("is_clean", 0)
    state.set_meta("alive_us", now_us)
    state.commit()
    return state, history
