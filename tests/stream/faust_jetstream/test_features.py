"""faust's other features on this transport: ask and reply, the web server, crontabs, URLs."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import faust
import pytest

from stream.faust_jetstream import JetStreamSettings, create_app
from stream.faust_jetstream.names import Names
from tests.stream.faust_jetstream.running import make_app, running
from tests.stream.faust_jetstream.servers import Api, Server, free_port
from tests.stream.faust_jetstream.workers import ROOT
from tests.support.polling import eventually


def adder(server: Server, folder: Path, member: str, **options: Any) -> tuple[Any, Any]:
    """An app with an agent that answers with the double."""
    app = make_app("adder", server.url, folder, member=member, partitions=2, options=options)
    topic = app.topic("questions", value_type=int, partitions=2)

    @app.agent(topic, name="double")
    async def double(stream: faust.Stream):  # type: ignore[no-untyped-def]
        async for number in stream:
            yield number * 2

    return app, double


async def test_a_client_asks_an_agent_and_all_replies_share_one_stream(
    server: Server, tmp_path: Path
) -> None:
    worker, _ = adder(server, tmp_path, "worker")
    api = await Api.connect(server.url)
    async with running(worker):
        client, double = adder(server, tmp_path, "client")
        client.finalize()
        try:
            assert await asyncio.wait_for(double.ask(value=50), 20) == 100
            answers = await asyncio.wait_for(
                asyncio.gather(*(double.ask(value=number) for number in range(5))), 20
            )
            assert answers == [0, 2, 4, 6, 8]
        finally:
            await client.stop()
    names = (await api("STREAM.NAMES"))["streams"]
    replies = Names("faust", "adder").reply_stream()
    assert [name for name in names if "REPL" in name.upper()] == [replies]
    assert (await api.state(replies))["messages"] == 6
    await api.close()


async def test_a_worker_asks_its_own_agents(server: Server, tmp_path: Path) -> None:
    app, double = adder(server, tmp_path, "self", reply_create_topic=True)
    async with running(app):
        assert await asyncio.wait_for(double.ask(value=21), 20) == 42


async def test_web_views_and_table_routes_reach_the_worker_that_has_the_key(
    server: Server, tmp_path: Path
) -> None:
    def build(member: str) -> tuple[Any, int]:
        port = free_port()
        app = make_app(
            "web",
            server.url,
            tmp_path,
            member=member,
            partitions=2,
            options={
                "web_enabled": True,
                "web_port": port,
                "web_bind": "127.0.0.1",
                "web_host": "127.0.0.1",
                "canonical_url": f"http://127.0.0.1:{port}",
            },
        )
        topic = app.topic("visits", key_serializer="json", value_type=int, partitions=2)
        table = app.Table("visits", default=int)

        @app.agent(topic)
        async def agent(stream: faust.Stream) -> None:
            async for key, number in stream.items():
                table[key] += number

        @app.page("/visits/{key}/")
        @app.table_route(table=table, match_info="key")
        async def visits(web: Any, request: Any, key: str) -> Any:
            return web.json({"member": member, "visits": table[key]})

        app.visits_topic = topic
        return app, port

    first, first_port = build("one")
    second, second_port = build("two")
    async with running(first, second), aiohttp.ClientSession() as session:
        await eventually(
            lambda: len(first.jetstream.partitions) == len(second.jetstream.partitions) == 1
        )
        for key in ("a", "b", "c", "d", "e", "f"):
            await first.visits_topic.send(key=key, value=7)

        async def all_there() -> bool:
            members = set()
            for port in (first_port, second_port):
                for key in ("a", "b", "c", "d", "e", "f"):
                    url = f"http://127.0.0.1:{port}/visits/{key}/"
                    async with session.get(url) as answer:
                        assert answer.status == 200, await answer.text()
                        body = await answer.json()
                        assert body["visits"] == 7
                        members.add((key, body["member"]))
            assert len(members) == 6 and {member for _, member in members} == {"one", "two"}
            return True

        await eventually(all_there, 15)


async def test_tasks_timers_and_crontabs_run(server: Server, tmp_path: Path) -> None:
    app = make_app("timers", server.url, tmp_path)
    ran: set[str] = set()

    @app.task
    async def task() -> None:
        ran.add("task")

    @app.timer(0.05)
    async def timer() -> None:
        ran.add("timer")

    @app.crontab("* * * * *")
    async def cron() -> None:
        ran.add("cron")

    topic = app.topic("t", value_type=int)

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for _ in stream:
            pass

    async with running(app):
        await eventually(lambda: {"task", "timer"} <= ran)


async def test_a_stock_app_finds_the_transport_by_its_url(server: Server, tmp_path: Path) -> None:
    """``nats://`` resolves through the entry point, in a process that imports only faust."""
    program = f"""
import asyncio, faust
app = faust.App("stock", broker={server.url!r}, datadir={str(tmp_path)!r}, web_enabled=False,
                topic_partitions=1,
                PartitionAssignor="stream.faust_jetstream:PartitionAssignor",
                LeaderAssignor="stream.faust_jetstream:LeaderAssignor",
                Table="stream.faust_jetstream:Table")
topic = app.topic("t", value_type=int)
table = app.Table("sums", default=int)
got = asyncio.Event()
@app.agent(topic)
async def agent(stream):
    async for number in stream:
        table["sum"] += number
        got.set()
async def main():
    app.finalize()
    await app.start()
    await topic.send(value=20)
    await asyncio.wait_for(got.wait(), 10)
    print("SUM", table["sum"], type(app.transport).__module__)
    await app.stop()
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert "SUM 20 stream.faust_jetstream.transport" in done.stdout, done.stderr


@pytest.mark.parametrize("how", ["password", "token", "nkey", "nkey file"])
async def test_credentials_come_from_settings_and_are_in_no_url(
    make_server: Any, tmp_path: Path, how: str
) -> None:
    import os

    import nkeys

    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(seed).public_key.decode()
    (tmp_path / "seed").write_bytes(seed)
    authorization = {
        "password": 'authorization { user: u, password: "s3cret-password" }',
        "token": 'authorization { token: "s3cret-token" }',
        "nkey": f"authorization {{ users: [ {{ nkey: {public} }} ] }}",
    }[how.removesuffix(" file")]
    server = make_server(authorization)
    settings = JetStreamSettings(servers=[server.url], partitions=1, inbox_prefix="_INBOX_u")
    if how == "password":
        settings.user, settings.password = "u", "s3cret-password"
    elif how == "token":
        settings.token = "s3cret-token"
    elif how == "nkey":
        settings.nkey_seed = seed.decode()
    else:
        settings.nkey_seed_file = tmp_path / "seed"
    assert "s3cret" not in repr(settings) and seed.decode() not in repr(settings)
    app = create_app("secure", settings=settings, datadir=tmp_path / "data")
    assert "s3cret" not in repr(app.conf.broker)
    topic = app.topic("t", value_type=int, partitions=1)
    got: list[int] = []

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for number in stream:
            got.append(number)

    async with running(app):
        await topic.send(value=1)
        await eventually(lambda: got == [1])


async def test_tls_with_certificates_on_both_sides(make_server: Any, tmp_path: Path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1")
    openssl(*new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test ca")
    for name in ("server", "client"):
        openssl(
            *new,
            "-x509",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
            *subject,
        )
    server = make_server(
        f'tls {{ cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server.key", '
        f'ca_file: "{tmp_path}/ca.pem", verify: true }}'
    )
    app = create_app(
        "tls",
        settings=JetStreamSettings(
            servers=[server.url],
            partitions=1,
            tls_ca=tmp_path / "ca.pem",
            tls_cert=tmp_path / "client.pem",
            tls_key=tmp_path / "client.key",
        ),
        datadir=tmp_path / "data",
    )
    topic = app.topic("t", value_type=int, partitions=1)
    got: list[int] = []

    @app.agent(topic)
    async def agent(stream: faust.Stream) -> None:
        async for number in stream:
            got.append(number)

    async with running(app):
        await topic.send(value=5)
        await eventually(lambda: got == [5])


async def test_a_wrong_password_stops_the_app_with_a_clear_error(
    make_server: Any, tmp_path: Path
) -> None:
    server = make_server('authorization { user: u, password: "right" }')
    app = create_app(
        "wrong",
        settings=JetStreamSettings(servers=[server.url], user="u", password="wrong"),
        datadir=tmp_path,
    )
    app.finalize()
    with pytest.raises(Exception, match=r"(?i)authorization"):
        await asyncio.wait_for(app.start(), 20)
    await app.stop()
