"""The few places where nats-py's own parts are used below its public methods.

``Client.publish`` builds and checks every header of every message anew; a publisher of ours
encodes a batch's headers once. And what a client had buffered when its connection broke must be
dropped, since it would reach the broker before the older batches that are sent again.
Written for nats-py 2.16; ``tests/stream/broker/test_wire.py`` notices when an upgrade moves them.
"""

from collections.abc import Mapping
from typing import Final

from nats.aio.client import Client

from stream.broker.errors import BrokerError

_VERSION_LINE: Final = b"NATS/1.0\r\n"


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """The header block of a message; raises :class:`BrokerError` for a line break in a value."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise BrokerError(f"a header has a line break in it: {dict(headers)!r}")
    return _VERSION_LINE + lines.encode("utf-8") + b"\r\n"


def frame(subject: str, reply: str, headers: bytes, payload: bytes) -> bytes:
    """One message as it goes over the wire. Subjects are ours: they hold no blanks."""
    if not headers:
        return b"PUB %b %b %d\r\n%b\r\n" % (
            subject.encode(), reply.encode(), len(payload), payload,
        )  # fmt: skip
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
        subject.encode(), reply.encode(), len(headers), len(headers) + len(payload),
        headers, payload,
    )  # fmt: skip


async def send(client: Client, data: bytes) -> None:
    """Send framed messages; waits while the socket is behind by more than nats-py buffers."""
    await client._send_command(data)
    if client._flush_queue is not None and client._flush_queue.empty():
        await client._flush_pending()


def drop_unsent(client: Client) -> int:
    """Forget what was buffered and not sent; gives its bytes. Call while disconnected."""
    size = client._pending_data_size
    client._pending.clear()
    client._pending_data_size = 0
    return size
