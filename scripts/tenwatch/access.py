"""Opens the doors of a running instance for a command."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tenwatch.embedded.data_folder import DataFolder
from tenwatch.embedded.instance import Instance, Login, find_instance, read_login
from tenwatch.errors import NotRunningError, UsageError
from tenwatch.sql_client import SqlClient

if TYPE_CHECKING:
    from nats.aio.client import Client

    from stream.broker.connection import BrokerConnection


def open_sql(data: Path | None, url: str | None = None) -> SqlClient:
    """A client for the SQL of a local instance, or of any ClickHouse by ``url``.

    For ``url``, user and password come from ``TENWATCH_SQL_USER`` and ``TENWATCH_SQL_PASSWORD``;
    a URL with a password in it is refused, since URLs end in logs.
    """
    if url is not None:
        if "@" in url:
            raise UsageError(
                "a URL with a password would be seen by others; set TENWATCH_SQL_USER and "
                "TENWATCH_SQL_PASSWORD instead"
            )
        return SqlClient(
            url,
            os.environ.get("TENWATCH_SQL_USER", "default"),
            os.environ.get("TENWATCH_SQL_PASSWORD", ""),
        )
    instance = find_instance(data)
    login = read_login(instance, "sql")
    return SqlClient(instance.sql, login.user, login.password)


async def open_nats(
    data: Path | None, on_error: Callable[[Exception], Awaitable[None]]
) -> "Client":
    """A connection of a running instance that may tap; raises :class:`NotRunningError`."""
    import nats
    import nats.errors

    from stream.broker.permissions import inbox_prefix

    instance = find_instance(data)
    login = read_login(instance, "nats")
    try:
        return await nats.connect(
            instance.nats,
            user=login.user,
            password=login.password,
            name="tenwatch tap",
            inbox_prefix=inbox_prefix(login.user).encode(),
            error_cb=on_error,
            max_reconnect_attempts=-1,
            allow_reconnect=True,
            connect_timeout=3,
        )
    except (OSError, nats.errors.Error) as error:
        raise NotRunningError(
            f"the broker {instance.nats} does not answer: {error or type(error).__name__}; "
            "is 'tenwatch up' running?"
        ) from None


def read_admin_login(instance: Instance, door: str) -> Login:
    """The administrator's login; only who started the instance can read it."""
    admin = DataFolder(Path(instance.data)).secrets / "admin.json"
    return read_login(replace(instance, credentials=str(admin)), door)


def open_admin_sql(instance: Instance) -> SqlClient:
    """A client that may write into the store."""
    login = read_admin_login(instance, "sql")
    return SqlClient(instance.sql, login.user, login.password)


def open_admin_broker(instance: Instance, name: str) -> "BrokerConnection":
    """A connection to the broker that may do everything; use it with ``async with``."""
    from stream.broker.connection import BrokerConnection
    from stream.broker.credentials import Credentials
    from stream.broker.settings import BrokerSettings

    login = read_admin_login(instance, "nats")
    return BrokerConnection(
        BrokerSettings(servers=(instance.nats,)),
        name,
        Credentials(user=login.user, password=login.password),
    )
