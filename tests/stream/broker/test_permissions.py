"""Each role may do its work and nothing else, tried against the real server."""

from collections.abc import Callable

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from stream.broker.permissions import Role, User, inbox_prefix, permissions_of, producer_name
from stream.contract.batch import read_identity
from stream.contract.errors import ContractError, HeaderError
from tests.support.nats_server import NODE, OTHER_NODE, NatsServer, processed
from tests.support.polling import eventually


class Login:
    """A plain client of one user that keeps what the server refuses."""

    def __init__(self) -> None:
        self.client: Client
        self.refused: list[str] = []

    async def refuses(self, what: str) -> bool:
        """Whether the server says so, soon."""
        await processed(self.client)
        return await eventually(lambda: any(what.lower() in each for each in self.refused), 3, what)

    async def collect(self, subject: str) -> list[Msg]:
        got: list[Msg] = []

        async def keep(message: Msg) -> None:
            got.append(message)

        await self.client.subscribe(subject, cb=keep)
        await processed(self.client)
        return got


@pytest.fixture
async def login(nats_server: NatsServer, jetstream):
    """``await login("tap")``."""
    made: list[Login] = []

    async def login(user: str) -> Login:
        one = Login()

        async def error(problem: Exception) -> None:
            one.refused.append(str(problem).lower())

        one.client = await nats_server.connect(user, error_cb=error)
        made.append(one)
        return one

    yield login
    for each in made:
        await each.client.close()


async def test_a_producer_publishes_only_as_its_own_node(login: Callable, jetstream) -> None:
    producer = await login(producer_name(NODE))
    ack = await producer.client.request(f"raw.process.{NODE}", b"{}", timeout=2)
    assert b'"stream":"RAW"' in ack.data
    for subject in (
        f"raw.process.{OTHER_NODE}",
        f"events.process.{NODE}",
        f"loss.kernel.{NODE}",
        f"dead.worker.{NODE}",
        f"buckets.process.{NODE}",
        f"part.0.process.{NODE}",
        "$JS.API.STREAM.DELETE.RAW",
        "$JS.API.STREAM.INFO.RAW",
        "$JS.API.STREAM.PURGE.RAW",
        "$SYS.REQ.SERVER.PING",
        f"{inbox_prefix('worker')}.x",
    ):
        producer.refused.clear()
        await producer.client.publish(subject, b"{}")
        assert await producer.refuses(f'publish to "{subject}"'), subject
    assert (await jetstream.stream_info("RAW")).state.messages == 1
    assert (await jetstream.stream_info("EVENTS")).state.messages == 0


async def test_a_producer_reads_nothing(login: Callable) -> None:
    producer = await login(producer_name(NODE))
    for subject in (">", "raw.>", "events.>", f"raw.process.{NODE}", "_INBOX.>", "$JS.>"):
        producer.refused.clear()
        await producer.collect(subject)
        assert await producer.refuses(f'subscription to "{subject}"'), subject


async def test_a_notebook_publishes_cells_of_its_node_and_nothing_else(
    login: Callable, nats_server: NatsServer
) -> None:
    user = User("notebook-a", Role.NOTEBOOK, "notebook-password-of-a-test", node=NODE)
    nats_server.reload([*nats_server.users, user])
    notebook = await login("notebook-a")
    for kind in ("process", "loss"):
        assert b'"seq"' in (await notebook.client.request(f"raw.{kind}.{NODE}", b"{}")).data
    for subject in (
        f"raw.process.{OTHER_NODE}",
        f"raw.file.{NODE}",
        f"raw.pod.{NODE}",
        f"raw.progress.{NODE}",
        f"events.process.{NODE}",
        "$JS.API.INFO",
    ):
        notebook.refused.clear()
        await notebook.client.publish(subject, b"{}")
        assert await notebook.refuses(f'publish to "{subject}"'), subject
    await notebook.collect("events.>")
    assert await notebook.refuses('subscription to "events.>"')


async def test_nobody_reads_the_replies_of_another(login: Callable) -> None:
    users = ["worker", "sink", "tap", producer_name(NODE), producer_name(OTHER_NODE)]
    for reader in users:
        one = await login(reader)
        for other in users:
            if other == reader:
                continue
            one.refused.clear()
            await one.collect(f"{inbox_prefix(other)}.>")
            assert await one.refuses(f'subscription to "{inbox_prefix(other)}.>"'), (reader, other)


