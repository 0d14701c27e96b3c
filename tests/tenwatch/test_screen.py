"""The live screen, at the widths of real terminals."""

import io
import time

import pytest
from rich.console import Console

from tenwatch.embedded.instance import Instance
from tenwatch.embedded.live import KindState, LiveState
from tenwatch.embedded.screen import human_bytes, render

INSTANCE = Instance(
    nats="nats://127.0.0.1:4222",
    sql="http://127.0.0.1:8123",
    credentials="/var/lib/tenwatch/credentials.json",
    data="/var/lib/tenwatch",
    pids={"worker": 7},
    degraded=["process does not run: no eBPF"],
)


def state() -> LiveState:
    kind = KindState(emitted=120, lost=2, spooled_bytes=2048, oldest_age_ms=1500)
    now = time.monotonic()
    kind.history.extend([(now - 2, 100), (now, 120)])
    found = LiveState(kinds={"process": kind})
    for number in range(3):
        start = f"2026-01-02T03:04:{number}0Z"
        found.windows[start] = {
            "cgroup": {"cpu_millicores": 123.4, "memory_bytes_last": 5 << 30, "final": number < 2},
            "process": {"execs": 5, "exits": 4, "failures": 1, "crashes": 0, "final": number < 2},
            "file": {"creates": 2, "modifies": 3, "final": number < 2},
        }
    found.top_processes = [["gcc", 12, 1, 3.25], ["evil\x1b[31mname", 1, 0, 0.01]]
    found.top_files = [["/home/" + "long/" * 40 + "main.c", 7, 2048]]
    found.losses = {("kernel", "ring_full"): 2, ("spool", "spool_full"): None}
    found.lag = {"worker": 0, "sink": 3}
    return found


def drawn(width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(render(state(), INSTANCE, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_the_screen_fits_and_shows_what_matters(width: int) -> None:
    text = drawn(width)
    assert max(len(line) for line in text.splitlines()) <= width
    for expected in (
        "process", "10.0", "2.0 KiB", "final", "open", "gcc", "main.c",
        "2 ring_full (kernel)", "unknown number spool_full (spool)", "sink 3, worker 0",
        "Degraded: process does not run", "03:04:20",
    ):  # fmt: skip
        assert expected in text, f"{expected} is missing at {width} columns:\n{text}"


def test_control_characters_of_a_program_name_never_reach_the_terminal() -> None:
    assert "\x1b" not in drawn(140)


def test_sizes_for_people() -> None:
    assert [human_bytes(n) for n in (None, 0, 1023, 1536, 5 << 40)] == [
        "-", "0 B", "1023 B", "1.5 KiB", "5.0 TiB",
    ]  # fmt: skip
