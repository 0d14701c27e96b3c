"""How soon buckets appear: provisional rows after the first event, final rows after the end.

Runs a whole instance on this machine, starts a few processes a second, and listens where taps
listen. Run it from the checkout's root, as root:

    ./scripts/bench latency --seconds 60
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
from nats.aio.msg import Msg

GRACE_SECONDS = 2.0


def moment(text: str) -> float:
    """Seconds since the epoch of a time on the wire."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC).timestamp()


class Listener:
    """Arrival times of rows of scope ``node``, and the time of each window's first event."""

    def __init__(self) -> None:
        self.first_event: dict[int, float] = {}
        self.provisional: dict[int, float] = {}
        self.final: dict[int, float] = {}

    async def on_events(self, message: Msg) -> None:
        for line in message.data.splitlines():
            at = moment(json.loads(line)["ts"])
            window = int(at) // 10
            self.first_event[window] = min(at, self.first_event.get(window, at))

    async def on_rows(self, message: Msg) -> None:
        now = time.time()
        for line in message.data.splitlines():
            row = json.loads(line)
            if row["scope"] == "node":
                window = int(moment(row["window_start"])) // 10
                kind = self.final if row.get("final") else self.provisional
                kind.setdefault(window, now)


async def measure(facts: dict[str, Any], seconds: float) -> Listener:
    """Load the machine lightly and listen."""
    login = facts["login"]
    client = await nats.connect(facts["nats"], user=login["user"], password=login["password"])
    listener = Listener()
    await client.subscribe("events.process.>", cb=listener.on_events)
    await client.subscribe("tap.buckets.process.>", cb=listener.on_rows)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        process = await asyncio.create_subprocess_exec("/bin/true", "latency")
        await process.wait()
        await asyncio.sleep(0.05)
    await asyncio.sleep(8)
    await client.close()
    return listener


def report(name: str, values: list[float]) -> None:
    """One line: median, 99th percentile (or the highest), highest."""
    values = sorted(values)
    high = values[min(len(values) - 1, int(len(values) * 0.99))]
    print(
        f"{name:52} n={len(values):3}  median {statistics.median(values):5.2f} s  "
        f"p99 {high:5.2f} s  max {values[-1]:5.2f} s"
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    folder = Path(tempfile.mkdtemp(prefix="tenwatch-bench-"))
    folder.chmod(0o755)
    (folder / "watched").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tenwatch", "up", "--no-screen", "--data", str(folder / "data"),
         "--watch", str(folder / "watched")],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        facts["login"] = json.loads(Path(facts["credentials"]).read_text())["nats"]
        listener = asyncio.run(measure(facts, seconds))
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
    first, *rest = sorted(listener.first_event)
    windows = [window for window in rest if window in listener.final]
    with contextlib.suppress(OSError):
        print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    report(
        "first provisional row after a window's first event",
        [
            listener.provisional[w] - listener.first_event[w]
            for w in windows
            if w in listener.provisional
        ],
    )
    report(
        f"final row after the window's end (grace {GRACE_SECONDS:g} s)",
        [listener.final[w] - (w + 1) * 10 for w in windows],
    )
    print(f"(window {first} left out: the instance had just started)")


if __name__ == "__main__":
    main()
