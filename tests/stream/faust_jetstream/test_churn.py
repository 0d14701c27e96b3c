"""Workers that join, leave, die and freeze at random: counts stay exact, results come once."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stream.faust_jetstream.churn import PARTITIONS, Chaos, Load, check_exact
from tests.stream.faust_jetstream.servers import Api, Server


async def test_counts_stay_exact_and_results_come_once_while_workers_churn(
    make_server: Callable[[], Server], tmp_path: Path, rounds: int, request: pytest.FixtureRequest
) -> None:
    """One message holds 20 lines: 100,000 events in the short form, a million with --slow."""
    full = request.config.getoption("--slow")
    messages, seconds = (50_000, 120.0) if full else (5_000, 10.0)
    for seed in range(1, rounds + 1):
        server = make_server()
        api = await Api.connect(server.url)
        folder = tmp_path / f"round-{seed}"
        folder.mkdir()
        await api.create_partitioned("RAW", "raw", PARTITIONS)
        load = Load(api, seed, messages, seconds)
        chaos = Chaos(folder, seed, {"NATS": server.url})
        try:
            await asyncio.gather(load.run(), chaos.run(load))
            await check_exact(api, load, 90)
            assert chaos.did["kill"] + chaos.did["freeze"] + chaos.did["term"] > 0
        finally:
            chaos.stop()
            await api.close()
            server.stop()
