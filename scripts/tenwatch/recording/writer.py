"""Writes a recording: complete frames, on disk before they are noted in the index."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from tenwatch.recording.format import (
    DATA_SUFFIX,
    DESCRIPTION,
    INDEX_SUFFIX,
    Description,
    RecordedMessage,
    RecordingError,
    encode_entry,
    encode_message,
)
from tenwatch.recording.reader import Recording, entry_of

LEVEL: Final = 3


class RecordingWriter:
    """Appends to a recording, a new one or one that exists. Use it with ``with``."""

    def __init__(self, folder: Path, description: Description, rotate_bytes: int) -> None:
        """Raises :class:`RecordingError` if the folder holds something else, or is being used.

        ``rotate_bytes``: a new file is begun when one has become as large as this.
        """
        self._folder = folder
        self._rotate = rotate_bytes
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._number, self._size = 1, 0
        self.written_bytes = 0
        """By this writer, compressed."""
        try:
            self._lock = _lock(folder)
            try:
                self.last_seq = self._open(description)
            except BaseException:
                os.close(self._lock)
                raise
        except OSError as error:
            raise _failed(folder, error) from None

    def __enter__(self) -> "RecordingWriter":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def write(self, messages: Sequence[RecordedMessage]) -> None:
        """Append one frame; when it returns, it is on disk."""
        plain = b"".join(encode_message(message) + b"\n" for message in messages)
        frame = self._compressor.compress(plain)
        try:
            if self._size and self._size + len(frame) > self._rotate:
                self._number, self._size = self._number + 1, 0
            path = self._path(DATA_SUFFIX)
            _append(path, frame)
            entry = entry_of(self._size, len(frame), messages)
            _append(self._path(INDEX_SUFFIX), encode_entry(entry) + b"\n")
        except OSError as error:
            raise _failed(self._folder, error) from None
        self._size += len(frame)
        self.written_bytes += len(frame)
        self.last_seq = messages[-1].seq

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{self._number:06d}{suffix}"

    def _open(self, description: Description) -> int:
        path = self._folder / DESCRIPTION
        if not path.exists():
            others = [each for each in self._folder.iterdir() if each.name != "lock"]
            if others:
                raise RecordingError(
                    f"{self._folder} holds other files and is no recording; name a new folder"
                )
            fresh = path.with_suffix(".new")
            _append(fresh, msgspec.json.encode(description) + b"\n")
            fresh.replace(path)
            return 0
        recording = Recording(self._folder)
        before = recording.description
        if (before.stream, before.filters, before.transform) != (
            description.stream, description.filters, description.transform,
        ):  # fmt: skip
            raise RecordingError(
                f"{self._folder} is a recording of {before.stream} "
                f"({', '.join(before.filters) or 'everything'}); name a new folder for another one"
            )
        self._cut(recording)
        return recording.last_seq

    def _cut(self, recording: Recording) -> None:
        """Cut off what is torn, and note what an earlier recorder didn't come to note."""
        files = sorted(self._folder.glob(f"*{DATA_SUFFIX}"))
        self._number = int(files[-1].name.removesuffix(DATA_SUFFIX)) if files else 1
        for file in files:
            entries = [frame.entry for frame in recording.frames if frame.file == file]
            end = entries[-1].offset + entries[-1].size if entries else 0
            os.truncate(file, end)
            index = file.with_name(file.name.removesuffix(DATA_SUFFIX) + INDEX_SUFFIX)
            fresh = index.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            _append(fresh, b"".join(encode_entry(entry) + b"\n" for entry in entries))
            fresh.replace(index)
            self._size = end


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _lock(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RecordingError(f"somebody else records into {folder}; name another folder") from None
    return descriptor


def _failed(folder: Path, error: OSError) -> RecordingError:
    return RecordingError(
        f"{error.filename or folder} can't be written: {error.strerror}; what was recorded before "
        "is kept, and the same command goes on from there"
    )
