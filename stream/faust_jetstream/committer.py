"""Sending what partitions cut: in order, one at a time, until it is known what happened."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from .atomic import BATCH_TOO_LARGE, NoAnswerError, send_batch
from .connection import UNANSWERED, Connection, is_transient
from .errors import (
    ApiError,
    BatchTooLargeError,
    FencedError,
    JetStreamTransportError,
    MessageTooLargeError,
)
from .names import Names
from .ownership import read_record
from .partition import Cut, Partition

logger = logging.getLogger(__name__)

_NO_ANSWER: tuple[type[Exception], ...] = (NoAnswerError, *UNANSWERED)

_BATCH_HEADERS = 256
"""Bytes of headers that a batch adds to a message, at most."""

_REFUSED = frozenset({10071, 10176})
"""Wrong last sequence; incomplete batch. After a lost answer both can mean "committed"."""


class Committer:
    """Commits the cuts of all owned partitions, each partition in a task of its own.

    ``before`` is awaited between a cut and its batch; ``after`` is called with the cut and its
    last sequence.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        before: Callable[[Partition], Awaitable[None]],
        after: Callable[[Partition, Cut, int], None],
    ) -> None:
        self.connection = connection
        self.names = names
        self.commits = 0
        self.messages = 0
        self.retries = 0
        self.problems: dict[int, str] = {}
        self._before = before
        self._after = after

    async def run(self, partition: Partition) -> None:
        """Commit a partition's cuts until it is discarded."""
        while partition.alive:
            partition.work.clear()
            while partition.alive and partition.cuts:
                cut = partition.cuts[0]
                try:
                    await self._before(partition)
                    if not partition.alive:
                        return
                    sequence = await self._commit(partition, cut)
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    partition.fail(error)
                    return
                if not partition.alive:
                    return
                self.problems.pop(partition.number, None)
                self.commits += 1
                self.messages += len(cut.messages)
                partition.committed(cut, sequence)
                self._after(partition, cut, sequence)
            await partition.work.wait()

    async def _commit(self, partition: Partition, cut: Cut) -> int:
        settings = self.connection.settings
        limit = self.connection.client.max_payload - _BATCH_HEADERS
        for message in cut.messages:
            size = len(message.payload) + len(message.headers)
            if size > limit:
                raise MessageTooLargeError(message.subject, size, limit)
        wait = settings.retry_wait
        while True:
            try:
                return await send_batch(
                    self.connection, cut.messages, partition.sequence, settings.commit_try_timeout
                )
            except ApiError as error:
                if error.err_code == BATCH_TOO_LARGE:
                    raise BatchTooLargeError(
                        partition.number, len(cut.messages), settings.batch_limit
                    ) from error
                if error.err_code not in _REFUSED and not is_transient(error):
                    raise
                self._note(partition, cut, error)
            except _NO_ANSWER as error:
                self._note(partition, cut, error)
            self.retries += 1
            sequence = await self._what_happened(partition, cut)
            if sequence is not None:
                return sequence
            await asyncio.sleep(wait)
            wait = min(wait * 2, 2.0)

    def _note(self, partition: Partition, cut: Cut, error: Exception) -> None:
        problem = f"commit {cut.number} of partition {partition.number}: {error!r}"
        if self.problems.get(partition.number) != problem:
            self.problems[partition.number] = problem
            logger.warning("%s; finding out, and trying again", problem)

    async def _what_happened(self, partition: Partition, cut: Cut) -> int | None:
        """Return the sequence of the commit if it happened; None if it is to be sent again.

        The offset record is the last of a batch, and names the commit: there, the commit
        happened; one lower, it did not, unless it still travels, and then the fence on the
        last sequence lets only one of the two through.
        """
        stream = self.names.state_stream(partition.number)
        root = self.names.state_root(partition.number)
        offset = await read_record(self.connection, stream, f"{root}.offset")
        epoch = await read_record(self.connection, stream, f"{root}.epoch")
        if epoch.value.get("epoch") != partition.epoch:
            raise FencedError(partition.number, str(epoch.value.get("member", "nobody")))
        stored = offset.value.get("commit", 0)
        if stored == cut.number:
            return offset.sequence
        if stored == cut.number - 1:
            partition.sequence = max(offset.sequence, epoch.sequence)
            return None
        raise JetStreamTransportError(
            f"partition {partition.number} holds commit {stored}, where {cut.number - 1} or "
            f"{cut.number} was expected: something else wrote to stream {stream}. Remove it from "
            "the stream's writers; the partition is loaded anew."
        )
