"""The spool against torn, damaged and random bytes, full disks and its own limits."""

import itertools
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.base.errors import SpoolBusyError, SpoolError, SpoolFullError, SpoolWriteError
from producers.base.settings import SpoolSettings
from producers.base.spool import RESERVE_BYTES, Spool
from producers.base.spool_record import (
    MAGIC,
    Damage,
    Meta,
    Record,
    decode_record,
    encode_record,
    scan,
)
from producers.base.spool_types import Position, Ranges, Stored

START = Position(0, 0)
SMALL = SpoolSettings(max_bytes=1024 * 1024, segment_bytes=16 * 1024)


def batch(first_seq: int, count: int = 1, kind: str = "file", boot: str = "b1") -> Meta:
    return Meta(kind, 1, "node-a", boot, first_seq, count, "t1", "t2")


def payload_of(meta: Meta, size: int = 300) -> bytes:
    return random.Random(meta.first_seq).randbytes(size)


@contextmanager
def opened(folder: Path, floor: Position = START, config: SpoolSettings = SMALL) -> Iterator[Spool]:
    spool = Spool(folder, config)
    spool.open(floor)
    yield spool
    spool.close()


def read_all(spool: Spool, cursor: Position, step: int = 4096) -> tuple[list[Stored], int]:
    found: list[Stored] = []
    damaged = 0
    while True:
        more, cursor, lost = spool.read(cursor, step)
        damaged += lost
        if not more:
            return found, damaged
        found += more


def test_what_is_appended_is_read_in_order_over_many_segments(tmp_path: Path) -> None:
    metas = [batch(number * 3, 3, kind) for number in range(300) for kind in ("file", "process")]
    with opened(tmp_path / "s") as spool:
        start = spool.floor
        for meta in metas:
            spool.append(meta, payload_of(meta))
        assert len(list((tmp_path / "s").glob("*.spool"))) > 10
        found, damaged = read_all(spool, start)
        assert [each.meta for each in found] == metas
        assert all(each.payload == payload_of(each.meta) for each in found)
        assert damaged == 0
        for one, other in itertools.pairwise(found):
            assert one.position < one.end <= other.position or one.end.segment < other.end.segment
    with opened(tmp_path / "s") as spool:
        again, _ = read_all(spool, spool.floor)
        assert [each.meta for each in again] == metas


