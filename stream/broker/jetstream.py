"""JetStream's own API, asked directly: streams, consumers, stored messages, and its errors.

Source: docs.nats.io, "JetStream wire API reference", and ``server/errors.json`` of nats-server for
the numbers of errors.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from stream.broker.connection import BrokerConnection
from stream.broker.errors import (
    ConfigMismatchError,
    JetStreamError,
    NoJetStreamError,
    NotFoundError,
    RequestTimeoutError,
    StreamFullError,
)

API: Final = "$JS.API"
CONSUMER_NOT_FOUND: Final = 10014
STREAM_NOT_FOUND: Final = 10059
MESSAGE_NOT_FOUND: Final = 10037
INSUFFICIENT_RESOURCES: Final = 10023
STORAGE_RESOURCES: Final = 10047
STORE_FAILED: Final = 10077
"""The stream's limit (``maximum bytes exceeded``), or the disk itself, refused the message."""

Answer = TypeVar("Answer", bound=Struct)


class ApiError(Struct):
    """The ``error`` object of an answer."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class _Failure(Struct):
    error: ApiError | None = None


class StreamState(Struct):
    """What a stream holds."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    consumer_count: int = 0


class Replica(Struct):
    """A follower of a stream."""

    name: str
    current: bool = False
    offline: bool = False


class ClusterInfo(Struct):
    """Which servers hold a stream."""

    leader: str = ""
    replicas: list[Replica] | None = None


class StreamInfo(Struct):
    """A stream: its configuration as the server keeps it, and its state."""

    config: dict[str, Any]
    state: StreamState
    created: str = ""
    cluster: ClusterInfo | None = None

    @property
    def leader(self) -> str:
        """Name of the server that leads it; empty on a single server."""
        return self.cluster.leader if self.cluster is not None else ""

    @property
    def current_replicas(self) -> list[str]:
        """Names of the followers that are online and up to date."""
        replicas = self.cluster.replicas if self.cluster is not None else None
        return [each.name for each in replicas or () if each.current and not each.offline]


class StreamSource(Struct):
    """How far a stream that sources another one is."""

    name: str = ""
    lag: int = 0
    """Messages of the source that have not been taken over."""
    active: int = -1
    """Nanoseconds since the source was heard of last; -1 before that."""


class _Sourced(Struct):
    sources: list[StreamSource] = []


class ConsumerSequence(Struct):
    """A position of a consumer, in its own count and in the stream's."""

    consumer_seq: int = 0
    stream_seq: int = 0


class ConsumerInfo(Struct):
    """A consumer: its configuration, and how far it is."""

    stream_name: str
    name: str
    config: dict[str, Any]
    delivered: ConsumerSequence
    ack_floor: ConsumerSequence
    num_ack_pending: int = 0
    num_redelivered: int = 0
    num_waiting: int = 0
    num_pending: int = 0


class StoredMessage(Struct):
    """One message of a stream, as ``STREAM.MSG.GET`` gives it."""

    subject: str
    seq: int
    time: str = ""
    data: str = ""
    hdrs: str = ""

    @property
    def payload(self) -> bytes:
        """The message's body."""
        return base64.b64decode(self.data)


class _MessageAnswer(Struct):
    message: StoredMessage


class _Purged(Struct):
    purged: int = 0


class _Names(Struct):
    streams: list[str] | None = None


def error_from(error: ApiError, subject: str = "") -> JetStreamError:
    """The exception for an error that the server gave."""
    if error.err_code in (CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, MESSAGE_NOT_FOUND):
        kind: type[JetStreamError] = NotFoundError
    elif error.err_code in (INSUFFICIENT_RESOURCES, STORAGE_RESOURCES, STORE_FAILED):
        kind = StreamFullError
    else:
        kind = JetStreamError
    return kind(error.description, error.code, error.err_code, subject)


