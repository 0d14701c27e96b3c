"""What was in files: one snapshot for each settled content, at one time, with its file event."""

import base64
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.file.settle import encode_content
from stream.contract.batch import MAXIMUM_RAW_BYTES, MAXIMUM_SNAPSHOT_BYTES


@pytest.fixture
def method() -> str:
    """Content does not depend on how the kernel is asked."""
    return "fanotify"


def contents(watched, path) -> list[str]:
    return [each.content for each in watched.sink.snapshots if each.path == str(path)]


def test_each_settled_content_is_published_once(start, root) -> None:
    watched = start()
    path = root / "main.c"
    for content in ("one\n", "two\n", "two\n", "three\n"):
        path.write_text(content)
        watched.until_quiet()
    assert contents(watched, path) == ["one\n", "two\n", "three\n"]
    assert len(watched.sink.of(path)) >= 3


def test_a_snapshot_has_the_time_and_hash_of_its_file_event(start, root) -> None:
    watched = start()
    (root / "main.c").write_text("int main;\n")
    watched.until_quiet()
    [event], [snapshot] = watched.sink.of(root / "main.c"), watched.sink.snapshots
    assert (snapshot.ts, snapshot.hash, snapshot.size) == (event.ts, event.hash, event.size)
    assert event.ts.endswith("Z")


def test_an_empty_file_is_not_a_deletion(start, root) -> None:
    watched = start()
    path = root / "main.c"
    path.write_text("")
    watched.until_quiet()
    path.unlink()
    watched.until_quiet()
    created, deleted = watched.sink.of(path)
    assert (created.action, created.size, created.lines) == ("created", 0, 0)
    assert (deleted.action, deleted.size, deleted.hash) == ("deleted", None, "")
    assert [(each.size, each.content) for each in watched.sink.snapshots] == [(0, "")]


def test_names_that_used_to_collide_do_not(start, root) -> None:
    watched = start()
    (root / "a").mkdir()
    (root / "a" / "b.c").write_text("slash")
    (root / "a@b.c").write_text("at")
    watched.until_quiet()
    assert contents(watched, root / "a" / "b.c") == ["slash"]
    assert contents(watched, root / "a@b.c") == ["at"]


def test_two_saves_within_one_second_are_two_snapshots(start, root) -> None:
    watched = start(quiet_ms=20, maximum_delay_ms=100)
    path = root / "main.c"
    path.write_text("first")
    watched.until(lambda: contents(watched, path) == ["first"])
    path.write_text("second")
    watched.until(lambda: contents(watched, path) == ["first", "second"])
    first, second = watched.sink.snapshots
    assert first.ts < second.ts


def test_only_files_that_the_rules_name_are_published(start, root) -> None:
    watched = start(snapshot_include=("*.c",))
    for name in ("main.c", ".env", "id_rsa", "data.bin"):
        (root / name).write_text(name)
    watched.until_quiet()
    assert {each.path for each in watched.sink.files} == {
        str(root / name) for name in ("main.c", "id_rsa", "data.bin")
    }
    assert [each.content for each in watched.sink.snapshots] == ["main.c"]


def test_an_empty_list_publishes_no_content(start, root) -> None:
    watched = start(snapshot_include=())
    (root / "main.c").write_text("content")
    watched.until_quiet()
    assert watched.sink.snapshots == []
    assert watched.sink.of(root / "main.c")[0].hash


def test_no_snapshot_is_without_its_file_event(start, root) -> None:
    watched = start(quiet_ms=10, maximum_delay_ms=50)
    for number in range(200):
        (root / f"{number % 10}.c").write_text(str(number))
    (root / "0.c").rename(root / "moved.c")
    watched.until_quiet()
    told = {(each.path, each.hash, each.ts) for each in watched.sink.files}
    kept = {(each.path, each.hash, each.ts) for each in watched.sink.snapshots}
    assert len(kept) >= 10 and kept <= told


def test_the_limit_is_exact(start, root) -> None:
    watched = start(content_limit_bytes=1000)
    (root / "fits.c").write_text("x" * 1000)
    (root / "not.c").write_text("x" * 1001)
    watched.until_quiet()
    assert [each.size for each in watched.sink.snapshots] == [1000]
    assert watched.sink.of(root / "not.c")[0].truncated
    assert not watched.sink.of(root / "fits.c")[0].truncated


def test_content_that_is_not_text_is_base64(start, root) -> None:
    watched = start()
    data = os.urandom(500) + b"\xff"
    (root / "main.c").write_bytes(data)
    watched.until_quiet()
    [snapshot] = watched.sink.snapshots
    assert snapshot.encoding == "base64"
    assert base64.b64decode(snapshot.content) == data


def test_a_moved_file_keeps_its_snapshot_and_a_copy_gets_its_own(start, root) -> None:
    watched = start()
    (root / "a.c").write_text("content")
    watched.until_quiet()
    (root / "a.c").rename(root / "b.c")
    (root / "copy.c").write_text("content")
    watched.until_quiet()
    assert contents(watched, root / "b.c") == []
    assert contents(watched, root / "copy.c") == ["content"]
    assert watched.sink.of(root / "b.c")[0].hash == watched.sink.snapshots[0].hash


def test_a_file_moved_to_a_name_that_is_published_is_published(start, root) -> None:
    watched = start(snapshot_include=("*.c",))
    (root / "draft").write_text("content")
    watched.until_quiet()
    (root / "draft").rename(root / "main.c")
    watched.until_quiet()
    assert contents(watched, root / "main.c") == ["content"]


def test_a_change_during_a_read_is_not_dropped(start, root) -> None:
    watched = start(quiet_ms=10, maximum_delay_ms=30)
    path = root / "main.c"
    with path.open("w") as file:
        for number in range(300):
            file.write(f"{number}\n")
            file.flush()
            os.utime(path)
            if number % 50 == 0:
                path.touch()
    watched.until_quiet()
    assert contents(watched, path)[-1] == "".join(f"{number}\n" for number in range(300))
    for snapshot in watched.sink.snapshots:
        assert len(snapshot.content.encode()) == snapshot.size


@given(st.binary(max_size=300))
def test_content_comes_back(data: bytes) -> None:
    encoding, text = encode_content(data)
    back = text.encode() if encoding == "utf-8" else base64.b64decode(text)
    assert back == data


@pytest.mark.parametrize("byte", [b"\0", b"\x01", b'"', b"\\", b"a", b"\xff", b"\x7f"])
def test_the_largest_content_always_fits_a_message(byte: bytes) -> None:
    _, text = encode_content(byte * MAXIMUM_SNAPSHOT_BYTES)
    assert len(msgspec.json.encode(text)) < MAXIMUM_RAW_BYTES - 16 * 1024