def test_what_is_acknowledged_is_removed_and_not_read_again(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as spool:
        stored = [spool.append(batch(number), b"x" * 1000) for number in range(100)]
        before = spool.bytes_on_disk
        spool.acknowledge(stored[49].end)
        assert spool.bytes_on_disk < before * 0.65
        assert spool.unacknowledged_bytes < before * 0.55
        floor = spool.floor
    with opened(tmp_path / "s", floor) as spool:
        found, _ = read_all(spool, spool.floor)
        assert [each.meta.first_seq for each in found] == list(range(50, 100))
        spool.acknowledge(found[-1].end)
    assert list((tmp_path / "s").glob("*.spool")) == []


def test_positions_never_come_twice(tmp_path: Path) -> None:
    """A floor that was saved earlier must not cover batches of a later life."""
    seen: set[Position] = set()
    floor = START
    for _ in range(4):
        with opened(tmp_path / "s", floor) as spool:
            stored = [spool.append(batch(number), b"x") for number in range(5)]
            assert not seen & {each.position for each in stored}
            assert all(each.position >= floor for each in stored)
            seen |= {each.position for each in stored}
            spool.acknowledge(stored[-1].end)
            floor = spool.floor


def test_the_limit_is_kept_and_a_reserve_is_left_for_losses(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as spool:
        with pytest.raises(SpoolFullError, match="bytes are taken"):
            for number in range(10_000):
                spool.append(batch(number), b"x" * 5000)
        assert SMALL.max_bytes - 6000 < spool.bytes_on_disk <= SMALL.max_bytes
        spool.append(batch(0, kind="loss"), b"x" * 8000, reserve=True)
        with pytest.raises(SpoolFullError):
            for number in range(10_000):
                spool.append(batch(number, kind="loss"), b"x" * 5000, reserve=True)
        assert spool.bytes_on_disk <= SMALL.max_bytes + RESERVE_BYTES


def test_the_oldest_that_nobody_reads_is_what_goes(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as spool:
        stored = [spool.append(batch(number), b"x" * 1000) for number in range(100)]
        first, last = stored[0].position.segment, stored[-1].position.segment
        assert spool.victim(Position(last, 0)) is None
        assert spool.victim(Position(last - 1, 0)) is None
        _, cursor, _ = spool.read(stored[0].position, 10_000)
        gone = spool.victim(START)
        assert gone == cursor.segment + 1 > first
        before, _ = read_all(spool, stored[0].position)
        assert gone not in {each.position.segment for each in before}, "read after it was given up"
        ranges = Ranges()
        for record in spool.contents(gone):
            ranges.add(record.meta)
        [lost] = ranges.all()
        spool.drop(gone)
        left, damaged = read_all(spool, stored[0].position)
        assert damaged == 0
        assert {each.meta.first_seq for each in left} | set(
            range(lost.first_seq, lost.last_seq + 1)
        ) == set(range(100))
        assert lost.count == 100 - len(left)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=8),
    st.integers(0, 60),
    st.integers(0, 30),
)
def test_what_a_run_of_seqs_misses(found: list[tuple[int, int]], first: int, length: int) -> None:
    ranges = Ranges()
    for start, count in found:
        ranges.add(batch(start, count))
    there = {seq for start, count in found for seq in range(start, start + count)}
    parts = ranges.missing("b1", "file", first, first + length)
    missing = [seq for start, end in parts for seq in range(start, end + 1)]
    assert missing == sorted(set(range(first, first + length + 1)) - there)
    assert ranges.missing("b2", "file", first, first + length) == [(first, first + length)]


def test_a_full_disk_is_an_error_that_leaves_no_trace(tmp_path: Path, small_disk: Path) -> None:
    config = SpoolSettings(max_bytes=64 * 1024 * 1024, segment_bytes=512 * 1024)
    with opened(small_disk / "s", config=config) as spool:
        written = 0
        with pytest.raises(SpoolWriteError, match="No space left"):
            for number in range(1000):
                spool.append(batch(number), b"x" * 100_000)
                written += 1
        assert written > 20
        found, damaged = read_all(spool, spool.floor, 1024 * 1024)
        assert [each.meta.first_seq for each in found] == list(range(written))
        assert damaged == 0
        spool.acknowledge(found[-1].position)
        spool.append(batch(written), b"y" * 100_000)
    with opened(small_disk / "s", config=config) as spool:
        again, damaged = read_all(spool, spool.floor, 1024 * 1024)
        assert again[-1].payload == b"y" * 100_000
        assert damaged == 0
        spool.acknowledge(spool.end)


def test_two_processes_can_not_share_a_spool(tmp_path: Path) -> None:
    with (
        opened(tmp_path / "s"),
        pytest.raises(SpoolBusyError, match="in use by another process"),
    ):
        Spool(tmp_path / "s", SMALL)
    Spool(tmp_path / "s", SMALL).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"name another spool\.folder"):
        Spool(tmp_path / "file" / "s", SMALL)


def fill(folder: Path, count: int = 40, size: int = 1000) -> list[Meta]:
    metas = [batch(number * 2, 2) for number in range(count)]
    with opened(folder) as spool:
        for meta in metas:
            spool.append(meta, payload_of(meta, size))
    return metas


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_cut_anywhere_everything_before_the_tear_is_there(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        metas = fill(folder, 12)
        last = segments(folder)[-1]
        size = last.stat().st_size
        cut = data.draw(st.integers(0, size), "cut")
        garbage = data.draw(st.binary(max_size=64), "garbage")
        whole = [
            item.meta
            for item in scan(last.read_bytes())
            if isinstance(item, Record) and item.end <= cut
        ]
        os.truncate(last, cut)
        with last.open("ab") as file:
            file.write(garbage)
        spool = Spool(folder, SMALL)
        recovery = spool.open(START)
        found, damaged = read_all(spool, spool.floor)
        assert [each.meta for each in found][: len(whole)] == whole
        assert len(found) == len(whole) == recovery.batches
        assert damaged == 0, "known damage is told once, at the start"
        assert recovery.damaged_bytes == 0
        assert recovery.torn_bytes <= size + 64
        spool.append(batch(1000), b"x")
        assert read_all(spool, spool.floor)[0][-1].meta.first_seq == 1000
        spool.close()
        assert metas[: len(whole)] == whole


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_costs_what_it_hit_and_names_it(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        metas = fill(folder, 60)
        files = segments(folder)
        victim = data.draw(st.sampled_from(files[:-1]), "segment")
        content = bytearray(victim.read_bytes())
        start = data.draw(st.integers(0, len(content) - 1), "start")
        noise = data.draw(st.binary(min_size=1, max_size=3000), "noise")
        hit = {
            item.meta.first_seq
            for item in scan(bytes(content))
            if isinstance(item, Record) and item.start < start + len(noise) and item.end > start
        }
        content[start : start + len(noise)] = noise[: len(content) - start]
        victim.write_bytes(content)
        spool = Spool(folder, SMALL)
        recovery = spool.open(START)
        found = {each.meta.first_seq for each in read_all(spool, spool.floor)[0]}
        assert {meta.first_seq for meta in metas} - found <= hit
        named = {seq for gap in recovery.gaps for seq in range(gap.first_seq, gap.last_seq + 1)}
        missing = {seq for meta in metas if meta.first_seq not in found for seq in
                   (meta.first_seq, meta.last_seq)}  # fmt: skip
        # The very first batches have nothing before them that could tell that they are gone.
        assert named <= missing
        assert missing - named <= {seq for seq in missing if seq < min(found, default=0)}
        assert recovery.damaged_bytes or not missing
        assert recovery.unexplained_bytes or missing == named
        spool.close()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=400) | st.just(MAGIC) | st.just(MAGIC * 20), max_size=6))
