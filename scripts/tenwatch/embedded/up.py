"""Runs one embedded instance from start to drain."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nats
from nats.errors import Error as NatsError

from stream.broker.connection import BrokerConnection
from stream.broker.credentials import Credentials
from stream.broker.errors import BrokerError
from stream.broker.jetstream import JetStream
from stream.broker.permissions import Role, inbox_prefix
from stream.broker.settings import BrokerSettings, StreamSettings
from stream.broker.streams import ensure_streams
from stream.settings import Configuration
from tenwatch.embedded.credentials import SQL_READER, Logins, ensure_logins
from tenwatch.embedded.data_folder import DataFolder
from tenwatch.embedded.instance import Instance, read_login, write_private
from tenwatch.embedded.live import LiveFeed
from tenwatch.embedded.options import UpOptions
from tenwatch.embedded.parts import Ports, build_plan
from tenwatch.embedded.screen import show
from tenwatch.embedded.supervisor import Supervisor
from tenwatch.embedded.user import choose_user
from tenwatch.errors import StartError, UsageError
from tenwatch.sql_client import SqlClient

CHECK_SECONDS = 0.5
ASK_SECONDS = 10.0


def say(sentence: str) -> None:
    """Talk goes to stderr; stdout is for data."""
    print(f"tenwatch: {sentence}", file=sys.stderr, flush=True)


async def up(options: UpOptions, *, with_screen: bool) -> int:
    """Start, show, and drain on SIGINT or SIGTERM; gives the exit code."""
    for watched in options.watch:
        if not watched.is_dir():
            raise UsageError(f"--watch {watched} is not a folder; name one that exists")
    user = choose_user(options.user)
    folder = DataFolder(options.data)
    folder.create(user.user_id, user.group_id)
    folder.lock()
    folder.instance.unlink(missing_ok=True)
    logins = ensure_logins(folder, options.node, user)
    ports = Ports.choose(options.nats_port, options.sql_port)
    broker_url = f"nats://127.0.0.1:{ports.nats}"
    stream_settings = Configuration.load(options.config).section("streams", StreamSettings)

    async def prepare_broker() -> None:
        await _ensure_streams(broker_url, logins, stream_settings)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    talk = _Talk(aloud=True)
    supervisor = Supervisor(
        build_plan(options, folder, logins, user, ports), folder, user, talk, prepare_broker
    )

    def instance() -> Instance:
        return Instance(
            nats=broker_url,
            sql=f"http://127.0.0.1:{ports.sql}",
            credentials=str(folder.credentials),
            data=str(folder.root),
            pids=supervisor.pids(),
            degraded=supervisor.degraded(),
        )

    try:
        starting = asyncio.create_task(supervisor.start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return 0
        await starting
        write_private(folder.instance, instance().to_json() + "\n")
        watcher = asyncio.create_task(_watch(supervisor, folder.instance, instance, stop))
        if with_screen:
            talk.aloud = False
            await _screen(instance, ports, stop)
            talk.aloud = True
        else:
            print(instance().to_json(), flush=True)
            await stop.wait()
        watcher.cancel()
        fatal = supervisor.fatal()
        if fatal:
            raise StartError(fatal)
        return 0
    finally:
        say("draining: producers, worker, sink, broker")
        folder.instance.unlink(missing_ok=True)
        await supervisor.stop()
        say("stopped")


class _Talk:
    """Sentences of the supervisor; kept for later while the screen is up."""

    def __init__(self, *, aloud: bool) -> None:
        self.aloud = aloud

    def __call__(self, sentence: str) -> None:
        if self.aloud:
            say(sentence)


async def _watch(
    supervisor: Supervisor, path: Path, instance: Callable[[], Instance], stop: asyncio.Event
) -> None:
    """Keep the description of the instance current; stop when it can't go on."""
    written = ""
    ask = time.monotonic() + ASK_SECONDS
    while True:
        text = instance().to_json() + "\n"
        if text != written:
            write_private(path, text)
            written = text
        if supervisor.fatal():
            stop.set()
        await asyncio.sleep(CHECK_SECONDS)
        if time.monotonic() > ask:
            await supervisor.ask_degraded()
            ask = time.monotonic() + ASK_SECONDS


async def _ensure_streams(url: str, logins: Logins, settings: StreamSettings) -> None:
    admin = logins.user(Role.ADMIN)
    login = Credentials(user=admin.name, password=admin.password)
    try:
        async with BrokerConnection(
            BrokerSettings(servers=(url,)), "tenwatch up", login
        ) as connection:
            await connection.wait_connected(20)
            await ensure_streams(JetStream(connection), settings)
    except BrokerError as error:
        raise StartError(f"the streams can't be made: {error}") from None


async def _screen(instance: Callable[[], Instance], ports: Ports, stop: asyncio.Event) -> None:
    now = instance()
    tap = read_login(now, "nats")
    sql = read_login(now, "sql")
    client = await nats.connect(
        now.nats,
        user=tap.user,
        password=tap.password,
        name="tenwatch screen",
        inbox_prefix=inbox_prefix(tap.user).encode(),
        max_reconnect_attempts=-1,
    )
    feed = LiveFeed(
        client,
        SqlClient(now.sql, SQL_READER, sql.password, timeout_seconds=10),
        {"worker": ports.worker, "sink": ports.sink},
    )
    try:
        await feed.start()
        await show(feed.state, instance, stop)
    finally:
        await feed.close()
        with contextlib.suppress(NatsError, OSError):
            await client.close()
