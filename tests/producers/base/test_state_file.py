"""The state survives torn writes: one of its two slots is always whole."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.base.errors import SpoolError
from producers.base.state_file import SLOT_BYTES, ProducerState, StateFile, UnspooledRange


def state(number: int) -> ProducerState:
    return ProducerState(boot=f"b{number}", alive_us=number, kinds=["file"], floor_segment=number)


def test_the_newest_state_is_read(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state")
    assert file.read() is None
    for number in range(7):
        file.write(state(number), sync=number == 6)
    file.close()
    again = StateFile(tmp_path / "state")
    assert again.read() == state(6)
    again.write(state(7))
    assert again.read() == state(7)
    again.close()
    assert (tmp_path / "state").stat().st_size == 2 * SLOT_BYTES
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


@settings(deadline=None)
@given(st.integers(2, 9), st.integers(0, SLOT_BYTES - 1), st.binary(min_size=1, max_size=300))
def test_a_torn_write_leaves_the_state_before_it(last: int, start: int, noise: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "state"
        file = StateFile(path)
        for number in range(1, last + 1):
            file.write(state(number))
        file.close()
        slot = last % 2
        with path.open("r+b") as raw:
            raw.seek(slot * SLOT_BYTES + start)
            raw.write(noise[: SLOT_BYTES - start])
        again = StateFile(path)
        assert again.read() in (state(last), state(last - 1))
        again.write(state(100))
        assert again.read() == state(100)
        again.close()


@given(st.binary(max_size=3 * SLOT_BYTES))
@settings(deadline=None)
def test_garbage_is_no_state(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "state"
        path.write_bytes(content)
        file = StateFile(path)
        assert file.read() is None
        file.write(state(1))
        assert file.read() == state(1)
        file.close()


def test_a_full_disk_does_not_matter_once_the_file_is_there(
    tmp_path: Path, small_disk: Path
) -> None:
    file = StateFile(small_disk / "state")
    with pytest.raises(OSError, match="No space"), (small_disk / "filler").open("wb") as filler:
        while True:
            filler.write(b"x" * 65536)
            filler.flush()
    assert os.statvfs(small_disk).f_bavail == 0
    file.write(state(1), sync=True)
    file.write(state(2), sync=True)
    assert file.read() == state(2)
    file.close()
    with pytest.raises(SpoolError, match="free some space"):
        StateFile(small_disk / "another")


def test_more_ranges_than_fit_are_cut_not_failed(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state")
    many = state(1)
    many.unspooled = [UnspooledRange("file", "b" * 28, number, number) for number in range(1000)]
    file.write(many)
    found = file.read()
    assert found is not None
    assert found.unspooled == many.unspooled[:16]
    file.close()
