"""Where fanotify is refused, what is used instead, and what is said about it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from producers.file.fanotify_emitter import FanotifyEmitter
from producers.file.mounts import MountTable, parse_mounts

WATCHING = Path(__file__).with_name("watching.py")
NOBODY = 65534


@pytest.fixture
def method() -> str:
    return "auto"


@pytest.fixture
def mounted() -> Iterator[list[Path]]:
    """Mount points, to be unmounted afterwards."""
    points: list[Path] = []
    yield points
    for point in reversed(points):
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def run_as(uid: int, data: Path, settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the observer says as another user; ``send`` something to make it stop."""
    command = [sys.executable, str(WATCHING), str(data), json.dumps(settings), str(uid)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        deadline = threading.Timer(60, process.kill)
        deadline.daemon = True
        deadline.start()
        for line in process.stdout:
            if (yield tuple(json.loads(line))):  # type: ignore[misc]
                process.stdin.close()


def test_fanotify_is_used_where_it_is_permitted(start) -> None:
    watched = start()
    assert watched.observer.degraded() == []
    assert isinstance(watched.observer._roots[0]._watcher.emitter, FanotifyEmitter)


def test_on_overlay_inotify_is_used_and_said_so(start, root, tmp_path, mounted, on_disk) -> None:
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for each in (lower, upper, work):
        each.mkdir()
    (lower / "old.c").write_text("from below")
    mount("-t", "overlay", "overlay", "-o",
          f"lowerdir={lower},upperdir={upper},workdir={work}", root)  # fmt: skip
    mounted.append(root)
    watched = start()
    [sentence] = watched.observer.degraded()
    assert "overlay" in sentence and "inotify is used instead" in sentence
    assert watched.observer.ready() is None
    (root / "old.c").write_text("changed")
    (root / "new.c").write_text("new")
    watched.until_quiet()
    assert watched.sink.final_state() == on_disk(root)


def test_without_privileges_it_still_watches(tmp_path) -> None:
    base = Path(tempfile.mkdtemp(prefix="tenwatch-test-"))
    try:
        root, data = base / "root", base / "data"
        root.mkdir()
        data.mkdir()
        (root / "secret.c").write_text("x")
        (root / "secret.c").chmod(0)
        (root / "closed").mkdir(mode=0)
        for each in (base, data):
            os.chown(each, NOBODY, NOBODY)
        settings = {"roots": [str(root)], "quiet_ms": 50}
        said = run_as(NOBODY, data, settings)
        ready, events = None, {}
        (root / "mine.c").write_text("hello")
        while ready is None or not {"secret.c", "mine.c"} <= set(events):
            kind, value = next(said)
            if kind == "ready":
                ready = value
            elif kind == "file":
                events[Path(value["path"]).name] = value
        assert ready["why_not"] is None
        assert any("CAP_SYS_ADMIN" in sentence for sentence in ready["degraded"])
        assert events["secret.c"]["size"] == 1 and "hash" not in events["secret.c"]
        assert events["mine.c"]["hash"] and "writer_pid" not in events["mine.c"]
        said.send(True)  # type: ignore[attr-defined]
        metrics = dict(said)["metrics"]
        assert metrics["file_unreadable_total"] >= 1
        assert metrics["file_unreadable_folders_total"] >= 1
    finally:
        shutil.rmtree(base)


def test_a_bind_mount_sees_its_own_part_of_the_file_system(
    start, root, tmp_path, mounted, on_disk
) -> None:
    source = tmp_path / "volume"
    source.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mount("--bind", source, root)
    mounted.append(root)
    watched = start()
    assert watched.observer.degraded() == []
    (root / "sub").mkdir()
    (root / "sub" / "a.c").write_text("through the mount")
    (source / "b.c").write_text("beside the mount")
    (elsewhere / "c.c").write_text("outside")
    watched.until_quiet()
    assert watched.sink.final_state() == on_disk(root)
    assert len(watched.sink.files) == 2


def test_what_a_mount_hides_is_not_taken_for_what_is_seen(
    start, root, tmp_path, mounted, on_disk
) -> None:
    for folder in (root, tmp_path / "volume"):
        (folder / "old").mkdir(parents=True)
        (folder / "old" / "a.c").write_text(str(folder))
    (tmp_path / "below").mkdir()
    mount("--bind", tmp_path, tmp_path / "below")
    mounted.append(tmp_path / "below")
    mount("--bind", tmp_path / "volume", root)
    mounted.append(root)
    watched = start()
    hidden = tmp_path / "below" / root.name
    (hidden / "old").rename(hidden / "new")
    (hidden / "b.c").write_text("hidden")
    watched.until_quiet()
    assert watched.sink.counts() == {"found": 1}
    assert watched.sink.final_state() == on_disk(root)


def test_a_watched_file_system_can_be_unmounted_and_comes_back(start, root, mounted) -> None:
    mount("-t", "tmpfs", "tmpfs", root)
    watched = start(root_grace_seconds=0.1)
    (root / "a.c").write_text("on the mount")
    watched.until_quiet()
    watched.until(lambda: subprocess.run(["umount", str(root)], check=False).returncode == 0)
    watched.until(lambda: watched.sink.actions(root / "a.c") == ["created", "deleted"])
    mount("-t", "tmpfs", "tmpfs", root)
    mounted.append(root)
    (root / "b.c").write_text("on the new mount")
    watched.until(lambda: watched.sink.actions(root / "b.c") == ["created"])


@pytest.mark.parametrize("method", ["fanotify", "inotify"])
def test_what_is_mounted_beneath_a_root_is_watched_too(start, root, mounted, on_disk) -> None:
    for name in ("before", "later"):
        (root / name).mkdir()
    (root / "later" / "hidden.c").write_text("beneath the mount to come")
    mount("-t", "tmpfs", "tmpfs", root / "before")
    mounted.append(root / "before")
    watched = start()
    (root / "before" / "sub").mkdir()
    (root / "before" / "sub" / "a.c").write_text("a")
    watched.until(lambda: watched.sink.actions(root / "before" / "sub" / "a.c") == ["created"])

    mount("-t", "tmpfs", "tmpfs", root / "later")
    mounted.append(root / "later")
    watched.until(lambda: watched.sink.actions(root / "later" / "hidden.c")[-1:] == ["deleted"])
    (root / "later" / "b.c").write_text("b")
    watched.until(lambda: watched.sink.of(root / "later" / "b.c"))
    (root / "later" / "b.c").write_text("more of b")
    watched.until(lambda: watched.sink.actions(root / "later" / "b.c") == ["created", "modified"])
    assert watched.sink.final_state() == on_disk(root)

    watched.until(
        lambda: subprocess.run(["umount", str(root / "later")], check=False).returncode == 0
    )
    mounted.remove(root / "later")
    watched.until(lambda: watched.sink.final_state() == on_disk(root))
    assert watched.sink.actions(root / "later" / "hidden.c")[-1] == "created"


MOUNTINFO = b"""21 1 254:0 / / rw - ext4 /dev/vda rw
30 21 0:25 / /srv/a\\040b rw,relatime shared:1 - nfs4 server:/x rw
31 21 0:26 /sub /srv/ws rw - fuse.sshfs x rw
32 31 0:27 / /srv/ws/in rw - tmpfs tmpfs rw
33 31 0:28 / /srv/ws/in rw - tmpfs tmpfs rw
nonsense
"""


def test_mounts_are_read_as_the_kernel_writes_them() -> None:
    mounts = parse_mounts(MOUNTINFO)
    assert [each.point for each in mounts][1] == b"/srv/a b"
    assert [each.is_remote for each in mounts] == [False, True, True, False, False]
    assert mounts[3].identity != mounts[4].identity


def test_the_mount_that_holds_a_path_is_the_deepest_and_last() -> None:
    table = MountTable()
    table._mounts = parse_mounts(MOUNTINFO)
    assert table.holding(b"/srv/wsx").point == b"/"
    assert table.holding(b"/srv/ws/in/deep").identity == b"33 0:28 /"
    assert set(table.beneath(b"/srv/ws")) == {b"/srv/ws/in"}


def test_when_no_more_folders_can_be_watched_it_is_said(tmp_path, root) -> None:
    limit = Path("/proc/sys/fs/inotify/max_user_watches")
    before = limit.read_text()
    for number in range(40):
        (root / f"d{number}").mkdir()
    base = Path(tempfile.mkdtemp(prefix="tenwatch-test-"))
    os.chown(base, NOBODY, NOBODY)
    tmp_path.parent.parent.chmod(0o755)
    tmp_path.parent.chmod(0o755)
    tmp_path.chmod(0o755)
    try:
        limit.write_text("20")
        settings = {"roots": [str(root)], "quiet_ms": 50, "rescan_seconds": 1, "method": "inotify"}
        said = run_as(NOBODY, base, settings)
        kind, value = next(said)
        while kind != "ready":
            kind, value = next(said)
        limit.write_text(before)
        assert any("max_user_watches" in sentence for sentence in value["degraded"])
        (root / "d39" / "a.c").write_text("x")
        (root / "d0" / "a.c").write_text("x")
        wanted = {str(root / "d39" / "a.c"), str(root / "d0" / "a.c")}
        while wanted:
            kind, value = next(said)
            if kind == "file":
                wanted.discard(value["path"])
        said.send(True)  # type: ignore[attr-defined]
        for _ in said:
            pass
    finally:
        limit.write_text(before)
        shutil.rmtree(base)
