"""The streams are as defined, and a second start finds them so."""

from collections.abc import Callable

import pytest

from stream.broker.errors import ConfigMismatchError, NotFoundError, RequestTimeoutError
from stream.broker.jetstream import JetStream, differences
from stream.broker.publisher import AckedPublisher
from stream.broker.settings import StreamSettings
from stream.broker.streams import ensure_streams, stream_definitions
from tests.support.nats_server import NODE

MEBIBYTE = 1024 * 1024
SMALL = {
    "raw_max_bytes": 8 * MEBIBYTE,
    "events_max_bytes": 8 * MEBIBYTE,
    "buckets_max_bytes": 8 * MEBIBYTE,
    "dead_max_bytes": 8 * MEBIBYTE,
}
Connect = Callable


async def test_a_second_start_changes_nothing(connect: Connect) -> None:
    jetstream = JetStream(await connect())
    settings = StreamSettings(**SMALL)
    first = await ensure_streams(jetstream, settings)
    second = await ensure_streams(jetstream, settings)
    assert list(first) == ["RAW", "EVENTS", "BUCKETS", "DEAD"]
    for definition in stream_definitions(settings):
        name = definition["name"]
        assert differences(definition, second[name].config) == []
        assert first[name].created == second[name].created


async def test_sizes_can_change_and_what_others_have_set_stays(connect: Connect) -> None:
    jetstream = JetStream(await connect())
    await ensure_streams(jetstream, StreamSettings(**SMALL))
    before = (await jetstream.stream_info("BUCKETS")).config
    await jetstream.ensure_stream({"name": "OUT", "subjects": ["out.>"], "storage": "file"})
    with_source = before | {"sources": [{"name": "OUT"}]}
    await jetstream.ensure_stream(with_source)
    larger = StreamSettings(**(SMALL | {"buckets_max_bytes": 16 * MEBIBYTE}))
    after = (await ensure_streams(jetstream, larger))["BUCKETS"].config
    assert after["max_bytes"] == 16 * MEBIBYTE
    assert after["sources"][0]["name"] == "OUT"


async def test_the_number_of_partitions_can_not_change(connect: Connect) -> None:
    jetstream = JetStream(await connect())
    await ensure_streams(jetstream, StreamSettings(**SMALL, partitions=2))
    with pytest.raises(ConfigMismatchError, match="RAW exists with subject_transform"):
        await ensure_streams(jetstream, StreamSettings(**SMALL, partitions=4))


async def test_the_storage_can_not_change(connect: Connect) -> None:
    jetstream = JetStream(await connect())
    await jetstream.ensure_stream({"name": "X", "subjects": ["x"], "storage": "memory"})
    with pytest.raises(ConfigMismatchError, match="differs in storage"):
        await jetstream.ensure_stream({"name": "X", "subjects": ["x"], "storage": "file"})


async def test_a_node_stays_in_one_partition_whatever_the_kind(connect: Connect) -> None:
    jetstream = JetStream(await connect())
    await ensure_streams(jetstream, StreamSettings(**SMALL, partitions=4))
    publisher = AckedPublisher(await connect())
    places: dict[str, set[str]] = {}
    for number in range(20):
        for kind in ("process", "file", "progress"):
            ack = await publisher.publish_wait(f"raw.{kind}.node-{number}", b"x")
            token, partition, stored_kind, node = (
                await jetstream.message("RAW", ack.seq)
            ).subject.split(".")
            assert (token, stored_kind, node) == ("part", kind, f"node-{number}")
            places.setdefault(node, set()).add(partition)
    assert all(len(each) == 1 for each in places.values())
    assert {each for group in places.values() for each in group} == {"0", "1", "2", "3"}
    await publisher.close()


async def test_errors_say_what_was_asked_and_why_not(connect: Connect) -> None:
    jetstream = JetStream(await connect())
    with pytest.raises(NotFoundError) as caught:
        await jetstream.stream_info("NOWHERE")
    assert caught.value.err_code == 10059
    assert "STREAM.INFO.NOWHERE" in str(caught.value)
    await ensure_streams(jetstream, StreamSettings(**SMALL))
    with pytest.raises(NotFoundError):
        await jetstream.message("RAW", 99)
    with pytest.raises(NotFoundError):
        await jetstream.consumer_info("RAW", "nobody")
    refused = JetStream(await connect(f"producer-{NODE}"), timeout=0.3)
    with pytest.raises(RequestTimeoutError, match=r"(?i)permissions violation"):
        await refused.stream_info("RAW")


async def test_a_consumer_with_another_meaning_is_refused(connect: Connect) -> None:
    jetstream = JetStream(await connect())
    await ensure_streams(jetstream, StreamSettings(**SMALL))
    wanted = {"name": "sink", "durable_name": "sink", "ack_policy": "explicit"}
    made = await jetstream.ensure_consumer("EVENTS", wanted)
    assert (await jetstream.ensure_consumer("EVENTS", wanted)).name == made.name == "sink"
    changed = await jetstream.ensure_consumer("EVENTS", wanted | {"ack_wait": 60 * 10**9})
    assert changed.config["ack_wait"] == 60 * 10**9
    with pytest.raises(ConfigMismatchError, match="differs in ack_policy"):
        await jetstream.ensure_consumer("EVENTS", wanted | {"ack_policy": "all"})


async def test_purging_keeps_what_is_at_or_above(connect: Connect) -> None:
    jetstream = JetStream(await connect())
    await ensure_streams(jetstream, StreamSettings(**SMALL))
    publisher = AckedPublisher(await connect())
    for _ in range(10):
        await publisher.publish_wait("raw.process.a", b"x")
    assert await jetstream.purge_below("RAW", 8) == 7
    state = (await jetstream.stream_info("RAW")).state
    assert (state.first_seq, state.last_seq, state.messages) == (8, 10, 3)
    await publisher.close()
