"""What lies in the files of a recording."""

import base64
from typing import Final, Literal

import msgspec
from msgspec import Struct

from tenwatch.errors import TenwatchError

VERSION: Final = 1
DESCRIPTION: Final = "recording.json"
DATA_SUFFIX: Final = ".ndjson.zst"
INDEX_SUFFIX: Final = ".index"
MAXIMUM_FRAME_BYTES: Final = 64 * 1024 * 1024
"""Of one frame before compression; a larger one is refused, since a file may come from anywhere."""


class RecordingError(TenwatchError):
    """A recording can't be written, or isn't one."""


class Description(Struct, frozen=True, kw_only=True):
    """What a recording is of."""

    version: int = VERSION
    stream: str
    transform: str = ""
    """Destination of RAW's subject transform, which holds the number of partitions."""
    filters: list[str] = []
    """Subjects that were chosen; all if empty."""
    started: str
    """When it was begun, UTC."""


class RecordedMessage(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One message of the stream: a line of the file."""

    seq: int
    """Its sequence in the stream."""
    time_ns: int
    """When the stream stored it."""
    subject: str
    headers: dict[str, str] = {}
    encoding: Literal["utf-8", "base64"] = "utf-8"
    payload: str

    @property
    def data(self) -> bytes:
        """The payload as it was."""
        if self.encoding == "base64":
            return base64.b64decode(self.payload)
        return self.payload.encode("utf-8")


class IndexEntry(Struct, frozen=True, kw_only=True):
    """One frame: a line of the index."""

    offset: int
    size: int
    """Bytes of the frame in the file."""
    messages: int
    events: int
    """As the messages' headers count them."""
    first_seq: int
    last_seq: int
    first_time_ns: int
    last_time_ns: int


encode_message = msgspec.json.Encoder().encode
encode_entry = msgspec.json.Encoder().encode
decode_messages = msgspec.json.Decoder(RecordedMessage).decode_lines
decode_entry = msgspec.json.Decoder(IndexEntry).decode


def recorded(
    seq: int, time_ns: int, subject: str, headers: dict[str, str] | None, data: bytes
) -> RecordedMessage:
    """A message in the form of the file."""
    try:
        return RecordedMessage(
            seq=seq, time_ns=time_ns, subject=subject, headers=headers or {},
            payload=data.decode("utf-8"),
        )  # fmt: skip
    except UnicodeDecodeError:
        return RecordedMessage(
            seq=seq, time_ns=time_ns, subject=subject, headers=headers or {},
            encoding="base64", payload=base64.b64encode(data).decode("ascii"),
        )  # fmt: skip
