"""One connection to NATS that is kept for ever: it reconnects, and says why when it can't."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.errors import Error as NatsError

from stream.broker import wire
from stream.broker.credentials import Credentials, load_credentials
from stream.broker.errors import BrokerError, NotConnectedError
from stream.broker.settings import BrokerSettings

_log = logging.getLogger("tenwatch.broker")

Hook = Callable[[], Awaitable[None]]
LostHook = Callable[[], None]
TOLD_LIMIT: Final = 16
"""Different problems of one outage that are logged."""
PENDING_BYTES: Final = 4 * 1024 * 1024
"""What nats-py holds back before a send waits for the socket."""


class BrokerConnection:
    """Keeps one nats-py client connected until :meth:`close`.

    nats-py itself reconnects after most failures, but closes for good after some (a login that is
    refused while it runs, a protocol error); then a new client takes its place. So subscriptions
    are made in a hook given to :meth:`on_connected`, which is called again for each new client.
    """

    def __init__(
        self, settings: BrokerSettings, name: str, credentials: Credentials | None = None
    ) -> None:
        """``name`` is shown in the server's monitoring. Reads the credentials file if none given.

        Raises :class:`BrokerError` for a URL with a secret in it or unreadable TLS files.
        """
        for server in settings.servers:
            parts = urlsplit(server if "://" in server else f"nats://{server}")
            if parts.username or parts.password:
                raise BrokerError(
                    f"a server URL ({parts.hostname}) holds a user or password; "
                    "put them into the credentials file"
                )
        self._settings = settings
        self._name = name
        self._credentials = credentials or load_credentials(settings.credentials_file)
        self._tls = _tls_context(settings)
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._closed = asyncio.Event()
        self._closing = False
        self._problem = "not connected yet"
        self._told: set[str] = set()
        """Problems of this outage that the log has; each is told once."""
        self._violation = ""
        self._on_connected: list[Hook] = []
        self._on_lost: list[LostHook] = []
        self.reconnects = 0

    @property
    def client(self) -> Client:
        """The connected client; raises :class:`NotConnectedError` while there is none."""
        if self._client is None or not self._connected.is_set():
            raise NotConnectedError(self.problem or "not connected")
        return self._client

    @property
    def connected(self) -> bool:
        """Whether a server is reached and the login accepted."""
        return self._connected.is_set()

    @property
    def problem(self) -> str:
        """Why it isn't connected, in a sentence; empty while it is."""
        if self._connected.is_set():
            return ""
        return f"no connection to NATS at {', '.join(self._settings.servers)}: {self._problem}"

    @property
    def violation(self) -> str:
        """The newest permission that the server refused; empty when none was."""
        return self._violation

    @property
    def inbox(self) -> str:
        """Prefix of the inboxes that this login may read."""
        return self._credentials.inbox

    def on_connected(self, hook: Hook) -> None:
        """Call ``hook`` after every connect and reconnect, in order of registration.

        A reconnected nats-py client has kept its subscriptions; compare :attr:`client`.
        """
        self._on_connected.append(hook)

    def on_lost(self, hook: LostHook) -> None:
        """Call ``hook`` whenever the connection breaks; whatever was unanswered is in doubt."""
        self._on_lost.append(hook)

    def forget(self, *hooks: Hook | LostHook) -> None:
        """Call these hooks no more."""
        self._on_connected = [each for each in self._on_connected if each not in hooks]
        self._on_lost = [each for each in self._on_lost if each not in hooks]

    def start(self) -> None:
        """Begin to connect, in the background; needs a running loop."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="broker-connection")

    async def wait_connected(self, timeout: float | None = None) -> None:
        """Wait for the connection; raises :class:`NotConnectedError` after ``timeout`` seconds."""
        try:
            await asyncio.wait_for(self._connected.wait(), timeout)
        except TimeoutError:
            raise NotConnectedError(self.problem) from None

    async def __aenter__(self) -> "BrokerConnection":
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Send what is buffered, and disconnect."""
        self._closing = True
        self._closed.set()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        client, self._client = self._client, None
        if client is not None and not client.is_closed:
            with contextlib.suppress(NatsError, OSError, asyncio.TimeoutError):
                if client.is_connected:
                    await client.flush(timeout=2)
                await client.close()
        self._lost("closed")

    async def _keep(self) -> None:
        while not self._closing:
            client = Client()
            self._client = client
            self._closed.clear()
            try:
                await self._connect(client)
            except (TimeoutError, NatsError, OSError) as error:
                self._problem = _sentence(error)
            else:
                await self._up()
                await self._closed.wait()
            self._lost(self._problem)
            await asyncio.sleep(self._settings.reconnect_wait_seconds)

    async def _connect(self, client: Client) -> None:
        settings = self._settings
        await client.connect(
            servers=list(settings.servers),
            name=self._name,
            error_cb=self._error,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            closed_cb=self._client_closed,
            connect_timeout=settings.connect_timeout_seconds,  # type: ignore[arg-type]
            reconnect_time_wait=settings.reconnect_wait_seconds,  # type: ignore[arg-type]
            ping_interval=settings.ping_interval_seconds,  # type: ignore[arg-type]
            max_outstanding_pings=2,
            max_reconnect_attempts=-1,
            pending_size=PENDING_BYTES,
            tls=self._tls,
            tls_hostname=settings.tls_hostname or None,
            **self._credentials.options(),
        )

    async def _up(self) -> None:
        self._problem = ""
        self._told.clear()
        self._violation = ""
        self._connected.set()
        for hook in list(self._on_connected):
            try:
                await hook()
            except (BrokerError, NatsError, OSError) as error:
                # Broken again already; the next connection calls all hooks anew.
                _log.debug("a hook could not use the connection: %s", error)

    def _lost(self, problem: str) -> None:
        self._problem = problem or self._problem or "the connection broke"
        if self._connected.is_set():
            self._connected.clear()
            for hook in list(self._on_lost):
                hook()

    async def _error(self, error: Exception) -> None:
        text = _sentence(error)
        if "permissions violation" in text.lower():
            if text != self._violation:
                _log.error("the server refuses: %s", text)
            self._violation = text
            return
        if not self._connected.is_set() and text not in self._told and len(self._told) < TOLD_LIMIT:
            self._told.add(text)
            _log.warning("NATS at %s: %s", ", ".join(self._settings.servers), text)
        if "authorization" in self._problem.lower() and isinstance(error, ConnectionError):
            return  # the server hung up on us, sometimes before it has said why
        self._problem = text

    async def _disconnected(self) -> None:
        if self._client is not None:
            wire.drop_unsent(self._client)
        self._lost(self._problem)

    async def _reconnected(self) -> None:
        self.reconnects += 1
        _log.info("connected to NATS again")
        await self._up()

    async def _client_closed(self) -> None:
        self._closed.set()


def _sentence(error: BaseException) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__


def _tls_context(settings: BrokerSettings) -> ssl.SSLContext | None:
    if not (settings.tls_ca or settings.tls_certificate):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca or None)
        if settings.tls_certificate:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(
            str(Path(each))
            for each in (settings.tls_ca, settings.tls_certificate, settings.tls_key)
            if each
        )
        raise BrokerError(f"the TLS files ({files}) can't be used: {error}") from None
    return context
