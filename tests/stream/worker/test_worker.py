"""The worker on a real broker: exact through kills and restarts, live, drained, replayed."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from stream.contract.kinds.file import FileEvent
from stream.contract.kinds.process import ProcessEvent
from tests.support.polling import eventually
from tests.support.raw_log import RawLog, RawMessage, Run, at, process

NODES = ("node-a", "node-b", "node.c")


def make_log(seconds: int, seed: int = 1) -> RawLog:
    """Several nodes at work; the last progress closes everything."""
    chance = random.Random(seed)
    log = RawLog()
    for second in range(seconds):
        for node in NODES:
            for number in range(chance.randrange(1, 8)):
                run: dict[str, Any] = {
                    "pid": chance.randrange(9), "ppid": 1, "uid": 0, "comm": "gcc",
                    "exec_id": f"{node}-{second}-{number}", "exe": "/usr/bin/gcc",
                    "argv": ["gcc", "main.c"], "cgroup": "/user.slice",
                    "hostname": f"jcode-os-1-{chance.randrange(5)}",
                }  # fmt: skip
                log.add(node, ProcessEvent(ts=at(second + 0.1), action="exec", **run))
                run |= {"duration_us": 5, "exit_code": chance.choice([0, 1])}
                log.add(node, ProcessEvent(ts=at(second + 0.2), action="exit", **run))
            log.add(
                node,
                FileEvent(
                    ts=at(second), action="modified", path=f"/f{chance.randrange(9)}",
                    size=chance.randrange(99),
                ),
            )  # fmt: skip
            for kind in ("process", "file"):
                log.progress(node, kind, second + 0.5)
    for node in NODES:
        for kind in ("process", "file"):
            log.progress(node, kind, seconds + 30)
    return log


def comparable(rows: list[dict[str, Any]]) -> dict[Any, Any]:
    return Run(rows=rows).last_rows()


def identities(lines: list[dict[str, Any]], kind: str) -> list[tuple[str, str, int]]:
    field = {"process": "exec_id", "file": "path", "progress": "producer"}[kind]
    return [(each["node"], each["boot"], each["seq"]) for each in lines if field in each]


async def all_windows_closed(pipeline: Any, expected: dict[Any, Any]) -> dict[Any, Any]:
    """Wait until there are as many events in final rows as expected; give the last rows of all."""

    def counted(rows: dict[Any, Any]) -> int:
        return sum(row["samples"] for row in rows.values() if row["final"])

    async def closed() -> dict[Any, Any] | None:
        rows = comparable(await pipeline.lines("BUCKETS"))
        return rows if counted(rows) >= counted(expected) else None

    found = await eventually(closed, 40, "all windows closed", interval=0.3)
    assert found is not None
    return found


async def test_killed_again_and_again_it_counts_exactly(pipeline: Any, rounds: int) -> None:
    log = make_log(40 * rounds)
    messages = log.messages(20)
    expected = process(messages).last_rows()
    worker = pipeline.worker()
    chance = random.Random(rounds)
    third = len(messages) // 3
    for part in (messages[:third], messages[third : 2 * third], messages[2 * third :]):
        publishing = asyncio.create_task(pipeline.publish(part))

        async def some_events() -> bool:
            return (await pipeline.jetstream.stream_info("EVENTS")).state.messages > 0

        await eventually(some_events, 30)
        await asyncio.sleep(chance.random() * 0.5)
        worker.kill()
        await publishing
        worker = pipeline.worker()
    assert await all_windows_closed(pipeline, expected) == expected
    events = await pipeline.lines("EVENTS")
    for kind in ("process", "file"):
        wanted = {(e.node, e.boot, e.seq) for name, e in log.events if name == kind}
        assert set(identities(events, kind)) == wanted
    final = [row for row in await pipeline.lines("BUCKETS") if row["final"]]
    versions = [
        (row["kind"], row["scope"], row["node"], row["window_start"], row.get("student"),
         row["version"])
        for row in final
    ]  # fmt: skip
    assert len(versions) == len(set(versions))
    assert worker.terminate() == 0


@pytest.mark.parametrize("pipeline", [4], indirect=True)
async def test_several_workers_share_the_partitions_and_survive_each_other(pipeline: Any) -> None:
    log = make_log(30, seed=2)
    messages = log.messages(10)
    expected = process(messages).last_rows()
    workers = [pipeline.worker(f"worker-{number}") for number in range(2)]
    half = len(messages) // 2
    await pipeline.publish(messages[:half])
    for worker in workers:
        await eventually(lambda worker=worker: "is ours" in worker.text, 30, "partitions shared")
    workers[0].kill()
    await pipeline.publish(messages[half:])
    assert await all_windows_closed(pipeline, expected) == expected
    assert workers[1].terminate() == 0


async def test_the_broker_may_restart_under_load(pipeline: Any) -> None:
    log = make_log(30, seed=3)
    messages = log.messages(10)
    expected = process(messages).last_rows()
    worker = pipeline.worker()
    half = len(messages) // 2
    await pipeline.publish(messages[:half])
    await eventually(lambda: "is ours" in worker.text, 30)
    await asyncio.to_thread(pipeline.server.kill)
    await asyncio.to_thread(pipeline.server.start)
    await eventually(lambda: pipeline.client.is_connected and pipeline.connection.connected, 20)
    await pipeline.publish(messages[half:])
    assert await all_windows_closed(pipeline, expected) == expected
    assert worker.process.poll() is None


async def test_a_stop_drains_and_the_next_worker_goes_on(pipeline: Any) -> None:
    log = make_log(20, seed=4)
    messages = log.messages(10)
    expected = process(messages).last_rows()
    half = len(messages) // 2
    await pipeline.publish(messages[:half])
    worker = pipeline.worker()

    async def lag() -> bool:
        _, text = await worker.get("/metrics")
        return 'lag_messages{partition="0"} 0\n' in text

    await eventually(lag, 30)
    assert (await worker.get("/ping"))[1] == "pong\n"
    assert (await worker.get("/ready"))[0] == 200
    assert worker.terminate() == 0
    before = len(await pipeline.stored("EVENTS"))
    assert before == half
    worker = pipeline.worker()
    await pipeline.publish(messages[half:])
    assert await all_windows_closed(pipeline, expected) == expected
    assert len(await pipeline.stored("EVENTS")) == len(messages)


async def test_a_replay_run_gives_the_same_last_rows_on_streams_of_its_own(pipeline: Any) -> None:
    log = make_log(20, seed=5)
    messages = log.messages(10)
    live = pipeline.worker()
    await pipeline.publish(messages)
    expected = process(messages).last_rows()
    rows = await all_windows_closed(pipeline, expected)
    live_state = (await pipeline.jetstream.stream_info("EVENTS")).state.messages
    await pipeline.jetstream.ensure_stream(
        {
            "name": "REPLAY_r1_RAW",
            "subjects": ["replay.r1.raw.*.*"],
            "subject_transform": {
                "src": "replay.r1.raw.*.*",
                "dest": "part.{{partition(1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}",
            },
        }
    )
    await pipeline.publish(messages, prefix="replay.r1.")
    pipeline.worker("replayer", WORKER_RUN="r1")

    async def done() -> dict[Any, Any] | None:
        names = await pipeline.jetstream.stream_names()
        if "REPLAY_r1_BUCKETS" not in names:
            return None
        found = comparable(await pipeline.lines("REPLAY_r1_BUCKETS"))
        return (
            found if len(found) >= len(rows) and all(r["final"] for r in found.values()) else None
        )

    assert await eventually(done, 40, interval=0.3) == rows
    assert (await pipeline.jetstream.stream_info("EVENTS")).state.messages == live_state
    assert len(await pipeline.stored("REPLAY_r1_EVENTS")) == len(messages)
    assert live.process.poll() is None


async def test_rules_are_read_again_when_their_file_changes(pipeline: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rule = "rules: [{field: hostname, pattern: '^jcode-(?P<course>[a-z]+)-1-(?P<student>.+)'}]"
    rules.write_text("rules: []\n")
    worker = pipeline.worker(WORKER_RULES_FILE=str(rules), WORKER_RULES_CHECK_SECONDS="0.1")
    await eventually(lambda: "is ours" in worker.text, 30)
    rules.write_text("rules: [\n")
    await eventually(lambda: "the identity rules stay as they were" in worker.text, 10)
    rules.write_text(rule)
    await eventually(lambda: "identity rules" in worker.text.rpartition("stay")[2], 10)
    log = RawLog()
    seen: list[Any] = []

    async def identified() -> bool:
        run: dict[str, Any] = {
            "action": "exec", "pid": 1, "ppid": 0, "uid": 0, "comm": "x",
            "hostname": "jcode-os-1-7",
        }  # fmt: skip
        log.add("node-a", ProcessEvent(ts=at(0), exec_id=str(len(log.events)), **run))
        await pipeline.publish(log.messages(1)[-1:])
        seen[:] = await pipeline.stored("EVENTS")
        return bool(seen) and b'"student":"7"' in seen[-1].data

    await eventually(identified, 15, interval=0.2)
    assert seen[-1].headers["Tenwatch-Rules"] != seen[0].headers["Tenwatch-Rules"]


async def test_provisional_rows_appear_while_a_window_is_open(pipeline: Any) -> None:
    pipeline.worker()
    log = RawLog()
    log.add("node-a", FileEvent(ts=at(1), action="created", path="/x", size=1))
    await pipeline.publish(log.messages())

    async def rows() -> list[Any]:
        return await pipeline.lines("BUCKETS")

    found = await eventually(rows, 20)
    assert {row["final"] for row in found} == {False}
    log.progress("node-a", "file", 30)
    await pipeline.publish(log.messages()[1:])

    async def final() -> bool:
        return any(row["final"] for row in await rows())

    await eventually(final, 10)
    newest = comparable(await rows())
    assert all(row["final"] for row in newest.values())


BUG = """
from stream.worker.processor import Processor
process = Processor.process
def broken(self, key, headers, payload, offset, stored_at=0.0):
    found = process(self, key, headers, payload, offset, stored_at)
    if offset == 9:
        raise RuntimeError("a bug")
    return found
