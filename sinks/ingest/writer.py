"""What runs in the one thread that writes: inserts, refusals, and the ledger."""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sinks.errors import RowRejectedError, StoreError
from sinks.ingest.group import Group, Stage, Work
from sinks.ingest.ledger import Ledger, LedgerRow
from sinks.ingest.message import lines_of
from sinks.ingest.recovery import recover
from sinks.ingest.tables.definition import SinkTable
from sinks.store.client import Store, quoted

_log = logging.getLogger("tenwatch.sink")
_ROW_IN_MESSAGE: Final = re.compile(r"\(at row (\d+)\)")
HINTS: Final = 8
"""Bad lines that are taken out one by one, as the store names them, before halving begins."""


@dataclass(slots=True)
class _Booking:
    """One insert into the ledger; kept as it is until it is done, so that a repeat is a repeat."""

    groups: list[Group]
    rows: list[LedgerRow]
    insert_id: int


class Writer:
    """Stores groups. Every method blocks and belongs to one thread."""

    def __init__(self, store: Store, tables: Sequence[SinkTable]) -> None:
        self._store = store
        self._tables = tables
        self._ledger = Ledger(store.writer, store.settings.database)
        self._next_id = 1
        self._booking: _Booking | None = None
        self.insert_seconds = 0.0
        self.bytes = 0

    def start(self) -> int:
        """Book what an earlier sink had stored and not booked; gives the number of its rows."""
        recovered, last_id = recover(self._store, self._tables)
        self._next_id = last_id + 1
        return recovered

    def store(self, groups: Sequence[Group]) -> None:
        """Bring each group to ``STORED``, or give it the error that stopped it."""
        for group in groups:
            group.error = None
            try:
                if group.stage is Stage.GATHERED:
                    self._ledger.load(group.boots())
                    group.prepare(self._ledger)
                if group.stage is Stage.PREPARED:
                    self._insert_group(group)
                    group.stage = Stage.STORED
            except StoreError as error:
                group.error = error
                group.attempts += 1

    def book(self, groups: Sequence[Group]) -> None:
        """Write the ledger rows of groups whose dead letters are reported; all or none."""
        reported = [each for each in groups if each.stage is Stage.REPORTED]
        try:
            if self._booking is None and reported:
                rows = [row for group in reported for row in group.ledger_rows()]
                self._booking = _Booking(reported, rows, self._take_id())
            if self._booking is not None:
                booking = self._booking
                self._ledger.insert(booking.rows, booking.insert_id)
                for group in booking.groups:
                    group.stage = Stage.BOOKED
                self._booking = None
        except StoreError as error:
            for group in reported:
                group.error = error
                group.attempts += 1

    def trim(self) -> None:
        """Bound the memory; call it when no group is under way."""
        self._ledger.trim()

    def _take_id(self) -> int:
        taken = self._next_id
        self._next_id += 1
        return taken

    def _insert_group(self, group: Group) -> None:
        """Insert all its lines; those that the store refuses become dead letters.

        Whatever interrupts it, it may be called again and goes on with the same numbers.
        """
        if not group.lines:
            return
        if not group.insert_id:
            group.insert_id = self._take_id()
        if not group.work:
            payload = b"".join(group.payload)
            try:
                self._insert(group, payload, group.lines, group.insert_id)
                return
            except RowRejectedError as error:
                _log.warning(
                    "%s: a row is refused, looking for it: %s", group.table.name, _reason(error)
                )
                lines = list(enumerate(lines_of(payload)))
                self._split(group, Work(group.insert_id, lines), error)
        while group.work:
            work = group.work[-1]
            payload = b"".join(line for _, line in work.lines)
            try:
                self._insert(group, payload, len(work.lines), work.insert_id)
                group.work.pop()
                group.insert_id = max(group.insert_id, work.insert_id)
            except RowRejectedError as error:
                group.work.pop()
                self._split(group, work, error)

    def _split(self, group: Group, work: Work, error: RowRejectedError) -> None:
        """Part refused lines: the one that the store names from the rest, else in halves."""
        lines = work.lines
        if len(lines) == 1:
            group.refuse(*lines[0], "bad_row", _reason(error))
            return
        named = _ROW_IN_MESSAGE.search(str(error))
        place = int(named[1]) - 1 if named is not None else -1
        if group.hints < HINTS and 0 <= place < len(lines):
            group.hints += 1
            pieces = [lines[:place] + lines[place + 1 :], [lines[place]]]
        else:
            middle = len(lines) // 2
            pieces = [lines[middle:], lines[:middle]]
        # Numbers rise in the order of the inserts: the last piece is tried first.
        numbers = [self._take_id() for _ in pieces]
        group.work += [
            Work(number, piece) for number, piece in zip(reversed(numbers), pieces, strict=True)
        ]

    def _insert(self, group: Group, payload: bytes, lines: int, insert_id: int) -> None:
        """One insert. Raises ``RowRejectedError`` also when lines were not one row each."""
        started = time.monotonic()
        token = f"{group.table.name}-{insert_id}"
        read = self._store.writer.insert_lines(
            group.table.table, payload, insert_id=insert_id, token=token
        )
        self.insert_seconds += time.monotonic() - started
        group.inserts += 1
        if read is not None and read != lines:
            self._undo(group.table, insert_id)
            raise RowRejectedError(f"{lines} lines were read as {read} rows")
        self.bytes += len(payload)

    def _undo(self, table: SinkTable, insert_id: int) -> None:
        """Take back an insert whose lines were not one row each."""
        if table.identified:
            self._store.writer.command(
                f"ALTER TABLE {self._store.database}.{quoted(table.table)} "
                f"DELETE WHERE insert_id = {insert_id:d}",
                settings={"mutations_sync": 2},
            )


def _reason(error: RowRejectedError) -> str:
    """What was wrong, without the rows that the store quotes."""
    text = str(error)
    name = re.search(r"\(([A-Z][A-Z_]+)\)", text)
    key = re.search(r"while reading the value of key (\w+)", text)
    if name is None:
        return text.partition("\n")[0][:200]
    where = f" in the field {key[1]}" if key is not None else ""
    return f"{name[1]} ({error.code}){where}"
