"""top says what buckets say, and answers to keys."""

import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from tenwatch.watching.run import press
from tenwatch.watching.usage import By, Health, Picture, Row, arranged
from tenwatch.watching.view import Choice, health_line
from tests.support.instance import RunningInstance
from tests.support.polling import eventually_sync
from tests.support.program import run_program


@pytest.fixture(scope="module")
def loaded(shared: RunningInstance) -> dict[str, Any]:
    """Simulated nodes of right now."""
    found: dict[str, Any] = run_program(
        "loadgen", "--nodes", "2", "--events", "300", "--rate", "150", "--prefix", "topped",
        data=shared.data,
    ).json  # fmt: skip
    return found


def top(shared: RunningInstance, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = run_program(
        "top", "--json", "--span", "600", *options, data=shared.data
    ).json
    return found


def test_a_node_shows_what_its_buckets_add_up_to(
    shared: RunningInstance, loaded: dict[str, Any]
) -> None:
    def whole() -> bool:
        rows = top(shared, "--filter", "topped-", "--sort", "execs")["rows"]
        sums = {
            name: sum(row[name] or 0 for row in rows)
            for name in ("execs", "failures", "crashes", "file_changes")
        }
        expected = loaded["expected"]["process"]
        assert sums == {
            "execs": expected["execs"], "failures": expected["failures"],
            "crashes": expected["crashes"], "file_changes": loaded["events"]["file"],
        }  # fmt: skip
        assert {row["node"] for row in rows} == set(loaded["nodes"])
        assert rows[0]["execs"] >= rows[1]["execs"]
        return True

    eventually_sync(whole, deadline=40, what="the buckets are in the store", interval=0.5)


def test_the_real_node_uses_what_the_kernel_says(shared: RunningInstance) -> None:
    def used() -> dict[str, Any]:
        (row,) = (row for row in top(shared)["rows"] if row["node"] == "here")
        assert row["cpu_millicores"] and row["memory_bytes"]
        return dict(row)

    row = eventually_sync(used, deadline=40, what="two samples of this node", interval=0.5)
    cores = os.cpu_count() or 1
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < row["cpu_millicores"] <= 1000 * cores
    assert 0 < row["memory_bytes"] <= total


@pytest.mark.parametrize("by", ["pod", "workload", "namespace"])
def test_scopes_are_joined_to_their_names(
    shared: RunningInstance, loaded: dict[str, Any], by: str
) -> None:
    def there() -> bool:
        rows = top(shared, "--by", by, "--filter", "load" if by == "namespace" else "topped")
        assert rows["rows"]
        return all(row["namespace"] == "load" for row in rows["rows"])

    eventually_sync(there, deadline=40, what="rows", interval=0.5)
    shown = run_program("top", "--by", by, "--limit", "1", data=shared.data).text
    assert "CPU m▼" in shown
    assert "events/s stored" in shown


def test_on_a_terminal_it_refreshes_answers_keys_and_leaves_it_as_it_was(
    shared: RunningInstance, tmp_path: Path
) -> None:
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(
        [sys.executable, "-m", "tenwatch", "top", "--data", str(shared.data)],
        stdin=slave, stdout=slave, stderr=slave, env=os.environ | {"TERM": "xterm-256color"},
    )  # fmt: skip
    output = ""

    def seen(text: str) -> None:
        nonlocal output
        deadline = time.monotonic() + 30
        while text not in output:
            assert time.monotonic() < deadline, output[-3000:]
            if select.select([master], [], [], 0.5)[0]:
                output += os.read(master, 65536).decode(errors="replace")
        output = ""

    try:
        seen("by node")
        seen("by node")  # drawn again without a key
        os.write(master, b"p")
        seen("by pod")
        os.write(master, b"/top")
        seen("with 'top'_")
        os.write(master, b"\r")
        seen("with 'top'")
        os.write(master, b"q")
        while process.poll() is None:
            if select.select([master], [], [], 0.1)[0]:
                os.read(master, 65536)
        assert process.wait(20) == 0
        assert termios.tcgetattr(slave) == before
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(master)
        os.close(slave)


def row(name: str, cpu: float | None) -> Row:
    return Row((name,), {"cpu_millicores": cpu})


def test_rows_are_sorted_filtered_and_unknown_ones_come_last() -> None:
    picture = Picture(By.node, 60, [row("a", 1.0), row("b", None), row("c", 3.0), row("ab", 2.0)])

    def names(sort: str, text: str = "", *, reverse: bool = False) -> list[str]:
        return [each.names[0] for each in arranged(picture, sort, text, reverse=reverse)]

    assert names("cpu_millicores") == ["c", "ab", "a", "b"]
    assert names("cpu_millicores", reverse=True) == ["a", "ab", "c", "b"]
    assert names("name", "B") == ["ab", "b"]


def test_keys_choose_type_and_quit() -> None:
    choice = Choice()
    assert press("p", By.node, choice) is By.pod
    assert press("m", By.pod, choice) is By.pod
    assert choice.sort == "memory_bytes"
    for key in "/q\x7fab":
        assert press(key, By.pod, choice) is By.pod
    assert choice.text == "ab"
    press("\r", By.pod, choice)
    assert not choice.typing
    press("\x1b", By.pod, choice)
    assert choice.text == ""
    assert press("q", By.pod, choice) is None


def test_loss_is_told_and_its_absence_too() -> None:
    quiet = Picture(By.node, 60, health=Health(nodes=1))
    assert "nothing lost" in health_line(quiet).plain
    losing = Picture(By.node, 60, health=Health(lost=3, lost_unknown=1, dead=2, silent=1))
    text = health_line(losing).plain
    for part in ("3 lost", "1 losses of unknown number", "2 dead", "1 producers silent"):
        assert part in text
