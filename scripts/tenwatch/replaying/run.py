"""A run: its name, its subjects, its streams."""

import re
import secrets
from dataclasses import dataclass
from typing import Any

from stream.broker.jetstream import JetStream
from tenwatch.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,31}")
PREFIX = "replay"
MAXIMUM_BYTES = 8 * 1024**3
"""Of what one run feeds; one that needs more fails and says so, live data is never touched."""


@dataclass(frozen=True, slots=True)
class Run:
    """One replay. All that belongs to it carries its name."""

    name: str

    @classmethod
    def named(cls, name: str | None) -> "Run":
        """A run of this name, or of a new one; raises :class:`UsageError` for a bad name."""
        name = name or f"run-{secrets.token_hex(4)}"
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} can't name a run; use up to 32 letters, digits and hyphens")
        return cls(name)

    @property
    def prefix(self) -> str:
        """In front of every subject of the run."""
        return f"{PREFIX}.{self.name}"

    @property
    def raw_stream(self) -> str:
        return f"REPLAY_{self.name}_RAW"

    @property
    def events_stream(self) -> str:
        return f"REPLAY_{self.name}_EVENTS"

    @property
    def buckets_stream(self) -> str:
        return f"REPLAY_{self.name}_BUCKETS"

    def raw_subject(self, stored_subject: str) -> str:
        """Where a message of RAW (``part.<p>.<kind>.<node>``) is published again."""
        kind, node = stored_subject.split(".")[2:]
        return f"{self.prefix}.raw.{kind}.{node}"


async def create_streams(jetstream: JetStream, run: Run, transform: str) -> None:
    """Make the streams of a run, with the partitions of RAW's own ``transform``, so that the log
    order is the same."""
    await jetstream.ensure_stream(
        _stream(run.raw_stream, [f"{run.prefix}.raw.*.*"])
        | {
            "subject_transform": {
                "src": f"{run.prefix}.raw.*.*",
                "dest": transform,
            },
            "description": f"what replay {run.name} feeds",
        }
    )


def _stream(name: str, subjects: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": subjects,
        "storage": "file",
        "discard": "new",
        "max_bytes": MAXIMUM_BYTES,
        "allow_direct": True,
    }


async def delete_streams(jetstream: JetStream, run: Run) -> list[str]:
    """Delete every stream that carries the run's name; gives their names."""
    found = [
        name
        for name in await jetstream.stream_names()
        if name.startswith(f"REPLAY_{run.name}_") or f"_replay-{run.name}_" in name
    ]
    for name in found:
        await jetstream.delete_stream(name)
    return found
