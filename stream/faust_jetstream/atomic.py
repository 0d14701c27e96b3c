"""Atomic batches: JetStream's all-or-nothing publish (server 2.12, ADR-50)."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import NamedTuple

from nats.aio.msg import Msg

from .connection import Connection, is_transient, parse_reply
from .errors import ApiError, ConfigurationError, JetStreamTransportError
from .wire import publish_frame

WRONG_LAST_SEQUENCE = 10071
BATCH_INCOMPLETE = 10176
BATCH_TOO_LARGE = 10199

_IMPOSSIBLE_SEQUENCE = 2**62


class BatchMessage(NamedTuple):
    """One message of a batch: where, what, and a header block as of :mod:`.wire`."""

    subject: str
    payload: bytes
    headers: bytes = b""


class NoAnswerError(JetStreamTransportError):
    """The batch may have been committed, or not: read the offset record to know."""


def frames(
    messages: Sequence[BatchMessage],
    expected_last_sequence: int,
    batch_id: str,
    first_reply: str,
    last_reply: str,
) -> bytes:
    """Return the whole batch as protocol bytes, its last message being the commit."""
    identity = batch_id.encode()
    count = len(messages)
    written = []
    for number, message in enumerate(messages, 1):
        block = b"Nats-Batch-Id:%b\r\nNats-Batch-Sequence:%d\r\n" % (identity, number)
        reply = ""
        if number == 1:
            block += b"Nats-Expected-Last-Sequence:%d\r\n" % expected_last_sequence
            reply = first_reply
        if number == count:
            block += b"Nats-Batch-Commit:1\r\n"
            reply = last_reply
        written.append(
            publish_frame(message.subject, reply, block + message.headers, message.payload)
        )
    return b"".join(written)


async def send_batch(
    connection: Connection,
    messages: Sequence[BatchMessage],
    expected_last_sequence: int,
    timeout: float,
) -> int:
    """Send a batch that counts only if the stream's last sequence is as expected.

    Returns the sequence of its last message. Raises :exc:`ApiError` if the server refused it,
    :exc:`NoAnswerError` if it is not known what happened.
    """
    first_reply, first = connection.expect_reply()
    last_reply, last = connection.expect_reply()
    try:
        data = frames(
            messages, expected_last_sequence, uuid.uuid4().hex[:16], first_reply, last_reply
        )
        if not connection.write(data):
            raise NoAnswerError("not connected")
        answer = await _answer(first, last, len(messages) == 1, timeout)
    finally:
        connection.forget_reply(first_reply)
        connection.forget_reply(last_reply)
    if not answer.data:
        raise NoAnswerError("no server answers for the stream")
    sequence: int = parse_reply(answer.data)["seq"]
    return sequence


async def _answer(
    first: asyncio.Future[Msg], last: asyncio.Future[Msg], single: bool, timeout: float
) -> Msg:
    waiting = {last} if single else {first, last}
    deadline = asyncio.get_running_loop().time() + timeout
    while waiting:
        left = deadline - asyncio.get_running_loop().time()
        done, waiting = await asyncio.wait(
            waiting, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED
        )
        if last in done:
            return last.result()
        if not done:
            break
        # The first message is answered at once: empty and without status if the batch began.
        message = first.result()
        if message.data or message.headers:
            return message
    raise NoAnswerError(f"no answer within {timeout} s")


async def verify_batch_limit(
    connection: Connection, stream: str, subject: str, limit: int, timeout: float
) -> None:
    """Check that the server takes batches of ``limit`` messages, without writing any.

    The trial batch expects a sequence that no stream has, so that even a batch of an allowed
    size is refused. Raises :exc:`ConfigurationError` if the size is what it is refused for.
    """
    messages = [BatchMessage(subject, b"")] * limit
    while True:
        try:
            await send_batch(connection, messages, _IMPOSSIBLE_SEQUENCE, timeout)
        except NoAnswerError:
            await asyncio.sleep(connection.settings.retry_wait)
            continue
        except ApiError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                return
            if error.err_code == BATCH_TOO_LARGE:
                raise ConfigurationError(
                    f"batch_limit = {limit}, but the server takes less: {error.description}. "
                    "Lower batch_limit, or raise jetstream.limits.batch.max_msgs on the server."
                ) from error
            if is_transient(error) or error.err_code == BATCH_INCOMPLETE:
                await asyncio.sleep(connection.settings.retry_wait)
                continue
            raise
        raise ConfigurationError(
            f"stream {stream} took a batch that it had to refuse: it does not honour "
            "Nats-Expected-Last-Sequence. Use nats-server 2.12 or newer."
        )