def test_random_bytes_are_only_damage(contents: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, content in enumerate(contents):
            (folder / f"{number + 1:010d}.spool").write_bytes(content)
        (folder / "notes.spool").write_text("not a segment")
        spool = Spool(folder, SMALL)
        recovery = spool.open(START)
        assert recovery.batches == 0
        assert recovery.damaged_bytes + recovery.torn_bytes == sum(map(len, contents))
        meta = batch(0)
        spool.append(meta, b"x")
        assert [each.meta for each in read_all(spool, spool.floor)[0]] == [meta]
        spool.close()


@given(
    st.builds(
        Meta,
        kind=st.text(max_size=20),
        version=st.integers(0, 99),
        node=st.text(st.characters(codec="utf-8"), max_size=50),
        boot=st.text(st.characters(codec="utf-8"), max_size=30),
        first_seq=st.integers(0, 2**62),
        count=st.integers(1, 512),
    ),
    st.binary(max_size=2000),
    st.binary(max_size=50),
)
def test_a_record_is_read_as_it_was_written(meta: Meta, payload: bytes, before: bytes) -> None:
    data = before + encode_record(meta, payload) + b"tail"
    record = decode_record(data, len(before))
    assert record is not None
    assert (record.meta, record.payload) == (meta, payload)
    assert record.end == len(data) - 4


@given(st.binary(max_size=2000), st.integers(0, 2000))
def test_a_flipped_bit_is_noticed(payload: bytes, place: int) -> None:
    data = bytearray(encode_record(batch(1), payload))
    data[place % len(data)] ^= 1 << place % 8
    assert decode_record(bytes(data), 0) is None
    assert all(isinstance(item, Damage) for item in scan(bytes(data)))


def test_a_segment_that_shrinks_while_it_is_read_is_damage(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as spool:
        start = spool.floor
        for number in range(60):
            spool.append(batch(number), b"x" * 1000)
        first = segments(tmp_path / "s")[0]
        inside = sum(isinstance(each, Record) for each in scan(first.read_bytes()))
        os.truncate(first, 2500)
        found, damaged = read_all(spool, start)
        assert [each.meta.first_seq for each in found] == [0, 1, *range(inside, 60)]
        assert damaged > 10_000
        assert spool.damaged_bytes == damaged


@pytest.mark.parametrize("policy", ["never", "interval", "always"])
def test_every_fsync_policy_keeps_the_same_batches(
    tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda handle: (synced.append(handle), real(handle))[1])
    config = SpoolSettings(max_bytes=1024 * 1024, segment_bytes=16 * 1024, fsync=policy)
    with opened(tmp_path / "s", config=config) as spool:
        for number in range(5):
            spool.append(batch(number), b"x")
        assert len(synced) == (5 if policy == "always" else 0)
        spool.sync()
        assert len(synced) == {"never": 0, "interval": 1, "always": 5}[policy]
        spool.sync()
        assert len(synced) == {"never": 0, "interval": 1, "always": 5}[policy]
        assert len(read_all(spool, spool.floor)[0]) == 5
