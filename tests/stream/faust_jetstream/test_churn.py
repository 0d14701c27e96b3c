"""Workers that join, leave, die and freeze at random: counts stay exact, results come once."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from stream.faust_jetstream.names import Names, key_from_token
from tests.stream.faust_jetstream.servers import Api, Server
from tests.stream.faust_jetstream.workers import Worker
from tests.support.polling import eventually

PARTITIONS = 4
LINES = 20


class Load:
    """Publishes messages of random keys at a steady pace, and knows what it published."""

    def __init__(self, api: Api, seed: int, messages: int, seconds: float) -> None:
        self.api = api
        self.random = random.Random(seed)
        self.messages = messages
        self.seconds = seconds
        self.counts: Counter[str] = Counter()
        self.done = False

    async def run(self) -> None:
        began = time.monotonic()
        for number in range(self.messages):
            keys = [f"k{self.random.randrange(200)}" for _ in range(LINES)]
            await self.publish(number, " ".join(keys).encode())
            self.counts.update(keys)
            ahead = began + self.seconds * number / self.messages - time.monotonic()
            if ahead > 0.01:
                await asyncio.sleep(ahead)
        self.done = True

    async def publish(self, number: int, payload: bytes) -> None:
        await self.api.client.publish(f"raw.lines.n{number % 40}", payload)


class Chaos:
    """Starts and disturbs one to three workers at random."""

    def __init__(self, folder: Path, seed: int, environment: dict[str, str]) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.environment = environment
        self.workers: list[Worker] = []
        self.started = 0
        self.did: Counter[str] = Counter()

    def start(self) -> None:
        self.started += 1
        member = f"w{self.started}"
        self.workers.append(Worker("churn", member, self.folder, **self.environment))
        self.did["start"] += 1

    async def run(self, load: Load) -> None:
        self.start()
        while not load.done:
            await asyncio.sleep(self.random.uniform(0.5, 2.5))
            self.step()
        for worker in self.workers:
            if worker.frozen:
                worker.thaw()
            if worker.leaving:
                await asyncio.to_thread(worker.wait)
        self.reap()
        if not self.workers:
            self.start()

    def step(self) -> None:
        self.reap()
        running = [worker for worker in self.workers if not worker.frozen and not worker.leaving]
        frozen = [worker for worker in self.workers if worker.frozen]
        choices = ["start"] * (3 * (len(self.workers) < 3))
        if running:
            choices += ["term", "kill", "kill", "freeze"]
        if frozen:
            choices += ["thaw", "thaw"]
        action = self.random.choice(choices)
        if action == "start":
            self.start()
            return
        worker = self.random.choice(frozen if action == "thaw" else running)
        {
            "term": worker.terminate,
            "kill": worker.kill,
            "freeze": worker.freeze,
            "thaw": worker.thaw,
        }[action]()
        self.did[action] += 1

    def reap(self) -> None:
        self.workers = [worker for worker in self.workers if worker.running]

    def stop(self) -> None:
        for worker in self.workers:
            worker.kill()


async def check_exact(api: Api, load: Load, expected: int, deadline: float) -> None:
    """All results have come, each once, in order; the stored counts are those published."""

    async def all_results() -> bool:
        state = await api.state("RESULTS")
        assert state["messages"] >= expected, f"{state['messages']} of {expected} results"
        return True

    await eventually(all_results, deadline, "all results")
    results = await api.read("RESULTS")
    offsets: dict[str, list[int]] = {}
    for subject, payload, _ in results:
        result = orjson.loads(payload)
        numbers = offsets.setdefault(subject, [])
        numbers.append(result["offset"])
        assert result["number"] == len(numbers), f"{subject}: {result}, the {len(numbers)}th"
    assert len(results) == expected
    for subject, numbers in offsets.items():
        assert numbers == sorted(set(numbers)), f"{subject}: out of order or doubled"
    names = Names("faust", "churn")
    stored: Counter[str] = Counter()
    for partition in range(PARTITIONS):
        root = f"{names.state_root(partition)}.t.lines."
        for subject, payload, _ in await api.read(names.state_stream(partition), f"{root}*"):
            key = orjson.loads(key_from_token(subject[len(root) :]))
            stored[key] += orjson.loads(payload)
    assert stored == load.counts


async def churn(
    api: Api, urls: list[str], folder: Path, seed: int, messages: int, seconds: float,
    replicas: int = 1,
) -> Chaos:
    """One round of load and chaos, and the check."""
    await api.create_partitioned("RAW", "raw", PARTITIONS, num_replicas=replicas)
    load = Load(api, seed, messages, seconds)
    chaos = Chaos(
        folder, seed, {"NATS": ",".join(urls), "REPLICAS": str(replicas), "LEASE": "3"}
    )
    try:
        await asyncio.gather(load.run(), chaos.run(load))
        await api.client.flush()
        stored = (await api.state("RAW"))["messages"]
        assert stored == messages
        await check_exact(api, load, stored, 90)
    finally:
        chaos.stop()
    return chaos


async def test_counts_stay_exact_and_results_come_once_while_workers_churn(
    make_server: Callable[[], Server], tmp_path: Path, rounds: int, request: pytest.FixtureRequest
) -> None:
    full = request.config.getoption("--slow")
    for seed in range(rounds):
        server = make_server()
        api = await Api.connect(server.url)
        folder = tmp_path / f"round-{seed}"
        folder.mkdir()
        try:
            messages, seconds = (50_000, 120.0) if full else (8_000, 25.0)
            chaos = await churn(api, [server.url], folder, seed + 1, messages, seconds)
            assert chaos.did["kill"] + chaos.did["freeze"] + chaos.did["term"] > 0
        finally:
            await api.close()
            server.stop()
