"""A store that can't write loses nothing, says why, and goes on by itself."""

import subprocess
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tests.support.enriched import Producer
from tests.support.sink_process import SinkProcess, acknowledged

Ask = Callable[..., list[tuple[Any, ...]]]
Eventually = Callable[..., Awaitable[object]]


@pytest.fixture
def small_disk(sink: SinkProcess) -> Iterator[Path]:
    """A file system of 96 MiB under the store."""
    sink.store.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(sink.store)], check=True)
    yield sink.store
    sink.close()
    subprocess.run(["umount", "--lazy", str(sink.store)], check=True)


def ready(sink: SinkProcess) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{sink.addresses['health']}/ready", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_a_full_disk_stops_nothing_but_the_inserts(
    sink: SinkProcess, small_disk: Path, client: Client, ask: Ask, eventually: Eventually
) -> None:
    sink.settings |= {
        "SINK_BACKOFF_MAXIMUM_SECONDS": "0.5",
        "SINK_ACKNOWLEDGE_SECONDS": "3",
        # The guard would make room by dropping days; here nothing is old enough.
        "STORE_MINIMUM_FREE_MEGABYTES": "1",
    }
    sink.start()
    producer = Producer()
    await producer.batch(100).publish(client)
    await eventually(lambda: acknowledged(client, "process"), 20, "the first batch to be stored")
    await eventually(lambda: ready(sink)[0] == 200, 10, "ready")

    filler = small_disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 65536)
                file.flush()
        except OSError:
            pass
    for _ in range(30):
        await producer.batch(100).publish(client)
    await eventually(lambda: ready(sink)[0] == 503, 20, "not ready")
    status, text = ready(sink)
    assert (status, "process: " in text) == (503, True)
    assert "No space left" in text or "NOT_ENOUGH_SPACE" in text
    assert sink.process is not None
    assert sink.process.poll() is None

    filler.unlink()
    await eventually(lambda: acknowledged(client, "process"), 30, "all to be stored")
    await eventually(lambda: ready(sink)[0] == 200, 10, "ready again")
    assert sink.stop() == 0
    assert ask("SELECT count(), uniqExact(seq), max(seq) FROM tenwatch.process_events") == [
        (producer.next_seq, producer.next_seq, producer.next_seq - 1)
    ]
    assert ask("SELECT sum(stored), sum(dead) FROM tenwatch.ledger WHERE kind = 'process'") == [
        (producer.next_seq, 0)
    ]
