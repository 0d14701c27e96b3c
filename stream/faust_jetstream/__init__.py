"""Faust on NATS JetStream: groups of workers, exactly once. See README.md."""

from .app import create_app
from .assignors import LeaderAssignor, PartitionAssignor
from .codec import Codec, JSONCodec, KeyCodec
from .errors import (
    ApiError,
    BatchTooLargeError,
    ConfigurationError,
    DuplicateMemberError,
    FencedError,
    JetStreamTransportError,
    MessageTooLargeError,
    NotAssignedError,
    NotSupportedError,
    PublishError,
    StaleEventError,
    StreamMismatchError,
    WindowFullError,
)
from .jetstream import JetStream
from .outbox import Outbox
from .publisher import Publisher
from .settings import JetStreamSettings
from .table import PartitionTable, Table
from .transport import Transport

__all__ = [
    "ApiError",
    "BatchTooLargeError",
    "Codec",
    "ConfigurationError",
    "DuplicateMemberError",
    "FencedError",
    "JSONCodec",
    "JetStream",
    "JetStreamSettings",
    "JetStreamTransportError",
    "KeyCodec",
    "LeaderAssignor",
    "MessageTooLargeError",
    "NotAssignedError",
    "NotSupportedError",
    "Outbox",
    "PartitionAssignor",
    "PartitionTable",
    "PublishError",
    "Publisher",
    "StaleEventError",
    "StreamMismatchError",
    "Table",
    "Transport",
    "WindowFullError",
    "create_app",
]
