"""Kind ``snapshot``: what was in a file. A subject and a read permission of its own."""

from typing import Literal

from stream.contract.event import Event, KindDefinition


class SnapshotEvent(Event, kw_only=True, omit_defaults=True):
    """The content of one file after a settled change; unchanged content is not sent twice."""

    path: str
    hash: str
    """``blake2b:<hex of 16 bytes>``."""
    size: int
    """Bytes of the content, before encoding."""
    encoding: Literal["utf-8", "base64"]
    content: str


DEFINITION = KindDefinition("snapshot", 1, SnapshotEvent, "what was in a file after a change")
