"""Faust on NATS JetStream: groups of workers, exactly once. See README.md."""

from .errors import (
    ApiError,
    BatchTooLargeError,
    ConfigurationError,
    DuplicateMemberError,
    FencedError,
    JetStreamTransportError,
    NotAssignedError,
    NotSupportedError,
    PublishError,
    StaleEventError,
    StreamMismatchError,
    WindowFullError,
)
from .settings import JetStreamSettings

__all__ = [
    "ApiError",
    "BatchTooLargeError",
    "ConfigurationError",
    "DuplicateMemberError",
    "FencedError",
    "JetStreamSettings",
    "JetStreamTransportError",
    "NotAssignedError",
    "NotSupportedError",
    "PublishError",
    "StaleEventError",
    "StreamMismatchError",
    "WindowFullError",
]
