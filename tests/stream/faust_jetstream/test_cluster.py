"""The same on a cluster of three, whose servers are killed, too."""

import asyncio
import contextlib
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from stream.faust_jetstream.names import Names
from tests.stream.faust_jetstream.churn import PARTITIONS, Chaos, Load, check_exact
from tests.stream.faust_jetstream.servers import Api, Cluster
from tests.support.polling import eventually

NAMES = Names("faust", "churn")
STREAMS = ["RAW", "RESULTS", NAMES.group_stream(), *map(NAMES.state_stream, range(PARTITIONS))]


class ServerChaos:
    """Kills and restarts servers, preferring leaders of streams; one at a time."""

    def __init__(self, cluster: Cluster, api: Api, seed: int, pause: float) -> None:
        self.cluster = cluster
        self.api = api
        self.random = random.Random(seed)
        self.pause = pause
        self.did: Counter[str] = Counter()

    async def run(self, load: Load) -> None:
        await asyncio.sleep(2)
        while not load.done:
            await self.step()
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * self.pause)

    async def step(self) -> None:
        stream = self.random.choice(STREAMS)
        action = self.random.choice(["kill", "kill", "freeze", "step down"])
        leader = await self.leader(stream)
        if leader is None:
            return
        self.did[action] += 1
        self.did[f"{action} {stream}"] += 1
        if action == "step down":
            with contextlib.suppress(Exception):
                await self.api(f"STREAM.LEADER.STEPDOWN.{stream}", timeout=2, tries=1)
            return
        server = self.cluster.named(leader)
        if action == "kill":
            server.kill()
            await asyncio.sleep(self.random.choice([0.3, 2.0]))
            server.start(wait=False)
        else:
            server.signal(signal.SIGSTOP)
            await asyncio.sleep(4)
            server.signal(signal.SIGCONT)
        await asyncio.to_thread(server.wait_healthy, 60)

    async def leader(self, stream: str) -> str | None:
        for _ in range(20):
            try:
                answer = await self.api(f"STREAM.INFO.{stream}", timeout=1, tries=1)
                name: str | None = answer["cluster"].get("leader")
                if name:
                    return name
            except Exception:
                await asyncio.sleep(0.2)
        return None


async def test_counts_stay_exact_while_servers_and_workers_of_a_cluster_are_killed(
    cluster: Cluster, tmp_path: Path, rounds: int, request: pytest.FixtureRequest
) -> None:
    full = request.config.getoption("--slow")
    messages, seconds = (20_000, 120.0) if full else (1_500, 9.0)
    for seed in range(1, rounds + 1):
        api = await Api.connect(*cluster.urls)
        folder = tmp_path / f"round-{seed}"
        folder.mkdir()
        await api.create_partitioned("RAW", "raw", PARTITIONS, num_replicas=3)
        load = Load(api, seed, messages, seconds)
        workers = Chaos(folder, seed, {"NATS": ",".join(cluster.urls), "REPLICAS": "3"}, pause=8)
        servers = ServerChaos(cluster, api, seed, pause=1.5)
        try:
            await asyncio.gather(load.run(), workers.run(load), servers.run(load))
            # A stream that sources can stand still for 45 s after its leader died.
            await check_exact(api, load, 150)
            assert servers.did["kill"] + servers.did["freeze"] > 0
            for stream in STREAMS:
                await api(f"STREAM.DELETE.{stream}", timeout=15, tries=1)
            await eventually(lambda: all(server.healthy() for server in cluster.servers), 30)
        finally:
            workers.stop()
            await api.close()
