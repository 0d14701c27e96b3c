"""Groups of workers: who gets what, how fast it moves, and that nothing is done twice."""

import asyncio
import itertools
import time
from collections import Counter
from pathlib import Path
from typing import Any

import faust
from hypothesis import given
from hypothesis import strategies as st

from stream.faust_jetstream import DuplicateMemberError
from stream.faust_jetstream.assignment import assign
from tests.stream.faust_jetstream.running import make_app, running
from tests.stream.faust_jetstream.servers import Api, Server
from tests.stream.faust_jetstream.workers import Worker
from tests.support.polling import eventually


class Counting:
    """An app that counts events per key, and notes when it processed what."""

    def __init__(
        self, url: str, folder: Path, member: str, app_id: str = "group", **settings: Any
    ) -> None:
        self.app = make_app(app_id, url, folder, member=member, partitions=4, **settings)
        raw = self.app.jetstream.bind_topic("raw", stream="RAW")
        self.table = self.app.Table("counts", default=int)
        self.processed: list[tuple[int, int]] = []
        self.times: list[float] = []

        @self.app.agent(raw)
        async def agent(stream: faust.Stream) -> None:
            async for event in stream.events():
                self.table["n"] += 1
                self.processed.append((event.message.partition, event.message.offset))
                self.times.append(time.monotonic())

    @property
    def partitions(self) -> frozenset[int]:
        return frozenset(self.app.jetstream.partitions)


