"""Logging in by every method, failing over, and never showing a secret."""

import json
import logging
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nkeys
import pytest

from stream.broker.connection import BrokerConnection
from stream.broker.credentials import Credentials, load_credentials
from stream.broker.errors import BrokerError, CredentialsError, NotConnectedError
from stream.broker.permissions import Role, User
from stream.broker.settings import BrokerSettings
from tests.support.nats_server import NatsServer, default_users
from tests.support.polling import eventually


def write(path: Path, content: object, mode: int = 0o600) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return str(path)


def quick(server: NatsServer | str, **settings: object) -> BrokerSettings:
    url = server if isinstance(server, str) else server.url
    return BrokerSettings(
        servers=(url,), reconnect_wait_seconds=0.1, **settings  # type: ignore[arg-type]
    )  # fmt: skip


async def test_a_wrong_password_is_told_and_never_shown(
    nats_server: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "credentials.json"
    write(path, {"nats": {"user": "sink", "password": "the-wrong-secret"}})
    async with BrokerConnection(quick(nats_server, credentials_file=str(path)), "x") as connection:
        await eventually(lambda: "authorization" in connection.problem.lower(), 10)
        with pytest.raises(NotConnectedError, match=r"(?i)no connection to NATS.*authorization"):
            await connection.wait_connected(1)
        assert not connection.connected
        with pytest.raises(NotConnectedError):
            connection.client  # noqa: B018
    assert "the-wrong-secret" not in caplog.text
    assert "the-wrong-secret" not in repr(load_credentials(str(path)))
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) <= 3


async def test_it_waits_for_a_server_that_is_not_there_yet(
    make_nats_server: Callable[..., NatsServer],
) -> None:
    server = make_nats_server().start()
    server.stop()
    path = server.write_credentials("sink")
    ups: list[int] = []

    async def up() -> None:
        ups.append(1)

    async with BrokerConnection(quick(server, credentials_file=str(path)), "x") as connection:
        connection.on_connected(up)
        with pytest.raises(NotConnectedError, match="no connection to NATS"):
            await connection.wait_connected(0.3)
        server.start()
        await connection.wait_connected(10)
        server.restart()
        await eventually(lambda: len(ups) == 2, 10, "told of both connections")
        assert connection.reconnects == 1


async def test_another_server_takes_over(make_nats_server: Callable[..., NatsServer]) -> None:
    servers = [make_nats_server().start(), make_nats_server().start()]
    path = servers[0].write_credentials("admin")
    settings = BrokerSettings(
        servers=tuple(each.url for each in servers),
        credentials_file=str(path),
        reconnect_wait_seconds=0.1,
    )
    async with BrokerConnection(settings, "x") as connection:
        await connection.wait_connected(10)
        url = connection.client.connected_url
        assert url is not None
        current = next(each for each in servers if each.port == url.port)
        current.kill()
        await eventually(lambda: connection.reconnects == 1, 10)
        after = connection.client.connected_url
        assert after is not None
        assert after.port != current.port


async def test_an_nkey_logs_in_without_any_secret_at_the_server(
    make_nats_server: Callable[..., NatsServer], tmp_path: Path
) -> None:
    pair = nkeys.from_seed(seed := nkeys.encode_seed(b"\x07" * 32, nkeys.PREFIX_BYTE_USER))
    users = [*default_users(), User("k", Role.SINK, nkey=pair.public_key.decode())]
    server = make_nats_server(users=users).start()
    content = {"nats": {"nkey_seed": bytes(seed).decode(), "inbox_prefix": "_INBOX_k"}}
    path = write(tmp_path / "c.json", content)
    async with BrokerConnection(quick(server, credentials_file=path), "x") as connection:
        await connection.wait_connected(10)
        ack = await connection.client.request("$JS.API.INFO", b"", timeout=2)
        assert b"memory" in ack.data
    assert content["nats"]["nkey_seed"] not in (server.folder / "users.conf").read_text()


async def test_a_token_logs_in(make_nats_server: Callable[..., NatsServer], tmp_path: Path) -> None:
    server = make_nats_server().start()
    users = server.folder / "users.conf"
    users.write_text('authorization { token: "a-token-of-a-test" }\n')
    assert server.process is not None
    server.process.send_signal(1)
    path = write(tmp_path / "c.json", {"nats": {"token": "a-token-of-a-test"}})
    async with BrokerConnection(quick(server, credentials_file=path), "x") as connection:
        await connection.wait_connected(10)
        assert connection.inbox == "_INBOX"


