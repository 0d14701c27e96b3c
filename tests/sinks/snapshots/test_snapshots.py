"""Contents come back as they were, and a restore never leaves its folder."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sinks.errors import SnapshotError
from sinks.snapshots import content_at, difference, restore, tree_at, versions
from sinks.store.client import Client, Store

BEGIN = datetime.now(UTC) - timedelta(hours=1)
BINARY = bytes(range(256))


def at(seconds: int) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat()


def event(seconds: int, path: str, **fields: Any) -> dict[str, Any]:
    moment = BEGIN + timedelta(seconds=seconds)
    return {
        "ts": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "node": "n", "boot": "b", "seq": seconds,
        "path": path, "student": "s1", **fields,
    }  # fmt: skip


def kept(seconds: int, path: str, content: bytes) -> dict[str, Any]:
    try:
        how = {"encoding": "utf-8", "content": content.decode()}
    except UnicodeDecodeError:
        how = {"encoding": "base64", "content": base64.b64encode(content).decode()}
    return event(seconds, path, hash=f"blake2b:{seconds}", size=len(content), **how)


@pytest.fixture
def asks(store: Store, insert: Any) -> Client:
    insert("snapshot_events", [
        kept(0, "/w/hw1/main.c", b"int main(){}\n"),
        kept(10, "/w/hw1/main.c", b"int main(){return 1;}"),
        kept(20, "/w/hw1/sub/data.bin", BINARY),
        kept(21, "/w/hw1/empty.c", b""),
        kept(22, "/w/hw1/old.c", b"old\n"),
        kept(50, "/w/hw1/main.c", b"// again\n"),
        kept(23, "/w/hw10/other.c", b"not mine\n"),
    ])  # fmt: skip
    insert("file_events", [
        event(30, "/w/hw1/main.c", action="deleted"),
        event(31, "/w/hw1/new.c", action="moved", old_path="/w/hw1/old.c", size=4),
    ])  # fmt: skip
    return store.writer


def test_the_content_at_each_time(asks: Client) -> None:
    path = "/w/hw1/main.c"
    with pytest.raises(SnapshotError, match=r"no content of .* was kept"):
        content_at(asks, path, at(-1))
    assert content_at(asks, path, at(0)).content == b"int main(){}\n"
    assert content_at(asks, path, at(29)).content == b"int main(){return 1;}"
    gone = content_at(asks, path, at(40))
    assert (gone.content, gone.deleted_ts is not None) == (b"int main(){return 1;}", True)
    assert content_at(asks, path).deleted_ts is None
    # An empty file is a file, not a deletion.
    empty = content_at(asks, "/w/hw1/empty.c")
    assert (empty.content, empty.size, empty.deleted_ts) == (b"", 0, None)
    assert content_at(asks, "/w/hw1/sub/data.bin").content == BINARY
    assert [each.what for each in versions(asks, path)] == [
        "content", "content", "deleted", "content",
    ]  # fmt: skip


def test_what_changed_between_two_times(asks: Client) -> None:
    first, second = (content_at(asks, "/w/hw1/main.c", at(when)) for when in (0, 10))
    text = difference(first, second)
    assert "-int main(){}\n" in text
    assert "+int main(){return 1;}\n\\ No newline at end of file\n" in text
    assert difference(first, first) == ""
    assert difference(None, first).startswith("--- /dev/null")
    binary = content_at(asks, "/w/hw1/sub/data.bin")
    assert difference(first, binary) == "binary contents differ\n"


def test_the_files_that_were_there_at_a_time(asks: Client) -> None:
    assert tree_at(asks, "/w/hw1/", at(22)) == [
        "/w/hw1/empty.c", "/w/hw1/main.c", "/w/hw1/old.c", "/w/hw1/sub/data.bin",
    ]  # fmt: skip
    assert tree_at(asks, "/w/hw1/", at(40)) == ["/w/hw1/empty.c", "/w/hw1/sub/data.bin"]
    assert "/w/hw1/main.c" in tree_at(asks, "/w/hw1/")
    assert tree_at(asks, "/w/hw1/", student="s2") == []


def test_a_restore_writes_what_was_there(asks: Client, tmp_path: Path) -> None:
    done = restore(asks, "/w/hw1/", tmp_path, at(25))
    assert sorted(done.written) == ["empty.c", "main.c", "old.c", "sub/data.bin"]
    assert done.refused == {}
    assert (tmp_path / "main.c").read_bytes() == b"int main(){return 1;}"
    assert (tmp_path / "sub" / "data.bin").read_bytes() == BINARY
    assert (tmp_path / "main.c").stat().st_mode & 0o777 == 0o600
    # What is there is left as it is.
    (tmp_path / "main.c").write_text("mine")
    again = restore(asks, "/w/hw1/", tmp_path, at(25))
    assert set(again.refused) == {
        "/w/hw1/empty.c", "/w/hw1/main.c", "/w/hw1/old.c", "/w/hw1/sub/data.bin",
    }  # fmt: skip
    assert (tmp_path / "main.c").read_text() == "mine"


def test_a_restore_never_leaves_its_folder(asks: Client, insert: Any, tmp_path: Path) -> None:
    folder, outside = tmp_path / "into", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "file-link").symlink_to(outside / "target")
    evil = [
        "../outside/a", "x/../../outside/b", "link/c", "file-link", "./d", "\0", "y/..", "/",
        "z" * 300,
    ]  # fmt: skip
    insert("snapshot_events", [
        kept(100 + number, f"/evil/{path}", b"evil") for number, path in enumerate(evil)
    ])  # fmt: skip
    insert("snapshot_events", [kept(200, "/evil/good/file", b"good")])
    done = restore(asks, "/evil/", folder)
    assert done.written == ["good/file"]
    assert len(done.refused) == len(evil)
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "a").exists()


def test_a_folder_that_is_not_there_is_refused(asks: Client, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="give a folder that exists"):
        restore(asks, "/w/hw1/", tmp_path / "missing")
