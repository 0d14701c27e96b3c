"""Reads the BPF program's ring buffer and counters where the kernel left them, by mmap.

Layout of a ring buffer (kernel/bpf/ringbuf.c): one page with the consumer's position, which the
reader writes; one page with the producer's position; then the data, mapped twice in a row, so that
a record that wraps around is contiguous. A record is an 8-byte head (length with a busy and a
discard bit, page offset) and its data, padded to 8 bytes.
"""

import mmap
import os
import select
import threading
from collections.abc import Iterator
from typing import NamedTuple, Self

PAGE = os.sysconf("SC_PAGE_SIZE")
_BUSY = 1 << 31
_DISCARDED = 1 << 30
_HEAD = 8


class RingBuffer:
    """The reader of one ring buffer. One thread reads at a time.

    :param descriptor: of the map; owned, and closed by :meth:`close`
    :param size: bytes of the data area, a power of two
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._mask = size - 1
        self._consumer_page = mmap.mmap(descriptor, PAGE, mmap.MAP_SHARED)
        self._producer_pages = mmap.mmap(
            descriptor, PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE
        )
        self._consumer = memoryview(self._consumer_page)[:8].cast("Q")
        self._producer = memoryview(self._producer_pages)[:8].cast("Q")
        self._heads = memoryview(self._producer_pages)[PAGE:].cast("I")
        self.position = int(self._consumer[0])
        """Up to here :meth:`read` has come; bytes since the ring was made."""
        self._barrier = threading.Lock()
        self._epoll = select.epoll()
        # Edge-triggered: level-triggered, it would return at once while anything lies unread, and
        # the reader would run once per record.
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def unread_bytes(self) -> int:
        """What the kernel has written and :meth:`read` has not returned."""
        return int(self._producer[0]) - self.position

    @property
    def oldest_intact(self) -> int:
        """Everything from this position on is still there, also what was given back long ago."""
        return max(0, int(self._producer[0]) - self._size)

    def reread(self, start: int, stop: int) -> Iterator[bytes]:
        """Records that were read before, as far as the kernel has not written over them yet.

        :param start: a record's beginning
        :param stop: where to end, not beyond :attr:`position`
        """
        position = start
        while self.oldest_intact <= position < stop:
            at = position & self._mask
            length = self._heads[at >> 2]
            size = length & ~(_BUSY | _DISCARDED)
            record = self._producer_pages[PAGE + _HEAD + at : PAGE + _HEAD + at + size]
            if position < self.oldest_intact or size > self._size:
                return
            if size == length:
                yield record
            position += (_HEAD + size + 7) & ~7

    def wait(self, seconds: float) -> None:
        """Return when the kernel asks for a reader, or after that time."""
        self._epoll.poll(seconds)

    def read(self, limit: int) -> list[bytes]:
        """The next records, at most ``limit`` of them, in the order in which they were reserved.

        They stay in the ring until :meth:`release`.
        """
        heads, mask, position = self._heads, self._mask, self.position
        end = self._producer[0]
        spans: list[tuple[int, int]] = []
        while position < end and len(spans) < limit:
            length = heads[(position & mask) >> 2]
            if length & _BUSY:
                break
            size = length & ~_DISCARDED
            if size == length:
                start = PAGE + _HEAD + (position & mask)
                spans.append((start, start + size))
            position += (_HEAD + size + 7) & ~7
        self.position = position
        # The heads must be read before the data on processors that reorder loads (arm64); taking a
        # lock that nobody contends for is Python's memory barrier.
        with self._barrier:
            data = self._producer_pages
            return [data[start:stop] for start, stop in spans]

    def seek(self, position: int) -> None:
        """Go on reading at a later record's beginning."""
        self.position = max(self.position, position)

    def release(self, position: int) -> None:
        """Give the space of everything before that position back to the kernel."""
        with self._barrier:
            self._consumer[0] = position

    def close(self) -> None:
        """Unmap the buffer and close its descriptor."""
        self._epoll.close()
        for view in (self._consumer, self._producer, self._heads):
            view.release()
        self._consumer_page.close()
        self._producer_pages.close()
        os.close(self._descriptor)


class Counts(NamedTuple):
    """Totals since the program was attached, as ``program.bpf.c`` orders them."""

    exec_seen: int = 0
    exec_filtered: int = 0
    exec_lost: int = 0
    exit_seen: int = 0
    exit_filtered: int = 0
    exit_lost: int = 0

    @property
    def seen(self) -> int:
        """Execs and exits that the tracepoints reported, kernel threads left out."""
        return self.exec_seen + self.exit_seen

    @property
    def filtered(self) -> int:
        """Those that no configured prefix selects."""
        return self.exec_filtered + self.exit_filtered

    @property
    def lost(self) -> int:
        """Those that found the ring buffer full."""
        return self.exec_lost + self.exit_lost

    def since(self, earlier: "Counts") -> "Counts":
        """The differences to an earlier reading."""
        return Counts(*(now - then for now, then in zip(self, earlier, strict=True)))


class Counters:
    """The in-kernel counters, mapped: reading them is no system call.

    :param descriptor: of the map; owned, and closed by :meth:`close`
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._page = mmap.mmap(descriptor, PAGE, mmap.MAP_SHARED, mmap.PROT_READ)
        self._values = memoryview(self._page)[: 8 * len(Counts._fields)].cast("Q")

    def read(self) -> Counts:
        """The totals now."""
        return Counts(*self._values)

    def close(self) -> None:
        """Unmap the counters and close their descriptor."""
        self._values.release()
        self._page.close()
        os.close(self._descriptor)
