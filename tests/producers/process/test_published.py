"""The whole producer as a process: from the kernel to RAW, killed in between."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import yaml

from stream.broker.settings import StreamSettings
from tests.producers.process.support import cgroup, pinned_in, run_in
from tests.support.nats_server import NODE, NatsServer
from tests.support.producing import MEBIBYTE, Broker, make_broker

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def broker(nats_server: NatsServer) -> AsyncIterator[Broker]:
    sizes = dict.fromkeys(("events_max_bytes", "buckets_max_bytes", "dead_max_bytes"), MEBIBYTE)
    broker = await make_broker(nats_server, StreamSettings(raw_max_bytes=64 * MEBIBYTE, **sizes))
    yield broker
    await broker.connection.close()


@pytest.fixture
def start_producer(
    nats_server: NatsServer, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """``start_producer(cgroup_prefixes=[…])``: ``tenwatch produce process`` with these settings."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**settings: object) -> subprocess.Popen[bytes]:
        config = tmp_path / "tenwatch.yaml"
        sections = {
            "producer": {"node": NODE},
            "spool": {"folder": str(tmp_path / "spool")},
            "broker": {
                "servers": [nats_server.url],
                "credentials_file": str(nats_server.write_credentials(f"producer-{NODE}")),
            },
            "process": settings,
        }
        config.write_text(yaml.safe_dump(sections))
        command = [Path(sys.executable).with_name("tenwatch"), "produce", "process"]
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen([*command, "--config", config], cwd=ROOT, stderr=log)
        started.append(process)
        return process

    yield start
    for each in started:
        if each.poll() is None:
            each.kill()
            each.wait(10)


async def test_killed_under_load_every_event_is_stored_exactly_once(
    storm: Path,
    broker: Broker,
    start_producer: Callable[..., subprocess.Popen[bytes]],
    eventually: Callable,
    tmp_path: Path,
    rounds: int,
) -> None:
    count, kills = 2000, 2 * rounds
    with cgroup() as path, pinned_in(tmp_path) as pins:
        producer = start_producer(cgroup_prefixes=[path], pin_directory=str(pins))
        # Pinned last, so from then on everything is seen, whoever runs.
        await eventually(lambda: list(pins.glob("*/exec")), 30)
        for number in range(1, kills + 1):
            flood = subprocess.Popen(
                [sys.executable, "-c", FLOOD, path, storm, str(count), f"mark-{number}"], cwd=ROOT
            )
            enough = await broker.count("process") + random.randrange(1, count)

            async def reached(enough: int = enough) -> bool:
                return await broker.count("process") >= enough

            await eventually(reached, 60)
            producer.kill()
            producer.wait()
            assert flood.wait(60) == 0
            producer = start_producer(cgroup_prefixes=[path], pin_directory=str(pins))
        total = kills * (2 * count + 4)

        async def all_there() -> bool:
            return await broker.count("process") >= total

        await eventually(all_there, 60)
        producer.terminate()
        assert producer.wait(30) == 0
    raw = await broker.raw()
    found = Counter(
        (event["action"], event["argv"][4], int(event["argv"][3]))
        for event in raw.of("process")
        if event.get("argv", [])[1:2] == ["exit"]
    )
    assert set(found.values()) == {1}
    assert len(found) == kills * 2 * count
    assert len(raw.of("process")) == total
    assert raw.of("loss") == []
    assert len({event["boot"] for event in raw.of("process")}) == kills + 1


FLOOD = """
import sys
from tests.producers.process.support import run_in
path, storm, count, mark = sys.argv[1:]
sys.exit(run_in(path, storm, "flood", count, "2", mark).returncode)
"""


async def test_without_pins_the_time_between_two_lives_is_a_loss_of_unknown_count(
    storm: Path,
    broker: Broker,
    start_producer: Callable[..., subprocess.Popen[bytes]],
    eventually: Callable,
) -> None:
    with cgroup() as path:

        async def observed(code: int) -> bool:
            run_in(path, storm, "exit", str(code))
            raw = await broker.raw()
            return any(event.get("exit_code") == code for event in raw.of("process"))

        producer = start_producer(cgroup_prefixes=[path])
        await eventually(lambda: observed(1), 30)
        producer.terminate()
        assert producer.wait(30) == 0
        run_in(path, storm, "exit", "2")
        producer = start_producer(cgroup_prefixes=[path])
        await eventually(lambda: observed(3), 30)
        producer.terminate()
        assert producer.wait(30) == 0
    raw = await broker.raw()
    exits = [event for event in raw.of("process") if event["action"] == "exit"]
    ended = {event["exit_code"]: event["ts"] for event in exits}
    assert set(ended) == {1, 3}
    (loss,) = [event for event in raw.of("loss") if event["kind"] == "process"]
    assert (loss["reason"], loss.get("count")) == ("producer_stopped", None)
    assert ended[1] < loss["first_ts"] < loss["last_ts"]
