"""Recordings survive whatever cuts them off, and say so when they are damaged."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenwatch.recording.format import (
    Description,
    RecordedMessage,
    RecordingError,
    recorded,
)
from tenwatch.recording.reader import Recording
from tenwatch.recording.writer import RecordingWriter

RAW = Description(stream="RAW", transform="part.0", started="2026-11-20T00:00:00.000000Z")


def message(seq: int, data: bytes = b'{"a":1}\n') -> RecordedMessage:
    return recorded(seq, seq * 1000, "part.0.process.n", {"Tenwatch-Count": "2"}, data)


def write(folder: Path, *frames: list[int], rotate: int = 1 << 30) -> None:
    with RecordingWriter(folder, RAW, rotate) as writer:
        for frame in frames:
            writer.write([message(seq) for seq in frame])


def sequences(folder: Path, after: int = 0) -> list[int]:
    return [each.seq for frame in Recording(folder).read(after) for each in frame]


def test_what_was_written_is_read_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    write(folder, [1, 2], [5, 9])
    found = Recording(folder)
    assert (found.messages, found.events, found.last_seq, found.torn_bytes) == (4, 8, 9, 0)
    assert sequences(folder) == [1, 2, 5, 9]
    assert sequences(folder, after=2) == [5, 9]
    assert sequences(folder, after=5) == [9]
    (first, *_) = next(found.read())
    assert first == message(1)


@given(data=st.binary(max_size=200), headers=st.dictionaries(st.text(max_size=5), st.text()))
def test_any_payload_and_header_comes_back(data: bytes, headers: dict[str, str]) -> None:
    assert recorded(1, 2, "s", headers, data).data == data


def test_any_payload_survives_the_file(tmp_path: Path) -> None:
    payloads = [b"", b"\xff\x00", "ü\u2028\n".encode(), b'{"a":"\\u0000"}\n']
    with RecordingWriter(tmp_path / "r", RAW, 1 << 30) as writer:
        writer.write([message(number, data) for number, data in enumerate(payloads, 1)])
    assert [each.data for frame in Recording(tmp_path / "r").read() for each in frame] == payloads


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(min_value=0), cut_index=st.integers(min_value=0))
def test_cut_anywhere_it_reads_whole_frames_and_goes_on_behind_them(
    tmp_path_factory: pytest.TempPathFactory, cut: int, cut_index: int
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "r"
    write(folder, [1, 2], [3], [4, 5, 6])
    data, index = folder / "000001.ndjson.zst", folder / "000001.index"
    for path, amount in ((data, cut), (index, cut_index)):
        content = path.read_bytes()
        path.write_bytes(content[: amount % (len(content) + 1)])
    kept = sequences(folder)
    assert kept in ([], [1, 2], [1, 2, 3], [1, 2, 3, 4, 5, 6])
    following = [7, 8]
    write(folder, following)
    assert sequences(folder) == kept + following
    assert Recording(folder).torn_bytes == 0


def test_a_frame_that_was_not_noted_in_the_index_counts(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    write(folder, [1], [2])
    (folder / "000001.index").unlink()
    assert sequences(folder) == [1, 2]
    write(folder, [3])
    assert sequences(folder) == [1, 2, 3]


def test_files_are_rotated_and_read_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    write(folder, *([seq] for seq in range(1, 8)), rotate=300)
    assert len(list(folder.glob("*.zst"))) > 1
    assert all(path.stat().st_size <= 300 for path in folder.glob("*.zst"))
    write(folder, [8], rotate=300)
    assert sequences(folder) == list(range(1, 9))


def test_garbage_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    write(folder, [1, 2], [3])
    path = folder / "000001.ndjson.zst"
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="is damaged at byte"):
        sequences(folder)


def test_a_frame_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    import zstandard

    folder = tmp_path / "r"
    write(folder, [1])
    bomb = zstandard.ZstdCompressor(level=19).compress(b"\n" * (65 << 20))
    path = folder / "000001.ndjson.zst"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + bomb)
    assert sequences(folder) == [1]
    assert Recording(folder).torn_bytes == path.stat().st_size - size


def test_two_recorders_and_other_folders_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with (
        RecordingWriter(folder, RAW, 1000),
        pytest.raises(RecordingError, match="somebody else records"),
    ):
        RecordingWriter(folder, RAW, 1000)
    other = Description(stream="EVENTS", started="")
    with pytest.raises(RecordingError, match="is a recording of RAW"):
        RecordingWriter(folder, other, 1000)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(RecordingError, match="no recording"):
        RecordingWriter(tmp_path / "full", RAW, 1000)
    with pytest.raises(RecordingError, match="is not a recording"):
        Recording(tmp_path / "full")
