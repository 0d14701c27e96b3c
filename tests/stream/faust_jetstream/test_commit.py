"""One partition's commit: all of it or nothing, fenced, recovered, whatever the server does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson
import pytest

from stream.faust_jetstream import (
    BatchTooLargeError,
    ConfigurationError,
    FencedError,
    MessageTooLargeError,
    NotAssignedError,
    StaleEventError,
)
from stream.faust_jetstream.atomic import BatchMessage, frames
from stream.faust_jetstream.names import Names
from stream.faust_jetstream.ownership import SupersededError, fence, read_record
from tests.stream.faust_jetstream.contexts import context, own, process
from tests.stream.faust_jetstream.servers import Api, Server
from tests.support.polling import eventually

NAMES = Names("faust", "app")
STATE = NAMES.state_stream(0)
ROOT = NAMES.state_root(0)


@asynccontextmanager
async def raw_stream(server: Server) -> AsyncIterator[Api]:
    api = await Api.connect(server.url)
    await api("STREAM.CREATE.RAW", {"name": "RAW", "subjects": ["part.>"], "storage": "file"})
    try:
        yield api
    finally:
        await api.close()


async def test_state_results_and_offset_are_committed_together_and_recovered(
    server: Server,
) -> None:
    async with raw_stream(server) as api:
        async with context(server.url) as first:
            partition = await own(first)
            assert first.commit_number(0) == 1
            process(partition, {"a": 1, "b": {"x": [1, 2]}}, results=2)
            process(partition, {"gone": 1})
            process(partition, {"gone": None})
            assert await first.commit(0)
            assert first.commit_number(0) == 2
            sequence = (await api.state(STATE))["last_seq"]
            offset = await read_record(first.connection, STATE, f"{ROOT}.offset")
            assert offset.value == {"commit": 1, "offsets": {"raw": 4}}
            assert offset.sequence == sequence == partition.sequence
        async with context(server.url, member="b") as second:
            partition = await own(second, generation=2)
            assert dict(partition.tables["t"]) == {"a": 1, "b": {"x": [1, 2]}}
            assert partition.offsets == {"raw": 4}
            assert second.commit_number(0) == 2
            results = await eventually(lambda: api.read("RESULTS"), what="results")
            assert [payload for _, payload, _ in results] == [b"1.0", b"1.1"]


async def test_keys_and_values_of_every_kind_survive_a_recovery(server: Server) -> None:
    values = {
        "text": "ü",
        ("tuple", 1): [1, 2],
        7: 1.5,
        b"\x00\xff": {"a": None},
        "": True,
        "dots.and *>": "x" * 5000,
        ("nested", ("k", b"v")): {},
    }
    async with raw_stream(server):
        async with context(server.url) as first:
            partition = await own(first)
            partition.tables["t"].update(values)
            assert await first.commit()
        async with context(server.url) as second:
            assert dict((await own(second, generation=1)).tables["t"]) == values


async def test_a_commit_without_changes_writes_nothing(server: Server) -> None:
    async with raw_stream(server) as api, context(server.url) as jetstream:
        partition = await own(jetstream)
        process(partition, {"a": 1})
        await jetstream.commit()
        before = await api.state(STATE)
        assert await jetstream.commit()
        assert (await api.state(STATE))["last_seq"] == before["last_seq"]


async def test_results_leave_the_outbox_only_when_the_sourcing_stream_has_them(
    server: Server,
) -> None:
    async with (
        raw_stream(server) as api,
        context(server.url, outbox_check_interval=0.1) as jetstream,
    ):
        partition = await own(jetstream)
        sources = (await api("STREAM.INFO.RESULTS"))["config"]
        without = {**sources, "sources": []}
        await api("STREAM.UPDATE.RESULTS", without)
        for number in range(5):
            process(partition, {f"k{number}": number}, results=3)
        await jetstream.commit()
        for _ in range(3):
            await jetstream.engine.cleaner.clean()
        kept = await api.read(STATE, f"{ROOT}.out.>")
        assert len(kept) == 15
        assert len({subject for subject, _, _ in kept}) == 15
        await api("STREAM.UPDATE.RESULTS", sources)

        async def removed() -> bool:
            return not await api.read(STATE, f"{ROOT}.out.>")

        await eventually(removed, 15, "outbox empty")
        assert len(await api.read("RESULTS")) == 15


async def test_results_of_a_dead_owner_are_removed_by_the_next(server: Server) -> None:
    async with raw_stream(server) as api:
        async with context(server.url, outbox_check_interval=1000) as first:
            partition = await own(first)
            process(partition, {"a": 1}, results=4)
            await first.commit()

            async def arrived() -> bool:
                return len(await api.read("RESULTS")) == 4

            await eventually(arrived)
            assert len(await api.read(STATE, f"{ROOT}.out.>")) == 4
        async with context(server.url, member="b", outbox_check_interval=0.1) as second:
            await own(second, generation=2)

            async def removed() -> bool:
                return not await api.read(STATE, f"{ROOT}.out.>")

            await eventually(removed, 10)
            assert len(await api.read("RESULTS")) == 4


async def test_the_outbox_stream_also_takes_plain_publishes(server: Server) -> None:
    async with raw_stream(server) as api, context(server.url) as jetstream:
        partition = await own(jetstream)
        await jetstream.publisher.publish("results.live", b"provisional")
        await jetstream.publisher.flush()
        partition.send("results.live", b"final", {"Kind": "final"})
        await jetstream.commit()

        async def both() -> bool:
            return len(await api.read("RESULTS", "results.live")) == 2

        await eventually(both)
        last = (await api.read("RESULTS", "results.live"))[-1]
        assert last[1] == b"final" and last[2]["Kind"] == "final"


async def test_several_apps_send_results_to_one_stream(server: Server) -> None:
    async with (
        raw_stream(server) as api,
        context(server.url) as one,
        context(server.url, app_id="other") as other,
    ):
        partitions = await asyncio.gather(own(one), own(other))
        for partition, jetstream in zip(partitions, (one, other), strict=True):
            process(partition, {"a": 1}, results=3)
            await jetstream.commit()

        async def arrived() -> bool:
            return len(await api.read("RESULTS")) == 6

        await eventually(arrived)


async def test_a_frozen_owner_cannot_write_one_message_after_a_takeover(server: Server) -> None:
    async with (
        raw_stream(server) as api,
        context(server.url) as zombie,
        context(server.url, member="b") as owner,
    ):
        old = await own(zombie, generation=1)
        process(old, {"a": 1}, results=1)
        await zombie.commit()
        process(old, {"a": 2, "b": 2}, results=5)
        new = await own(owner, generation=2)
        assert dict(new.tables["t"]) == {"a": 1}
        before = await api.state(STATE)
        assert not await zombie.commit()
        assert isinstance(old.failure, FencedError) and old.failure.owner == "b"
        after = await api.state(STATE)
        assert (after["last_seq"], after["messages"]) == (before["last_seq"], before["messages"])
        process(new, {"a": 3})
        assert await owner.commit()
        with pytest.raises(StaleEventError):
            old.tables["t"]["a"] = 9


async def test_an_old_generation_cannot_fence_a_newer_one(server: Server) -> None:
    async with (
        raw_stream(server),
        context(server.url) as late,
        context(server.url, member="b") as owner,
    ):
        await late.prepare({"raw"})
        new = await own(owner, generation=5)
        with pytest.raises(SupersededError):
            await late.engine.acquire(0, 4)
        process(new, {"a": 1})
        assert await owner.commit()


async def test_a_lost_answer_is_decided_by_the_offset_record(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch was committed, the answer was lost: it must not be sent again as another one."""
    async with raw_stream(server) as api, context(server.url, commit_try_timeout=0.3) as jetstream:
        partition = await own(jetstream)
        dropped = []
        forward = jetstream.connection._on_reply

        async def lossy(message: object) -> None:
            if b'"batch"' in message.data and len(dropped) < 1:  # type: ignore[attr-defined]
                dropped.append(message)
                return
            await forward(message)  # type: ignore[arg-type]

        inbox = jetstream.connection._reply_prefix
        for subscription in jetstream.connection.client._subs.values():
            if subscription.subject == f"{inbox}.*":
                subscription._cb = lossy
        process(partition, {"a": 1}, results=1)
        assert await jetstream.commit()
        assert dropped
        process(partition, {"a": 2}, results=1)
        assert await jetstream.commit()

        async def results() -> bool:
            return len(await api.read("RESULTS")) == 2

        await eventually(results)
        assert jetstream.engine.committer.retries == 1
        assert partition.commits == 2