class Feed:
    """Publishes an event every few milliseconds."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.sent = 0
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        while True:
            await self.api.client.publish(f"raw.a.n{self.sent}", b"")
            self.sent += 1
            await asyncio.sleep(0.003)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.api.client.flush()


@given(
    before=st.dictionaries(
        st.sampled_from("abcdef"), st.lists(st.integers(0, 20), max_size=20), max_size=6
    ),
    members=st.sets(st.sampled_from("abcdef"), min_size=1),
    partitions=st.integers(0, 20),
)
def test_assignments_are_complete_balanced_and_move_little(
    before: dict[str, list[int]], members: set[str], partitions: int
) -> None:
    after = assign(members, before, partitions)
    assert sorted(p for own in after.values() for p in own) == list(range(partitions))
    sizes = [len(own) for own in after.values()]
    assert set(after) == members and max(sizes) - min(sizes) <= 1
    assert assign(members, after, partitions) == after
    # What a member had and does not keep went to members that were below their share.
    for member, own in after.items():
        had = {p for p in before.get(member, ()) if p < partitions}
        claimed_by_others = {p for other in before if other < member for p in before[other]}
        if (had - claimed_by_others) - set(own):
            assert len(own) >= partitions // len(members)


async def test_members_that_join_and_leave_take_over_within_a_second_without_repeating(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 4)
    first = Counting(server.url, tmp_path, "first")
    others: list[Counting] = []
    gaps: list[float] = []
    async with running(first.app):
        await eventually(lambda: first.partitions == {0, 1, 2, 3})
        feed = Feed(api)
        # The time is that of the best of three: other programs run on this machine, too.
        while len(others) < 3 and min(gaps, default=9) > 1:
            other = Counting(server.url, tmp_path, f"other{len(others)}")
            others.append(other)
            async with running(other.app):
                await eventually(lambda: len(first.partitions) == 2, 20)
                await eventually(lambda other=other: len(other.processed) > 100, 20)
            await eventually(lambda: first.partitions == {0, 1, 2, 3}, 20)
            gaps.append(longest_gap(first, other))
        await feed.stop()
        await eventually(lambda: all(first.app.jetstream.caught_up(p) for p in range(4)), 20)
        assert sum(part["n"] for part in first.table.parts.values()) == feed.sent
    done = Counter(first.processed)
    for other in others:
        done.update(other.processed)
    assert len(done) == feed.sent and max(done.values()) == 1, "something was repeated"
    assert min(gaps) < 1, gaps
    await api.close()


def longest_gap(first: Counting, other: Counting) -> float:
    """Longest time in which nothing of a partition that moved was processed, seconds."""
    moved = {partition for partition, _ in other.processed}
    times: dict[int, list[float]] = {partition: [] for partition in moved}
    for counting in (first, other):
        for (partition, _), at in zip(counting.processed, counting.times, strict=True):
            if partition in moved:
                times[partition].append(at)
    gaps = [
        after - before
        for each in times.values()
        for before, after in itertools.pairwise(sorted(each))
        if after > other.times[0] - 1
    ]
    return max(gaps)


async def test_a_killed_members_partitions_move_within_the_lease_plus_a_second(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 4)
    victim = Worker("churn", "a-victim", tmp_path, NATS=server.url, LEASE="2")
    other = Worker("churn", "b-other", tmp_path, NATS=server.url, LEASE="2")
    try:
        await eventually(lambda: _last_assignment(victim) and _last_assignment(other), 30)
        await eventually(
            lambda: {len(_last_assignment(victim)), len(_last_assignment(other))} == {2}, 30
        )
        victim.kill()
        killed = time.monotonic()
        await eventually(lambda: len(_last_assignment(other)) == 4, 20)
        # Lease and a second; and another for a machine on which other programs run, too.
        assert time.monotonic() - killed < 2 + 1 + 1
    finally:
        victim.kill()
        other.kill()
        await api.close()


async def test_the_only_worker_killed_and_started_again_resumes_at_once(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 4)
    environment = {"NATS": server.url, "LEASE": "30"}
    first = Worker("churn", "stable", tmp_path, **environment)
    try:
        await eventually(lambda: len(_last_assignment(first)) == 4, 30)
        first.kill()
        before = first.text()
        began = time.monotonic()
        first = Worker("churn", "stable", tmp_path, **environment)
        await eventually(
            lambda: "rebalanced to partitions [0, 1, 2, 3]" in first.text()[len(before) :], 15
        )
        assert time.monotonic() - began < 10, "waited for the lease of its former self"
    finally:
        first.kill()
        await api.close()


async def test_a_worker_that_died_long_ago_is_not_waited_for(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 4)
    environment = {"NATS": server.url, "LEASE": "4"}
    dead = Worker("churn", "dead", tmp_path, **environment)
    try:
        await eventually(lambda: len(_last_assignment(dead)) == 4, 30)
        dead.kill()
        killed = time.monotonic()
        while time.monotonic() - killed < 4.5:
            await asyncio.sleep(0.1)
        other = Counting(server.url, tmp_path, "other", app_id="churn", lease=4.0)
        began = time.monotonic()
        async with running(other.app):
            await eventually(lambda: other.partitions == {0, 1, 2, 3}, 10)
            assert time.monotonic() - began < 3, "waited for the lease of the dead"
    finally:
        dead.kill()
        await api.close()


async def test_the_group_goes_on_after_its_records_were_lost(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 4)
    first, second = (Counting(server.url, tmp_path, name) for name in ("one", "two"))
    async with running(first.app):
        await eventually(lambda: first.partitions == {0, 1, 2, 3})
        stream = first.app.jetstream.names.group_stream()
        for subject in ("assignment", "leader"):
            await api(
                f"STREAM.PURGE.{stream}",
                {"filter": f"{first.app.jetstream.names.group_root()}.{subject}"},
            )
        async with running(second.app):
            await eventually(lambda: len(first.partitions) == len(second.partitions) == 2, 15)
    await api.close()


async def test_a_busy_event_loop_does_not_cost_the_membership(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 4)
    busy = Counting(server.url, tmp_path, "busy", lease=1.0, heartbeat=0.2)
    other = Worker("churn", "unused", tmp_path, NATS=server.url)
    other.kill()
    async with running(busy.app):
        await eventually(lambda: busy.partitions == {0, 1, 2, 3})
        rebalances = busy.app.consumer.coordinator.rebalances
        beat = busy.app.consumer.coordinator.membership
        before = beat.heartbeat_at
        time.sleep(2.5)
        assert beat.heartbeat_at - before > 1.5, "no heartbeat while the loop was busy"
        await asyncio.sleep(0.3)
        assert busy.app.consumer.coordinator.rebalances == rebalances
    await api.close()


async def test_a_loop_that_stands_still_for_too_long_loses_its_partitions(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 4)
    still = Counting(server.url, tmp_path, "still", lease=1.0, heartbeat=0.2, stall_limit=0.5)
    async with running(still.app):
        await eventually(lambda: still.partitions == {0, 1, 2, 3})
        membership = still.app.consumer.coordinator.membership
        before = membership.heartbeat_at
        time.sleep(2.0)
        assert membership.heartbeat_at - before < 1.0
    await api.close()


async def test_of_two_processes_with_one_member_id_the_older_one_stops(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 4)
    old = Counting(server.url, tmp_path, "twin")
    crashed: list[BaseException] = []

    async def crash(error: BaseException) -> None:
        crashed.append(error)

    async with running(old.app):
        await eventually(lambda: old.partitions)
        old.app.crash = crash
        new = Counting(server.url, tmp_path, "twin")
        async with running(new.app):
            await eventually(lambda: crashed)
            assert isinstance(crashed[0], DuplicateMemberError)
            await eventually(lambda: new.partitions == {0, 1, 2, 3}, 5)
    await api.close()


async def test_timers_on_the_leader_run_on_one_worker_and_move_when_it_leaves(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 4)
    ticks: dict[str, int] = Counter()

    def build(member: str) -> Counting:
        counting = Counting(server.url, tmp_path, member)

        @counting.app.timer(0.05, on_leader=True)
        async def tick() -> None:
            ticks[member] += 1

        return counting

    first, second = build("one"), build("two")
    async with running(second.app):
        async with running(first.app):
            await eventually(lambda: second.app.is_leader() and ticks["two"] > 5)
            assert not first.app.is_leader() and ticks["one"] == 0
            third = build("three")
        async with running(third.app):
            assert not third.app.is_leader()
    async with running(third_again := build("four").app):
        await eventually(lambda: third_again.is_leader() and ticks["four"] > 3, 5)
    await api.close()


async def test_two_apps_on_one_stream_do_not_disturb_each_other(
    server: Server, tmp_path: Path
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", 2)
    counts: dict[str, int] = Counter()

    def build(app_id: str) -> Any:
        app = make_app(app_id, server.url, tmp_path)
        raw = app.jetstream.bind_topic("raw", stream="RAW")
        table = app.Table("same-name", default=int)

        @app.agent(raw)
        async def agent(stream: faust.Stream) -> None:
            async for _ in stream:
                table["n"] += 1
                counts[app_id] += 1

        return app

    async with running(build("app.one"), build("app_one")):
        for number in range(100):
            await api.client.publish(f"raw.a.n{number}", b"")
        await eventually(lambda: counts == {"app.one": 100, "app_one": 100})
    await api.close()


def _last_assignment(worker: Worker) -> str:
    """Digits of the partitions that a worker says it got last."""
    line = worker.text().rpartition("rebalanced to partitions [")[2].partition("]")[0]
    return (
        "".join(character for character in line if character.isdigit()) if "\n" not in line else ""
    )
