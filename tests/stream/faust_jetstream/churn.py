"""Load, chaos and the check that both left everything exact; shared by the churn tests."""

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import nats.errors
import orjson

from stream.faust_jetstream.names import Names, key_from_token
from tests.stream.faust_jetstream.servers import Api
from tests.stream.faust_jetstream.workers import Worker
from tests.support.polling import eventually

PARTITIONS = 4
LINES = 20


class Load:
    """Publishes messages of random keys at a steady pace, each until the stream has it.

    Messages carry ids, so that publishing one again does not double it.
    """

    def __init__(self, api: Api, seed: int, messages: int, seconds: float) -> None:
        self.api = api
        self.random = random.Random(seed)
        self.messages = messages
        self.seconds = seconds
        self.counts: Counter[str] = Counter()
        self.done = False

    async def run(self) -> None:
        began = time.monotonic()
        sending: set[asyncio.Task[None]] = set()
        for number in range(self.messages):
            keys = [f"k{self.random.randrange(200)}" for _ in range(LINES)]
            self.counts.update(keys)
            task = asyncio.create_task(self.publish(number, " ".join(keys).encode()))
            sending.add(task)
            task.add_done_callback(sending.discard)
            ahead = began + self.seconds * number / self.messages - time.monotonic()
            if ahead > 0.01 or len(sending) > 200:
                await asyncio.sleep(max(ahead, 0.01))
        while sending:
            await asyncio.wait(sending)
        self.done = True

    async def publish(self, number: int, payload: bytes) -> None:
        while True:
            try:
                answer = await self.api.client.request(
                    f"raw.lines.n{number % 40}",
                    payload,
                    timeout=3,
                    headers={"Nats-Msg-Id": str(number)},
                )
                if b'"error"' not in answer.data:
                    return
            except (nats.errors.Error, TimeoutError):
                pass
            await asyncio.sleep(0.2)


class Chaos:
    """Starts and disturbs one to three workers at random."""

    def __init__(
        self, folder: Path, seed: int, environment: dict[str, str], pause: float = 1.5
    ) -> None:
        self.folder = folder
        self.pause = pause
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
            await asyncio.sleep(self.random.uniform(0.3, 1.7) * self.pause)
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


async def check_exact(api: Api, load: Load, deadline: float) -> None:
    """All results have come, each once, in order; the stored counts are those published."""

    expected = load.messages
    assert (await api.state("RAW"))["messages"] == expected

    async def all_results() -> bool:
        streams = await api("STREAM.NAMES", {"subject": "results.>"})
        assert streams["streams"], "no worker has lived long enough to make the stream"
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
