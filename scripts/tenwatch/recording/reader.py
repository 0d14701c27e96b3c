"""Reads a recording, also one that was cut off or is being written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zstandard

from stream.contract.batch import COUNT_HEADER
from tenwatch.recording.format import (
    DATA_SUFFIX,
    DESCRIPTION,
    INDEX_SUFFIX,
    MAXIMUM_FRAME_BYTES,
    VERSION,
    Description,
    IndexEntry,
    RecordedMessage,
    RecordingError,
    decode_entry,
    decode_messages,
)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a frame lies."""

    file: Path
    entry: IndexEntry


def read_description(folder: Path) -> Description:
    """What a recording is of; raises :class:`RecordingError` if it is none."""
    path = folder / DESCRIPTION
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Description)
    except OSError as error:
        raise RecordingError(
            f"{folder} is not a recording: {path.name}: {error.strerror}; make one with "
            "'tenwatch record FOLDER'"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path} can't be read: {error}") from None
    if found.version != VERSION:
        raise RecordingError(
            f"{folder} is a recording of version {found.version}; this program reads {VERSION}"
        )
    return found


def events_of(messages: Sequence[RecordedMessage]) -> int:
    """Events, as the headers count them."""
    counts = (message.headers.get(COUNT_HEADER, "0") for message in messages)
    return sum(int(count) for count in counts if count.isascii() and count.isdecimal())


class Recording:
    """An existing recording."""

    def __init__(self, folder: Path) -> None:
        """Reads description and indexes; raises :class:`RecordingError`."""
        self.folder = folder
        self.description = read_description(folder)
        self.frames: list[Frame] = []
        self.torn_bytes = 0
        """Bytes at the ends of files that belong to no complete frame."""
        try:
            for path in sorted(folder.glob(f"*{DATA_SUFFIX}")):
                self._read_index(path)
        except OSError as error:
            raise RecordingError(f"{error.filename} can't be read: {error.strerror}") from None

    @property
    def messages(self) -> int:
        """Messages in all complete frames."""
        return sum(frame.entry.messages for frame in self.frames)

    @property
    def events(self) -> int:
        """Events in all complete frames."""
        return sum(frame.entry.events for frame in self.frames)

    @property
    def last_seq(self) -> int:
        """Sequence of the last message; 0 when there is none."""
        return self.frames[-1].entry.last_seq if self.frames else 0

    def read(self, after_seq: int = 0) -> Iterator[list[RecordedMessage]]:
        """The messages behind a sequence, a frame at a time, in order."""
        for frame in self.frames:
            if frame.entry.last_seq <= after_seq:
                continue
            messages = read_frame(frame)
            if frame.entry.first_seq <= after_seq:
                messages = [each for each in messages if each.seq > after_seq]
            yield messages

    def _read_index(self, path: Path) -> None:
        size = path.stat().st_size
        end = 0
        index = path.with_name(path.name.removesuffix(DATA_SUFFIX) + INDEX_SUFFIX)
        for line in index.read_bytes().split(b"\n") if index.exists() else ():
            try:
                entry = decode_entry(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                break  # torn
            if entry.offset != end or entry.offset + entry.size > size or entry.size <= 0:
                break
            self.frames.append(Frame(path, entry))
            end = entry.offset + entry.size
        # What a recorder wrote and didn't come to note.
        for entry in _scan(path, end):
            self.frames.append(Frame(path, entry))
            end = entry.offset + entry.size
        self.torn_bytes += size - end


def read_frame(frame: Frame) -> list[RecordedMessage]:
    """Its messages; raises :class:`RecordingError` for one that isn't what it was."""
    with frame.file.open("rb") as file:
        file.seek(frame.entry.offset)
        compressed = file.read(frame.entry.size)
    try:
        return _decode(compressed)
    except (zstandard.ZstdError, msgspec.DecodeError, ValueError) as error:
        raise RecordingError(
            f"{frame.file} is damaged at byte {frame.entry.offset}: {error}; "
            "what lies before it can be read"
        ) from None


def _decode(compressed: bytes) -> list[RecordedMessage]:
    size = zstandard.frame_content_size(compressed)
    if not 0 <= size <= MAXIMUM_FRAME_BYTES:
        raise ValueError(f"a frame of {size} bytes; at most {MAXIMUM_FRAME_BYTES} are read")
    return decode_messages(zstandard.ZstdDecompressor().decompress(compressed))


def _scan(path: Path, start: int) -> Iterator[IndexEntry]:
    """Complete frames from ``start`` on; ends at the first that is torn."""
    with path.open("rb") as file:
        file.seek(start)
        rest = file.read(2 * MAXIMUM_FRAME_BYTES)
    while rest:
        one = zstandard.ZstdDecompressor().decompressobj()
        try:
            if not 0 <= zstandard.frame_content_size(rest) <= MAXIMUM_FRAME_BYTES:
                return
            plain = one.decompress(rest)
            if not one.eof:
                return
            messages = decode_messages(plain)
        except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError):
            return
        size = len(rest) - len(one.unused_data)
        yield entry_of(start, size, messages)
        start += size
        rest = one.unused_data


def entry_of(offset: int, size: int, messages: Sequence[RecordedMessage]) -> IndexEntry:
    """The line of the index for a frame."""
    return IndexEntry(
        offset=offset,
        size=size,
        messages=len(messages),
        events=events_of(messages),
        first_seq=messages[0].seq,
        last_seq=messages[-1].seq,
        first_time_ns=messages[0].time_ns,
        last_time_ns=messages[-1].time_ns,
    )