def certificate(folder: Path, name: str, signer: str | None = None) -> None:
    """``<name>.pem`` and ``<name>.key``, signed by itself or by ``signer``."""
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    by = (
        ["-CA", str(folder / f"{signer}.pem"), "-CAkey", str(folder / f"{signer}.key")]
        if signer
        else []
    )
    subprocess.run(
        ["openssl", "req", "-x509", *key, *subject, *by, "-days", "2",
         "-addext", f"basicConstraints=critical,CA:{'FALSE' if signer else 'TRUE'}",
         "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")],
        check=True, capture_output=True,
    )  # fmt: skip


async def test_tls_checks_the_server_and_shows_the_client(
    make_nats_server: Callable[..., NatsServer], tmp_path: Path
) -> None:
    certificate(tmp_path, "authority")
    certificate(tmp_path, "server", "authority")
    certificate(tmp_path, "client", "authority")
    certificate(tmp_path, "stranger")
    server = make_nats_server()
    server.config = replace(
        server.config,
        tls_certificate=tmp_path / "server.pem",
        tls_key=tmp_path / "server.key",
        tls_ca=tmp_path / "authority.pem",
    )
    server.start()
    login = {"credentials_file": str(server.write_credentials("sink"))}
    good = login | {
        "tls_ca": str(tmp_path / "authority.pem"),
        "tls_certificate": str(tmp_path / "client.pem"),
        "tls_key": str(tmp_path / "client.key"),
    }
    async with BrokerConnection(quick(server, **good), "x") as connection:
        await connection.wait_connected(10)
        await connection.client.request("$JS.API.INFO", b"", timeout=2)
    for bad in (
        good | {"tls_ca": str(tmp_path / "stranger.pem")},
        good | {"tls_certificate": str(tmp_path / "stranger.pem"),
                "tls_key": str(tmp_path / "stranger.key")},
    ):  # fmt: skip
        async with BrokerConnection(quick(server, **bad), "x") as connection:
            with pytest.raises(NotConnectedError):
                await connection.wait_connected(0.7)
    with pytest.raises(BrokerError, match="TLS files"):
        BrokerConnection(quick(server, tls_ca=str(tmp_path / "absent.pem")), "x")


def test_a_secret_in_a_url_is_refused_without_repeating_it() -> None:
    with pytest.raises(BrokerError, match="credentials file") as caught:
        BrokerConnection(quick("nats://me:the-secret@host:4222"), "x")
    assert "the-secret" not in str(caught.value)


def test_the_credentials_file_must_be_private(tmp_path: Path) -> None:
    content = {"nats": {"user": "a", "password": "b"}}
    for mode in (0o644, 0o604, 0o660, 0o666):
        path = write(tmp_path / "c.json", content, mode)
        with pytest.raises(CredentialsError, match=f"mode {mode:04o}.*chmod 600"):
            load_credentials(path)
    for mode in (0o600, 0o400, 0o440):
        path = write(tmp_path / "c.json", content, mode)
        assert load_credentials(path).user == "a"
        assert load_credentials("", {"TENWATCH_CREDENTIALS_FILE": path}).password == "b"
    assert load_credentials("", {}).method == "none"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not as expected"),
        ({"nats": {"user": 5, "password": "the-secret"}}, r"\$\.nats\.user"),
        ({"nats": {"password": "the-secret"}}, 'without "user"'),
        ({"nats": {"user": "a", "password": "the-secret", "token": "t"}}, "password and token"),
    ],
)
def test_a_wrong_credentials_file_is_told_without_its_content(
    tmp_path: Path, content: object, problem: str
) -> None:
    path = write(tmp_path / "c.json", content)
    with pytest.raises(CredentialsError, match=problem) as caught:
        load_credentials(path)
    assert "the-secret" not in str(caught.value)
    with pytest.raises(CredentialsError, match="No such file"):
        load_credentials(str(tmp_path / "absent.json"))


async def test_what_was_buffered_when_the_connection_broke_is_dropped(
    nats_server: NatsServer,
) -> None:
    """The one use of nats-py's own parts that no public method would notice if it changed."""
    path = nats_server.write_credentials("admin")
    settings = quick(nats_server, credentials_file=str(path), ping_interval_seconds=0.2)
    async with BrokerConnection(settings, "x") as connection:
        await connection.wait_connected(10)
        watcher = await nats_server.connect("admin", allow_reconnect=True)
        client = connection.client
        nats_server.freeze()
        client._pending.append(b"PUB should.not.arrive 1\r\nx\r\n")
        client._pending_data_size += 28
        await eventually(lambda: not connection.connected, 10)
        assert client._pending == []
        assert client.pending_data_size == 0
        nats_server.thaw()
        await connection.wait_connected(10)
        await watcher.close()


def test_an_inbox_belongs_to_its_user() -> None:
    assert Credentials(user="sink", password="x").inbox == "_INBOX_sink"
    assert Credentials(user="producer-a.b", password="x").inbox == "_INBOX_producer-a_2Eb"
    assert Credentials().options() == {"inbox_prefix": "_INBOX"}
