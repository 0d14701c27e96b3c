"""A worker that was frozen wakes up after its partitions moved: it cannot write one message."""

import base64
from pathlib import Path

import orjson

from stream.faust_jetstream.names import Names
from tests.stream.faust_jetstream.servers import Api, Server
from tests.stream.faust_jetstream.workers import Worker
from tests.support.polling import eventually

NAMES = Names("faust", "churn")
PARTITIONS = 2


async def test_a_frozen_worker_that_wakes_up_late_writes_nothing_but_its_next_fence(
    server: Server, tmp_path: Path, rounds: int
) -> None:
    api = await Api.connect(server.url)
    await api.create_partitioned("RAW", "raw", PARTITIONS)
    environment = {"NATS": server.url, "PARTITIONS": str(PARTITIONS), "LEASE": "2"}
    try:
        for number in range(rounds):
            await one_round(api, tmp_path, environment, number)
    finally:
        await api.close()


async def one_round(api: Api, folder: Path, environment: dict[str, str], number: int) -> None:
    # This one commits only when it is told to give a partition up.
    frozen = Worker("churn", f"frozen{number}", folder, COMMIT_INTERVAL="1000", **environment)
    other = None
    try:
        messages = (await api.state("RAW"))["messages"]
        for key in range(100):
            await api.client.publish(f"raw.lines.n{key}", b"a b c")
        expected = messages + 100
        await eventually(lambda: "PROCESSED 100 " in frozen.text(), 30, "processed")
        assert (await api.state("RESULTS"))["messages"] == messages, "it was to commit nothing"
        frozen.freeze()
        other = Worker("churn", f"other{number}", folder, **environment)

        async def taken_over() -> bool:
            return (await api.state("RESULTS"))["messages"] == expected

        await eventually(taken_over, 30, "the other worker's results")
        before = {p: await picture(api, p) for p in range(PARTITIONS)}
        assert {by for _, by, _ in before.values()} == {f"other{number}"}
        frozen.thaw()
        await eventually(
            lambda: "was taken over by" in frozen.text() or "rebalanced" in after_thaw(frozen),
            30,
            "the frozen worker noticed",
        )

        async def shared() -> bool:
            owners = {(await picture(api, p))[1] for p in range(PARTITIONS)}
            return owners == {f"other{number}", f"frozen{number}"}

        await eventually(shared, 30, "both own a partition")
        for partition in range(PARTITIONS):
            last, owner, epoch = await picture(api, partition)
            if owner == f"frozen{number}":
                assert epoch == last == before[partition][0] + 1, "something preceded its fence"
            else:
                assert (last, owner, epoch) == before[partition]
        assert (await api.state("RESULTS"))["messages"] == expected
    finally:
        frozen.kill()
        if other is not None:
            other.kill()


def after_thaw(worker: Worker) -> str:
    return worker.text().rpartition("rebalanced to partitions [0, 1]")[2]


async def picture(api: Api, partition: int) -> tuple[int, str, int]:
    """Last sequence of a state stream, and who fenced it at which sequence."""
    stream, root = NAMES.state_stream(partition), NAMES.state_root(partition)
    message = (await api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": f"{root}.epoch"}))["message"]
    record = orjson.loads(base64.b64decode(message["data"]))
    return (await api.state(stream))["last_seq"], record["member"], message["seq"]
