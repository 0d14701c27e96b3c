"""Many changes at once: whatever is lost on the way, the events end with what the disk has."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent


def run(program: str, *arguments: object) -> None:
    subprocess.run(
        [sys.executable, str(PROGRAMS / program), *map(str, arguments)], check=True, timeout=300
    )


def test_a_burst_of_writes_is_told_to_the_last_file(start, memory_root, on_disk) -> None:
    watched = start(roots=(str(memory_root),))
    run("storm.py", memory_root, 20_000, 100)
    watched.until_quiet()
    assert watched.sink.final_state() == on_disk(memory_root)
    assert len(watched.sink.final_state()) == 20_000


def test_no_file_escapes_that_is_written_right_after_its_folder_was_made(
    start, root, on_disk
) -> None:
    watched = start()
    run("storm.py", root, 1500, 1)
    watched.until_quiet()
    assert watched.sink.final_state() == on_disk(root)
    assert watched.sink.counts()["created"] == 1500
    assert watched.sink.losses == []


def test_after_turmoil_the_events_tell_what_the_disk_has(start, root, on_disk, rounds) -> None:
    watched = start()
    for seed in range(rounds):
        run("turmoil.py", root, seed, 3000)
        watched.until_quiet()
        assert watched.sink.final_state() == on_disk(root), f"seed {seed}"
    assert watched.sink.counts()["moved"] > 0
    assert watched.sink.losses == []


def test_an_overflow_of_the_kernels_queue_is_a_loss_and_the_difference_is_told(
    start, root, on_disk
) -> None:
    for number in range(30):
        (root / f"d{number}").mkdir()
    watched = start(pending_limit=16, small_kernel_queue=True)
    (root / "before.c").write_text("before")
    watched.until_quiet()
    watched.sink.open.clear()  # as if the spool were full: everything behind it fills up
    run("storm.py", root, 1500, 50)
    (root / "before.c").unlink()
    watched.sink.open.set()
    watched.until_quiet()
    watched.until(lambda: watched.sink.losses)
    loss = watched.sink.losses[0]
    assert (loss.kind, loss.reason, loss.count) == ("file", "queue_overflow", None)
    assert loss.first_ts is not None and loss.last_ts is not None
    assert loss.first_ts <= loss.last_ts
    assert watched.observer.metrics()["file_kernel_overflows_total"] >= 1
    watched.until(lambda: watched.sink.final_state() == on_disk(root))
    assert watched.sink.actions(root / "before.c") == ["created", "deleted"]


def test_after_an_overflow_new_folders_are_watched_again(start, root, on_disk) -> None:
    (root / "d0").mkdir()
    watched = start(pending_limit=16, small_kernel_queue=True)
    watched.sink.open.clear()
    run("storm.py", root, 600, 400)
    run("storm.py", root / "d1", 100, 2)
    watched.sink.open.set()
    watched.until(lambda: watched.sink.losses and not watched.observer.is_scanning)
    watched.until_quiet()
    for folder in sorted(root.glob("**/d*")):
        (folder / "later.c").write_text("after the overflow")
    watched.until_quiet()
    watched.until(lambda: watched.sink.final_state() == on_disk(root))


def test_a_sink_that_waits_costs_neither_memory_nor_files(start, memory_root, on_disk) -> None:
    watched = start(roots=(str(memory_root),), pending_limit=500)
    watched.sink.open.clear()
    run("storm.py", memory_root, 5000, 100)
    assert watched.observer.metrics()["file_pending_paths"] <= 500
    watched.sink.open.set()
    watched.until_quiet()
    watched.until(lambda: watched.sink.final_state() == on_disk(memory_root))


@pytest.mark.slow
def test_a_hundred_thousand_writes(start, memory_root, on_disk) -> None:
    watched = start(roots=(str(memory_root),))
    run("storm.py", memory_root, 100_000, 100)
    watched.until_quiet(120)
    assert watched.sink.final_state() == on_disk(memory_root)


@pytest.mark.slow
def test_long_turmoil(start, root, on_disk) -> None:
    watched = start()
    for seed in range(100, 120):
        run("turmoil.py", root, seed, 5000)
    watched.until_quiet(120)
    assert watched.sink.final_state() == on_disk(root)
