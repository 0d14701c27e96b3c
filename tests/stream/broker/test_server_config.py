"""The generated configuration, read by the real server."""

import stat

import nats.errors
import pytest

from stream.broker.server_config import USERS_NAME
from tests.support.nats_server import NatsServer


async def test_the_server_takes_the_configuration_and_keeps_its_port(
    nats_server: NatsServer,
) -> None:
    client = await nats_server.connect()
    info = await client.jetstream().account_info()
    assert info.limits.max_storage == -1 or info.limits.max_storage > 0
    assert client.max_payload == 1024 * 1024 + 16 * 1024
    await client.close()
    port = nats_server.port
    nats_server.restart()
    assert nats_server.port == port


async def test_passwords_are_only_in_a_file_that_nobody_else_may_read(
    nats_server: NatsServer,
) -> None:
    users = nats_server.folder / USERS_NAME
    assert stat.S_IMODE(users.stat().st_mode) == 0o600
    password = nats_server.user("sink").password
    assert password in users.read_text()
    assert password not in (nats_server.folder / "nats.conf").read_text()
    assert nats_server.process is not None
    command = " ".join(nats_server.process.args)  # type: ignore[arg-type]
    assert password not in command
    assert password not in nats_server.log.read_text()


async def test_without_a_password_nobody_gets_in(nats_server: NatsServer) -> None:
    with pytest.raises(nats.errors.Error, match="Authorization"):
        await nats.connect(nats_server.url, allow_reconnect=False, connect_timeout=2)