class JetStream:
    """Requests to ``$JS.API``. Each raises an exception of :class:`JetStreamError`'s tree.

    A :class:`RequestTimeoutError` leaves open whether the server did what was asked.
    """

    def __init__(self, connection: BrokerConnection, timeout: float = 5.0) -> None:
        self._connection = connection
        self._timeout = timeout

    async def request(
        self,
        action: str,
        body: Mapping[str, Any] | None = None,
        *,
        model: type[Answer],
        timeout: float | None = None,
    ) -> Answer:
        """Ask ``$JS.API.<action>`` and read the answer as ``model``."""
        subject = f"{API}.{action}"
        payload = msgspec.json.encode(body) if body is not None else b""
        try:
            answer = await self._connection.client.request(
                subject, payload, timeout=timeout or self._timeout
            )
        except NoRespondersError:
            raise NoJetStreamError(
                "nobody answers; is JetStream on, and has it a leader?", 503, 0, subject
            ) from None
        except (TimeoutError, NatsError) as error:
            refused = self._connection.violation
            raise RequestTimeoutError(
                f"no answer ({refused or error or type(error).__name__})", 408, 0, subject
            ) from None
        failure = msgspec.json.decode(answer.data, type=_Failure)
        if failure.error is not None:
            raise error_from(failure.error, subject)
        return msgspec.json.decode(answer.data, type=model)

    async def stream_info(self, name: str) -> StreamInfo:
        """Configuration and state; raises :class:`NotFoundError`."""
        return await self.request(f"STREAM.INFO.{name}", model=StreamInfo)

    async def stream_sources(self, name: str) -> list[StreamSource]:
        """The sources of a stream and how far each is; raises :class:`NotFoundError`."""
        return (await self.request(f"STREAM.INFO.{name}", model=_Sourced)).sources

    async def stream_names(self, subject: str = "") -> list[str]:
        """Names of the streams (at most 1024), or of those that take ``subject``."""
        body = {"subject": subject} if subject else {}
        return (await self.request("STREAM.NAMES", body, model=_Names)).streams or []

    async def ensure_stream(
        self, wanted: Mapping[str, Any], fixed: tuple[str, ...] = ()
    ) -> StreamInfo:
        """Create the stream, or bring an existing one to the wanted settings.

        Settings that ``wanted`` doesn't name stay as they are. A difference in one of ``fixed``,
        or one that the server refuses to change, raises :class:`ConfigMismatchError`.
        """
        name = str(wanted["name"])
        try:
            found = await self.stream_info(name)
        except NotFoundError:
            return await self.request(f"STREAM.CREATE.{name}", wanted, model=StreamInfo)
        different = differences(wanted, found.config)
        if not different:
            return found
        for key in fixed:
            if key in different:
                raise ConfigMismatchError(
                    f"the stream {name} exists with {key} = {found.config.get(key)!r}, wanted is "
                    f"{wanted[key]!r}, and that can't change once it holds messages; "
                    "keep the setting, or delete the stream with all that it holds"
                )
        try:
            return await self.request(
                f"STREAM.UPDATE.{name}", {**found.config, **wanted}, model=StreamInfo
            )
        except JetStreamError as error:
            raise ConfigMismatchError(
                f"the stream {name} differs in {', '.join(different)} and the server refuses the "
                f"change: {error.description}"
            ) from error

    async def delete_stream(self, name: str) -> None:
        """Delete a stream with all its messages."""
        await self.request(f"STREAM.DELETE.{name}", model=_Failure)

    async def purge_below(self, name: str, seq: int) -> int:
        """Remove the messages with a sequence below ``seq``; gives how many."""
        return (await self.request(f"STREAM.PURGE.{name}", {"seq": seq}, model=_Purged)).purged

    async def message(self, stream: str, seq: int) -> StoredMessage:
        """The message with this sequence, from the leader; raises :class:`NotFoundError`."""
        answer = await self.request(f"STREAM.MSG.GET.{stream}", {"seq": seq}, model=_MessageAnswer)
        return answer.message

    async def last_message(self, stream: str, subject: str) -> StoredMessage:
        """The newest message on a subject, from the leader; raises :class:`NotFoundError`."""
        answer = await self.request(
            f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}, model=_MessageAnswer
        )
        return answer.message

    async def consumer_info(self, stream: str, consumer: str) -> ConsumerInfo:
        """Configuration and position; raises :class:`NotFoundError`."""
        return await self.request(f"CONSUMER.INFO.{stream}.{consumer}", model=ConsumerInfo)

    async def create_consumer(self, stream: str, config: Mapping[str, Any]) -> ConsumerInfo:
        """Create (or update) the consumer ``config["name"]``.

        A single filter goes into the subject of the request, too, where permissions see it.
        """
        name = str(config["name"])
        action = f"CONSUMER.CREATE.{stream}.{name}"
        if filter_subject := config.get("filter_subject"):
            action += f".{filter_subject}"
        return await self.request(
            action, {"stream_name": stream, "config": dict(config)}, model=ConsumerInfo
        )

    async def ensure_consumer(self, stream: str, config: Mapping[str, Any]) -> ConsumerInfo:
        """Create the consumer, or check (and where possible change) an existing one."""
        try:
            found = await self.consumer_info(stream, str(config["name"]))
        except NotFoundError:
            return await self.create_consumer(stream, config)
        different = differences(config, found.config)
        if not different:
            return found
        try:
            return await self.create_consumer(stream, {**found.config, **config})
        except JetStreamError as error:
            raise ConfigMismatchError(
                f"the consumer {config['name']} of {stream} differs in {', '.join(different)} and "
                f"the server refuses the change: {error.description}; delete it to begin anew"
            ) from error

    async def delete_consumer(self, stream: str, consumer: str) -> None:
        """Delete a consumer; raises :class:`NotFoundError`."""
        await self.request(f"CONSUMER.DELETE.{stream}.{consumer}", model=_Failure)


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The keys of ``wanted`` whose value in ``found`` is another; absent counts as empty."""
    return [key for key, value in wanted.items() if not _same(value, found.get(key))]


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and not differences(wanted, found)
    return bool(wanted == found) or (not wanted and not found)
