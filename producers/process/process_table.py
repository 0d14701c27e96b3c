"""The living processes whose exec was seen, so that their exit can repeat it."""

from collections.abc import Iterable

from stream.contract.kinds.process import ProcessEvent

# A record without arguments: the struct, its identifiers, and its place in the table.
_BASE_BYTES = 900


class ProcessTable:
    """Remembers the last exec of each living process, up to two bounds.

    When full, it forgets the records that were put in first. A process that is forgotten is still
    reported when it exits, without its arguments, marked degraded.

    :param limit: processes
    :param byte_limit: bytes that their records may take, roughly
    """

    def __init__(self, limit: int, byte_limit: int) -> None:
        self._limit = limit
        self._byte_limit = byte_limit
        self._bytes = 0
        self._records: dict[int, ProcessEvent] = {}
        self.forgotten = 0
        """How many records had to give way to others."""

    def __len__(self) -> int:
        return len(self._records)

    @property
    def estimated_bytes(self) -> int:
        """What the remembered records take."""
        return self._bytes

    def put(self, record: ProcessEvent) -> None:
        """Remember a process's exec, instead of an earlier one of that pid."""
        # Taken out first, so that it goes to the end of the dictionary: the newest.
        self._discard(record.pid)
        self._records[record.pid] = record
        self._bytes += _size(record)
        while len(self._records) > self._limit or self._bytes > self._byte_limit:
            self._discard(next(iter(self._records)))
            self.forgotten += 1

    def get(self, pid: int, exec_id: str) -> ProcessEvent | None:
        """A process's last exec, if it is remembered."""
        record = self._records.get(pid)
        return record if record is not None and record.exec_id == exec_id else None

    def take(self, pid: int, exec_id: str) -> ProcessEvent | None:
        """The same, and forget it. A record of an earlier process with that pid goes, too."""
        record = self._discard(pid)
        return record if record is not None and record.exec_id == exec_id else None

    def retain(self, living: Iterable[str]) -> None:
        """Drop everything but these ``exec_id``; for when exits were lost."""
        kept = frozenset(living)
        for pid in [pid for pid, record in self._records.items() if record.exec_id not in kept]:
            self._discard(pid)

    def _discard(self, pid: int) -> ProcessEvent | None:
        record = self._records.pop(pid, None)
        if record is not None:
            self._bytes -= _size(record)
        return record


def _size(record: ProcessEvent) -> int:
    # 60 bytes is what CPython needs for a short text and its place in a list.
    return _BASE_BYTES + 60 * len(record.argv) + sum(map(len, record.argv))