Processor.process = broken
"""


async def test_a_bug_ends_the_worker_and_skips_no_message(pipeline: Any) -> None:
    log = make_log(10, seed=6)
    messages = log.messages(10)
    expected = process(messages).last_rows()
    worker = pipeline.worker(broken=BUG)
    await pipeline.publish(messages)
    assert await asyncio.to_thread(worker.process.wait, 40) == 1
    assert "offset 9 can't be processed" in worker.text
    pipeline.worker()
    assert await all_windows_closed(pipeline, expected) == expected


async def test_a_dead_producers_last_window_is_closed_when_it_stays_silent(pipeline: Any) -> None:
    pipeline.worker(WINDOWS_IDLE_SECONDS="0.5")
    log = RawLog()
    log.add("node-a", FileEvent(ts=at(1), action="created", path="/x", size=1))
    log.progress("node-a", "file", 2)
    await pipeline.publish(log.messages())

    async def final() -> bool:
        return any(row["final"] for row in await pipeline.lines("BUCKETS"))

    await eventually(final, 20)
    log.add("node-a", FileEvent(ts=at(3), action="created", path="/y", size=1))
    log.progress("node-a", "file", 30)
    await pipeline.publish(log.messages()[2:])
    expected = process(log.messages()).last_rows()
    assert await all_windows_closed(pipeline, expected) == expected


async def test_raw_is_emptied_only_below_what_was_committed(pipeline: Any) -> None:
    log = make_log(20, seed=7)
    messages = log.messages(1)
    expected = process(messages).last_rows()
    await pipeline.publish(messages)
    info = await pipeline.jetstream.stream_info("RAW")
    size = int(info.state.bytes / 0.9)
    await pipeline.jetstream.ensure_stream(info.config | {"max_bytes": size})
    pipeline.worker(WORKER_RAW_CHECK_SECONDS="0.1")
    assert await all_windows_closed(pipeline, expected) == expected

    async def emptied() -> bool:
        return (await pipeline.jetstream.stream_info("RAW")).state.bytes < 0.7 * size

    await eventually(emptied, 20)
    left = (await pipeline.jetstream.stream_info("RAW")).state
    assert left.first_seq > 1
    assert left.messages > 0.3 * len(messages)


async def test_it_waits_for_its_streams_and_ends_on_a_signal_meanwhile(pipeline: Any) -> None:
    await pipeline.jetstream.delete_stream("RAW")
    worker = pipeline.worker()
    await eventually(lambda: "does not exist yet" in worker.text, 20)
    assert (await worker.get("/ready"))[0] == 503
    assert worker.terminate() == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"WORKER_RULES_FILE": "/nowhere.yaml"}, "/nowhere.yaml: can't be read"),
        ({"WINDOWS_ALLOWED_LATENESS_SECONDS": "5"}, "allowed_lateness_seconds is 5"),
    ],
)
async def test_settings_that_can_not_work_are_told_and_end_it(
    pipeline: Any, settings: dict[str, str], message: str
) -> None:
    worker = pipeline.worker(**settings)
    assert await asyncio.to_thread(worker.process.wait, 20) != 0
    assert message in worker.text


def test_the_model_itself_counts_every_event() -> None:
    log = make_log(20)
    run = process(log.messages(10))
    counted = sum(
        row["samples"]
        for row in run.last_rows().values()
        if row["scope"] == "node" and row["final"]
    )
    assert counted == sum(kind != "progress" for kind, _ in log.events)
    assert isinstance(log.messages(1)[0], RawMessage)
