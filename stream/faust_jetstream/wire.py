"""Bytes of the NATS client protocol: publishes with headers, and header blocks.

Framing here instead of calling ``Client.publish`` per message lets a whole commit, or a
message and its retries, be one write; it follows the client protocol's ``PUB`` and ``HPUB``
(https://docs.nats.io/reference/reference-protocols/nats-protocol).
"""

import re
from collections.abc import Mapping

from .errors import ConfigurationError

_NAME = re.compile(r"[!-9;-~]+")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

NO_HEADERS = b""


def header_block(headers: Mapping[str, str] | None) -> bytes:
    """Return headers as lines of the protocol, each ended by CR LF; empty for none.

    Raises :exc:`ConfigurationError` for names and values that would break out of their line.
    """
    if not headers:
        return NO_HEADERS
    lines = []
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or _BAD_VALUE.search(value):
            raise ConfigurationError(
                f"header {name!r}: {value!r} cannot be sent: names are printable ASCII without "
                "spaces and colons, values are text without control characters."
            )
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode()


def publish_frame(subject: str, reply: str, headers: bytes, payload: bytes) -> bytes:
    """Return the frame that publishes ``payload``; ``headers`` is a :func:`header_block`."""
    to = f"{subject} {reply} " if reply else f"{subject} "
    if not headers:
        return b"PUB %b%d\r\n%b\r\n" % (to.encode(), len(payload), payload)
    size = len(headers) + 12
    return b"HPUB %b%d %d\r\nNATS/1.0\r\n%b\r\n%b\r\n" % (
        to.encode(),
        size,
        size + len(payload),
        headers,
        payload,
    )