async def test_a_tap_reads_live_events_but_no_file_contents(login: Callable) -> None:
    tap, reader, admin = await login("tap"), await login("reader"), await login("admin")
    got = await tap.collect("events.>")
    got_more = await reader.collect("events.>")
    for kind in ("process", "snapshot", "file"):
        await admin.client.publish(f"events.{kind}.{NODE}", b"{}")
    await admin.client.publish(f"loss.kernel.{NODE}", b"{}")
    await eventually(lambda: len(got_more) == 3, 5)
    await processed(tap.client)
    assert [each.subject for each in got] == [f"events.process.{NODE}", f"events.file.{NODE}"]
    await tap.collect(f"events.snapshot.{NODE}")
    assert await tap.refuses(f'subscription to "events.snapshot.{NODE.lower()}"')


async def test_a_tap_writes_nothing(login: Callable, jetstream) -> None:
    tap = await login("tap")
    for subject in (
        f"raw.process.{NODE}",
        f"events.process.{NODE}",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.sink",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.INFO",
        "anything",
    ):
        tap.refused.clear()
        await tap.client.publish(subject, b"{}", reply="_INBOX_tap.x")
        assert await tap.refuses(f'publish to "{subject}"'), subject
    for stream in ("RAW", "EVENTS"):
        assert (await jetstream.stream_info(stream)).state.messages == 0


async def test_a_sink_reads_events_and_writes_only_its_losses_and_dead_letters(
    login: Callable, jetstream, connect: Callable
) -> None:
    sink = await login("sink")
    for subject in (f"loss.sink.{NODE}", "dead.sink.process"):
        ack = await sink.client.request(subject, b"{}", timeout=2)
        assert b'"seq"' in ack.data
    for subject in (
        f"raw.process.{NODE}",
        f"events.process.{NODE}",
        f"buckets.process.{NODE}",
        f"loss.worker.{NODE}",
        "$JS.API.CONSUMER.CREATE.RAW",
        "$JS.API.STREAM.PURGE.RAW",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.UPDATE.EVENTS",
        "$JS.ACK.RAW.worker.1.1.1.1.1",
    ):
        sink.refused.clear()
        await sink.client.publish(subject, b"{}")
        assert await sink.refuses(f'publish to "{subject}"'), subject


async def test_a_worker_writes_events_but_never_raw_ones(login: Callable, jetstream) -> None:
    worker = await login("worker")
    for subject in (f"events.process.{NODE}", f"buckets.process.{NODE}", f"loss.worker.{NODE}"):
        assert b'"seq"' in (await worker.client.request(subject, b"{}", timeout=2)).data
    for subject in (
        f"raw.process.{NODE}",
        f"part.0.process.{NODE}",
        f"loss.sink.{NODE}",
        "$JS.API.STREAM.DELETE.RAW",
        "$JS.API.STREAM.DELETE.EVENTS",
        f"{inbox_prefix('sink')}.x",
    ):
        worker.refused.clear()
        await worker.client.publish(subject, b"{}")
        assert await worker.refuses(f'publish to "{subject}"'), subject


async def test_an_acknowledgement_sent_to_another_node_is_no_batch(
    login: Callable, jetstream
) -> None:
    """No permission applies to reply subjects; what a producer can put there is refused later."""
    producer = await login(producer_name(NODE))
    await producer.client.publish(f"raw.process.{NODE}", b"{}", reply=f"raw.process.{OTHER_NODE}")
    await processed(producer.client)

    async def arrived() -> bool:
        return bool((await jetstream.stream_info("RAW")).state.messages == 2)

    await eventually(arrived, 5)
    forged = await jetstream.last_message("RAW", f"part.0.process.{OTHER_NODE}")
    assert b'"stream":"RAW"' in forged.payload
    assert forged.hdrs == ""
    with pytest.raises(HeaderError, match="no headers"):
        read_identity(f"raw.process.{OTHER_NODE}", None)


def test_users_are_checked_when_they_are_made() -> None:
    with pytest.raises(ContractError, match="names no node"):
        User("producer-x", Role.PRODUCER, "secret")
    with pytest.raises(ContractError, match="either a password or an nkey"):
        User("sink", Role.SINK)
    with pytest.raises(ContractError, match="either a password or an nkey"):
        User("sink", Role.SINK, "secret", nkey="UABC")


def test_a_node_with_dots_and_wildcards_gets_no_wildcard_permission() -> None:
    user = User(producer_name("a.*.>"), Role.PRODUCER, "secret", node="a.*.>")
    assert permissions_of(user).publish == ("raw.*.a_2E_2A_2E_3E",)
    assert permissions_of(user).subscribe == (f"{inbox_prefix(user.name)}.>",)
    assert ">" not in inbox_prefix(user.name)
