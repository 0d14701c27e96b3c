"""Topics: which stream holds them, how partitions are told apart, and declaring them."""

import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .connection import Connection
from .errors import ApiError, ConfigurationError, StreamMismatchError
from .names import Names, check_subject, key_from_token, key_token, partition_of, token
from .reader import SECOND, Record

logger = logging.getLogger(__name__)

STREAM_NOT_FOUND = 10059
STREAM_NAME_IN_USE = 10058

KEY_HEADER = "Faust-Key"
TIME_HEADER = "Faust-Timestamp"
TOMBSTONE_HEADER = "Faust-Tombstone"
_OWN_HEADERS = frozenset({KEY_HEADER, TIME_HEADER, TOMBSTONE_HEADER, "Nats-Msg-Id"})
_BINARY = "=base64="


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the transport reads and writes it.

    ``filter_subject`` has ``{partition}`` in it and ends in ``>``; offsets are sequences of
    ``stream``. A ``bound`` topic belongs to a stream that others made; a ``local`` one (replies)
    is read by this worker alone, from now on, without a committed offset.
    """

    name: str
    stream: str
    partitions: int
    filter_subject: str
    bound: bool = False
    local: bool = False
    compacting: bool = False
    start: str = ""

    def filter_for(self, partition: int) -> str:
        """Return the subject filter of one partition."""
        return self.filter_subject.format(partition=partition)

    def root(self, partition: int) -> str:
        """Return what precedes the rest of the subject, the last dot included."""
        return self.filter_for(partition)[:-1]

    def key_and_value(
        self, record: Record, prefix: int
    ) -> tuple[bytes | None, bytes | None, float, dict[str, Any] | None]:
        """Return key, value, timestamp (seconds UTC) and headers of a record.

        ``prefix`` is the length of :meth:`root`.
        """
        _, stored, subject, payload, headers = record
        if self.bound:
            return subject[prefix:].encode(), payload, stored / 1e9, headers
        key: bytes | None = None
        value: bytes | None = payload
        timestamp = stored / 1e9
        if self.compacting:
            key = key_from_token(subject[prefix:])
        told: dict[str, Any] | None = None
        if headers:
            if KEY_HEADER in headers:
                key = base64.b64decode(headers[KEY_HEADER])
            if TOMBSTONE_HEADER in headers:
                value = None
            if TIME_HEADER in headers:
                timestamp = float(headers[TIME_HEADER])
            told = {
                name: base64.b64decode(text[len(_BINARY) :]) if text.startswith(_BINARY) else text
                for name, text in headers.items()
                if name not in _OWN_HEADERS
            }
        return key, value, timestamp, told

    def message(
        self,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        timestamp: float | None,
        headers: Any,
    ) -> tuple[str, bytes, dict[str, str]]:
        """Return subject, payload and headers that say these things."""
        if self.bound:
            if key is None:
                raise ConfigurationError(
                    f"topic {self.name} is bound to stream {self.stream}: sending to it needs a "
                    "key, which is the rest of the subject."
                )
            return check_subject(self.root(partition) + key.decode()), value or b"", {}
        told = {name: _header_text(data) for name, data in _header_pairs(headers)}
        rest = "_"
        if self.compacting and key is not None:
            rest = key_token(key)
        elif key is not None:
            told[KEY_HEADER] = base64.b64encode(key).decode()
        if value is None:
            told[TOMBSTONE_HEADER] = "1"
        if timestamp:
            told[TIME_HEADER] = repr(timestamp)
        return self.root(partition) + rest, value or b"", told


def _header_pairs(headers: Any) -> list[tuple[str, Any]]:
    if not headers:
        return []
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers)


def _header_text(data: Any) -> str:
    raw = data if isinstance(data, bytes) else str(data).encode()
    text = raw.decode("utf-8", "replace")
    if text.isprintable() and text.strip() == text and text.encode() == raw:
        return text
    return _BINARY + base64.b64encode(raw).decode()


class Topics:
    """The topics an app knows, declared on the server when first needed."""

    def __init__(
        self, names: Names, *, replicas: int, storage: str, max_bytes: int, duplicate_window: float
    ) -> None:
        self.names = names
        self.known: dict[str, Topic] = {}
        self._replicas = replicas
        self._storage = storage
        self._max_bytes = max_bytes
        self._duplicate_window = duplicate_window
        self._checked: set[str] = set()

    def bind(
        self, name: str, stream: str, partitions: int, filter_subject: str, start: str
    ) -> Topic:
        """Bind a topic to a stream that exists (or will, when the app starts)."""
        if "{partition}" not in filter_subject or not filter_subject.endswith(".>"):
            raise ConfigurationError(
                f"filter_subject {filter_subject!r} of topic {name} must contain {{partition}} and "
                "end in '.>', as in 'part.{partition}.>'."
            )
        if start not in ("", "earliest", "latest"):
            raise ConfigurationError(f"start = {start!r} of topic {name}: earliest or latest.")
        topic = Topic(name, stream, partitions, filter_subject, bound=True, start=start)
        self.known[name] = topic
        return topic

    def partition_for(self, name: str, key: bytes | None) -> int | None:
        """Return the partition of a key; None if the topic is unknown or there is no key."""
        topic = self.known.get(name)
        if topic is None or key is None:
            return None
        return partition_of(key, topic.partitions)

    async def check_bound(self, connection: Connection, topic: Topic) -> None:
        """Raise :exc:`ConfigurationError` if the stream of a bound topic does not exist."""
        if topic.stream in self._checked:
            return
        try:
            await connection.api_until_answered(f"STREAM.INFO.{topic.stream}")
        except ApiError as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            raise ConfigurationError(
                f"topic {topic.name} is bound to stream {topic.stream}, which does not exist: "
                "create the stream before the worker starts."
            ) from error
        self._checked.add(topic.stream)

    async def declare(
        self,
        connection: Connection,
        name: str,
        partitions: int,
        *,
        replicas: int | None = None,
        retention: float | None = None,
        compacting: bool = False,
        config: Mapping[str, Any] | None = None,
        only_check: bool = False,
    ) -> Topic:
        """Make a topic's stream unless it exists; raise if it contradicts the declaration.

        An existing stream's partition count wins over a default, not over ``only_check``'s
        absence with another count: then :exc:`StreamMismatchError` is raised.
        """
        known = self.known.get(name)
        if known is not None:
            return known
        stream = self.names.topic_stream(name)
        wanted = {
            "name": stream,
            "description": f"faust topic {name}",
            "subjects": [f"{self.names.topic_root(name)}.>"],
            "storage": self._storage,
            "num_replicas": max(replicas or 1, self._replicas),
            "retention": "limits",
            "discard": "old" if compacting else "new",
            "max_msgs_per_subject": 1 if compacting else -1,
            "max_age": int(retention * SECOND) if retention and not compacting else 0,
            "max_bytes": self._max_bytes,
            "duplicate_window": int(self._duplicate_window * SECOND),
            "allow_direct": True,
            "metadata": {"faust.topic": name, "faust.partitions": str(partitions)},
            **(config or {}),
        }
        if 0 < wanted["max_age"] < wanted["duplicate_window"]:
            wanted["duplicate_window"] = wanted["max_age"]
        found = await self._existing(connection, stream)
        if found is None:
            await ensure_stream(connection, wanted, ())
        else:
            there = int(found.get("metadata", {}).get("faust.partitions", partitions))
            compacts = found.get("max_msgs_per_subject", -1) == 1
            differences: dict[str, tuple[object, object]] = {}
            if there != partitions and not only_check:
                differences["partitions"] = (there, partitions)
            if compacts != compacting and not only_check:
                differences["compacting"] = (compacts, compacting)
            if differences:
                raise StreamMismatchError(stream, differences)
            partitions, compacting = there, compacts
        topic = Topic(
            name,
            stream,
            partitions,
            f"{self.names.topic_root(name)}.{{partition}}.>",
            compacting=compacting,
        )
        self.known[name] = topic
        return topic

    async def declare_replies(
        self, connection: Connection, name: str, *, expires: float, local: bool
    ) -> Topic:
        """Declare a topic of replies. All of them share one stream, since each process that
        asks has one of its own, and a stream per process would never go away.

        ``expires`` is in seconds; ``local`` says that this process asks.
        """
        stream, root = self.names.reply_stream(), self.names.reply_root()
        config = {
            "name": stream,
            "description": "replies of faust agents",
            "subjects": [f"{root}.>"],
            "storage": self._storage,
            "num_replicas": self._replicas,
            "discard": "old",
            "max_age": int(expires * SECOND),
            "max_bytes": self._max_bytes,
            "duplicate_window": int(min(self._duplicate_window, expires) * SECOND),
        }
        await ensure_stream(connection, config, ("subjects",))
        topic = Topic(name, stream, 1, f"{root}.{token(name)}.{{partition}}.>", local=local)
        self.known[name] = topic
        return topic

    async def _existing(self, connection: Connection, stream: str) -> dict[str, Any] | None:
        try:
            answer = await connection.api_until_answered(f"STREAM.INFO.{stream}")
        except ApiError as error:
            if error.err_code == STREAM_NOT_FOUND:
                return None
            raise
        config: dict[str, Any] = answer["config"]
        return config


async def ensure_stream(
    connection: Connection, config: Mapping[str, Any], must_match: tuple[str, ...]
) -> dict[str, Any]:
    """Create a stream, or check that the one that exists has what matters; return its config.

    ``must_match`` names the settings that an existing stream must share, else
    :exc:`StreamMismatchError` is raised; others may differ.
    """
    name = config["name"]
    try:
        answer = await connection.api_until_answered(f"STREAM.CREATE.{name}", config)
    except ApiError as error:
        if error.err_code != STREAM_NAME_IN_USE:
            raise
        answer = await connection.api_until_answered(f"STREAM.INFO.{name}")
        found = answer["config"]
        differences = {
            key: (found.get(key), config[key])
            for key in must_match
            if found.get(key) != config[key]
        }
        if differences:
            raise StreamMismatchError(name, differences) from error
    stored: dict[str, Any] = answer["config"]
    return stored