async def test_the_broker_killed_in_the_middle_of_a_batch_leaves_nothing_of_it(
    server: Server, rounds: int
) -> None:
    async with raw_stream(server) as api, context(server.url) as jetstream:
        partition = await own(jetstream)
        process(partition, {f"k{number}": 0 for number in range(50)}, results=5)
        await jetstream.commit()
        for round_number in range(1, rounds + 2):
            process(partition, {f"k{number}": round_number for number in range(50)}, results=5)
            # What the commit would send, cut off in the middle of a message.
            messages = [BatchMessage(f"{ROOT}.t.t.torn{n}", b"torn") for n in range(100)]
            torn = frames(messages, partition.sequence, f"torn{round_number}", "x.1", "x.2")
            jetstream.connection.write(torn[: len(torn) // 2].rpartition(b"HPUB ")[0])
            await jetstream.connection.client.flush()
            server.kill()
            committing = asyncio.ensure_future(jetstream.commit())
            await asyncio.sleep(0)
            server.start()
            assert await committing
            stored = await api.read(STATE, f"{ROOT}.t.t.*")
            assert {payload for _, payload, _ in stored} == {b"%d" % round_number}
            offset = await read_record(jetstream.connection, STATE, f"{ROOT}.offset")
            assert offset.value["commit"] == round_number + 1
            assert offset.value["offsets"] == {"raw": round_number + 2}

            async def results(wanted: int = 5 * (round_number + 1)) -> bool:
                found = await api.read("RESULTS")
                assert len(found) == len({payload for _, payload, _ in found})
                return len(found) == wanted

            await eventually(results, 30, "results")


async def test_the_server_away_for_long_only_delays_the_commit(server: Server) -> None:
    async with raw_stream(server), context(server.url) as jetstream:
        partition = await own(jetstream)
        process(partition, {"a": 1})
        server.kill()
        committing = asyncio.ensure_future(jetstream.commit())
        done, _ = await asyncio.wait([committing], timeout=2)
        assert not done and partition.alive
        server.start()
        assert await asyncio.wait_for(committing, 20)


async def test_a_full_state_stream_only_delays_the_commit(server: Server) -> None:
    async with raw_stream(server) as api, context(server.url) as jetstream:
        partition = await own(jetstream)
        config = (await api(f"STREAM.INFO.{STATE}"))["config"]
        await api(f"STREAM.UPDATE.{STATE}", {**config, "max_bytes": 2000})
        process(partition, {"a": "x" * 10_000})
        committing = asyncio.ensure_future(jetstream.commit())
        done, _ = await asyncio.wait([committing], timeout=1)
        assert not done and partition.alive
        await api(f"STREAM.UPDATE.{STATE}", config)
        assert await asyncio.wait_for(committing, 20)


async def test_commits_happen_by_size_between_events(server: Server) -> None:
    async with (
        raw_stream(server),
        context(server.url, commit_messages=10, batch_limit=25) as jetstream,
    ):
        partition = await own(jetstream)
        for event in range(20):
            process(partition, {f"k{event}.{n}": n for n in range(7)})
        await eventually(lambda: partition.commits >= 10, 10)
        assert await jetstream.commit()
        assert jetstream.engine.committer.messages < 25 * partition.commits


async def test_one_event_that_changes_too_much_is_a_clear_error_and_writes_nothing(
    server: Server,
) -> None:
    async with (
        raw_stream(server) as api,
        context(server.url, commit_messages=10, batch_limit=25) as jetstream,
    ):
        crashed: list[Exception] = []
        jetstream.crash = crashed.append  # type: ignore[method-assign]
        partition = await own(jetstream)
        before = await api.state(STATE)
        process(partition, {f"k{n}": n for n in range(30)})
        assert not await jetstream.commit()
        assert isinstance(crashed[0], BatchTooLargeError)
        assert crashed[0].messages == 31 and crashed[0].limit == 25
        assert (await api.state(STATE))["last_seq"] == before["last_seq"]


async def test_a_value_above_max_payload_is_a_clear_error_and_keeps_the_connection(
    server: Server,
) -> None:
    async with raw_stream(server), context(server.url) as jetstream:
        crashed: list[Exception] = []
        jetstream.crash = crashed.append  # type: ignore[method-assign]
        partition = await own(jetstream)
        process(partition, {"big": "x" * (1 << 20)})
        assert not await jetstream.commit()
        assert isinstance(crashed[0], MessageTooLargeError)
        assert jetstream.connection.connected and not jetstream.connection.reconnects


async def test_a_batch_limit_above_the_servers_is_refused_at_start(server: Server) -> None:
    async with raw_stream(server) as api, context(server.url, batch_limit=1001) as jetstream:
        with pytest.raises(ConfigurationError, match="batch_limit = 1001"):
            await jetstream.prepare({"raw"})
        assert (await api.state(STATE))["last_seq"] == 0


async def test_a_higher_limit_of_the_server_can_be_used(make_server: Callable[..., Server]) -> None:
    server = make_server()
    server.stop()
    server.jetstream = "limits { batch { max_msgs: 5000 } }"
    server.start()
    async with raw_stream(server), context(server.url, batch_limit=5000) as jetstream:
        partition = await own(jetstream)
        partition.tables["t"].update({f"k{n}": n for n in range(4000)})
        assert await jetstream.commit()
        assert partition.commits == 1


async def test_hooks_see_the_commit_in_order(server: Server) -> None:
    async with raw_stream(server), context(server.url) as jetstream:
        seen: list[tuple[str, int]] = []
        jetstream.on_partition_recovered(lambda p: seen.append(("recovered", p)))
        jetstream.on_partition_revoked(lambda p: seen.append(("revoked", p)))

        @jetstream.on_snapshot
        def snapshot(number: int) -> None:
            seen.append(("snapshot", jetstream.commit_number(number)))
            partition.tables["t"]["by hook"] = 1

        @jetstream.before_commit
        async def before(number: int) -> None:
            seen.append(("before", partition.commits))

        partition = await own(jetstream)
        process(partition, {"a": 1})
        await jetstream.commit()
        await jetstream.engine.release(0)
        assert seen == [("recovered", 0), ("snapshot", 1), ("before", 0), ("revoked", 0)]
        with pytest.raises(NotAssignedError):
            jetstream.commit_number(0)
        partition = await own(jetstream)
        assert partition.tables["t"]["by hook"] == 1


async def test_a_foreign_writer_of_the_state_stream_is_noticed(server: Server) -> None:
    async with raw_stream(server) as api, context(server.url) as jetstream:
        partition = await own(jetstream)
        process(partition, {"a": 1})
        await jetstream.commit()
        await api.client.request(f"{ROOT}.offset", orjson.dumps({"commit": 77, "offsets": {}}))
        process(partition, {"a": 2})
        assert not await jetstream.commit()
        assert "holds commit 77" in str(partition.failure)


async def test_recovery_reads_tens_of_thousands_of_keys_whole(server: Server) -> None:
    """How fast is a matter for the benchmark; that nothing is missing is one for a test."""
    async with raw_stream(server) as api, context(server.url) as jetstream:
        await jetstream.prepare({"raw"})
        for number in range(30_000):
            await api.client.publish(f"{ROOT}.t.t.{_token(number)}", b"%d" % number)
        await api.client.flush()

        async def stored() -> bool:
            return (await api.state(STATE))["messages"] == 30_000

        await eventually(stored, 30)
        partition = await own(jetstream)
        assert len(partition.tables["t"]) == 30_000
        assert all(partition.tables["t"][n] == n for n in range(0, 30_000, 997))


def _token(number: int) -> str:
    from stream.faust_jetstream.names import key_token

    return key_token(b"%d" % number)


async def test_a_second_fence_in_the_same_generation_wins(server: Server) -> None:
    async with raw_stream(server), context(server.url) as jetstream:
        await jetstream.prepare({"raw"})
        first, one = await fence(jetstream.connection, NAMES, 0, 3, "a")
        second, two = await fence(jetstream.connection, NAMES, 0, 3, "a")
        assert second > first and one != two
