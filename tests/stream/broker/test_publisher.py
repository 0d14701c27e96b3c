"""Pipelined publishes: order, refusals, broken connections."""

import asyncio
from collections.abc import Callable

import pytest

from stream.broker.errors import (
    BrokerError,
    NoJetStreamError,
    NotConnectedError,
    RequestTimeoutError,
    StreamFullError,
)
from stream.broker.jetstream import JetStream
from stream.broker.publisher import AckedPublisher, PublishAck
from stream.broker.settings import StreamSettings
from stream.broker.streams import ensure_streams
from stream.broker.wire import encode_headers
from tests.support.nats_server import NODE, NatsServer

MEBIBYTE = 1024 * 1024
Result = PublishAck | BrokerError


async def test_acknowledgements_come_in_the_order_of_publishing(connect, jetstream) -> None:
    publisher = AckedPublisher(await connect(f"producer-{NODE}"), max_messages=64)
    results: list[Result] = []
    for number in range(2000):
        await publisher.publish(
            f"raw.process.{NODE}",
            b"%d\n" % number,
            encode_headers({"Nats-Msg-Id": str(number)}),
            results.append,
        )
        assert publisher.outstanding <= 64
    assert await publisher.settled(10)
    assert [each.seq for each in results] == list(range(1, 2001))
    stored = await jetstream.message("RAW", 1234)
    assert stored.payload == b"1233\n"
    assert stored.subject == f"part.0.process.{NODE}"
    await publisher.close()


async def test_a_repeated_id_is_stored_once(connect, jetstream) -> None:
    publisher = AckedPublisher(await connect(f"producer-{NODE}"))
    headers = encode_headers({"Nats-Msg-Id": "the-same"})
    first = await publisher.publish_wait(f"raw.file.{NODE}", b"x", headers)
    second = await publisher.publish_wait(f"raw.file.{NODE}", b"x", headers)
    assert (first.duplicate, second.duplicate) == (False, True)
    assert first.seq == second.seq
    assert (await jetstream.stream_info("RAW")).state.messages == 1
    await publisher.close()


async def test_a_full_stream_refuses_and_says_so(connect, nats_server: NatsServer) -> None:
    jetstream = JetStream(await connect())
    await ensure_streams(
        jetstream,
        StreamSettings(
            raw_max_bytes=MEBIBYTE,
            events_max_bytes=MEBIBYTE,
            buckets_max_bytes=MEBIBYTE,
            dead_max_bytes=MEBIBYTE,
        ),
    )
    publisher = AckedPublisher(await connect(f"producer-{NODE}"))
    results: list[Result] = []
    for _ in range(12):
        await publisher.publish(f"raw.process.{NODE}", b"x" * 100_000, b"", results.append)
    await publisher.settled(10)
    kinds = [type(each) for each in results]
    assert kinds[:9] == [PublishAck] * 9
    assert set(kinds[10:]) == {StreamFullError}
    await publisher.close()


async def test_without_a_stream_nobody_answers(connect) -> None:
    publisher = AckedPublisher(await connect())
    with pytest.raises(NoJetStreamError):
        await publisher.publish_wait("raw.process.x", b"x")
    await publisher.close()


async def test_a_refused_subject_fails_with_the_reason(connect, jetstream) -> None:
    publisher = AckedPublisher(await connect(f"producer-{NODE}"), timeout_seconds=0.5)
    with pytest.raises(RequestTimeoutError, match=r"(?i)permissions violation for publish"):
        await publisher.publish_wait("raw.process.node-b", b"x")
    await publisher.close()


async def test_a_broken_connection_fails_all_that_is_outstanding_and_then_works_again(
    connect, jetstream, nats_server: NatsServer, eventually: Callable
) -> None:
    connection = await connect(f"producer-{NODE}")
    publisher = AckedPublisher(connection)
    nats_server.freeze()
    results: list[Result] = []
    for number in range(100):
        await publisher.publish(f"raw.process.{NODE}", b"%d" % number, b"", results.append)
    nats_server.kill()
    await eventually(lambda: len(results) == 100, 15, "all failed")
    assert {type(each) for each in results} == {NotConnectedError}
    with pytest.raises(NotConnectedError, match="no connection to NATS"):
        await publisher.publish_wait(f"raw.process.{NODE}", b"x")
    nats_server.start()
    await connection.wait_connected(10)
    ack = await publisher.publish_wait(f"raw.process.{NODE}", b"after")
    assert (await jetstream.message("RAW", ack.seq)).payload == b"after"
    # What was buffered when the connection broke was not sent later, behind our back.
    assert ack.seq <= 101
    info = await jetstream.stream_info("RAW")
    assert info.state.last_seq == ack.seq
    await publisher.close()


async def test_a_frozen_server_is_noticed(connect, jetstream, nats_server, eventually) -> None:
    connection = await connect(f"producer-{NODE}", ping_interval_seconds=0.2)
    nats_server.freeze()
    await eventually(lambda: not connection.connected, 10, "noticed")
    assert "no connection to NATS" in connection.problem
    nats_server.thaw()
    await connection.wait_connected(10)
    assert connection.problem == ""


async def test_a_user_that_is_taken_out_and_put_back_gets_in_again(
    connect, jetstream, nats_server, eventually
) -> None:
    connection = await connect(f"producer-{NODE}")
    publisher = AckedPublisher(connection)
    users = list(nats_server.users)
    nats_server.reload([each for each in users if each.node != NODE])
    await eventually(lambda: not connection.connected, 10, "thrown out")
    await eventually(lambda: "authorization" in connection.problem.lower(), 10, "the reason")
    nats_server.reload(users)
    await connection.wait_connected(10)
    await publisher.publish_wait(f"raw.process.{NODE}", b"again")
    await asyncio.wait_for(publisher.close(), 5)
