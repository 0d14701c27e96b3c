"""The group as one member sees it: who lives, who leads, who is assigned what.

Runs in a thread with its own event loop and connection, so that heartbeats go out however
busy the worker's loop is. All members read one compacted stream: a record per member, one for
the leader, one for the assignment. A member is dead when its record has not changed for a
lease *as observed here*; clocks of machines are never compared. Nothing here is needed for
safety, which is the fence's work; it only decides who should own what.
"""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from .assignment import assign
from .connection import FAILED, Connection, is_transient, parse_reply
from .errors import ApiError, DuplicateMemberError
from .names import Names, token
from .ownership import read_record
from .reader import Reader
from .settings import JetStreamSettings
from .tasks import wait_event

logger = logging.getLogger(__name__)

_WRONG_LAST_SEQUENCE = 10071


@dataclass(frozen=True, slots=True)
class View:
    """What the group looks like at one moment.

    ``generation`` numbers assignments; ``assignment`` maps members to partitions; ``owned``
    maps live members to the partitions they say they hold.
    """

    generation: int = 0
    assignment: dict[str, list[int]] = field(default_factory=dict)
    owned: dict[str, frozenset[int]] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    leader: str = ""


@dataclass(slots=True)
class _Record:
    sequence: int
    value: dict[str, Any]
    changed: float
    stored: int = 0


class Membership:
    """Keeps a member alive in its group, and leads the group if elected.

    ``on_change`` is called (on the loop that called :meth:`start`) whenever the view changes;
    ``on_fatal`` when this member cannot go on.
    """

    def __init__(
        self,
        settings: JetStreamSettings,
        names: Names,
        *,
        url: str,
        on_change: Callable[[], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self.settings = settings
        self.names = names
        self.member = settings.member_id
        self.incarnation = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        self.view = View()
        self.partitions = 0
        self.leading = False
        self.heartbeat_at = 0.0
        self._url = url
        self._on_change = on_change
        self._on_fatal = on_fatal
        self._owned: frozenset[int] = frozenset()
        self._left = False
        self._main: asyncio.AbstractEventLoop | None = None
        self._main_seen = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._kick: asyncio.Event | None = None
        self._stop = False
        self._ready = threading.Event()
        self._root = names.group_root()
        self._own_subject = f"{self._root}.member.{token(self.member)}"
        self._records: dict[str, _Record] = {}
        self._leader_renewed = 0.0
        self._last_tick = 0.0
        self._heartbeat_wanted = True
        self._silent = False
        self._arrived = False
        self._connection: Connection | None = None

    # -- called from the worker's loop ------------------------------------------------------

    def start(self, partitions: int) -> None:
        """Start the thread. The group stream must exist."""
        self.partitions = partitions
        self._main = asyncio.get_running_loop()
        self._main_seen = time.monotonic()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name="faust-jetstream-group", daemon=True
        )
        self._thread.start()
        self._ready.wait(5)

    def alive(self) -> None:
        """Tell that the worker's loop moves; call it at least every ``stall_limit`` seconds."""
        self._main_seen = time.monotonic()

    def announce(self, owned: frozenset[int], partitions: int) -> None:
        """Tell the group at once which partitions this member holds."""
        self._owned = owned
        self.partitions = partitions
        self._kick_now()

    @property
    def is_leader(self) -> bool:
        """Whether this member leads, and has renewed that within the lease."""
        return self.leading and time.monotonic() - self._leader_renewed < self.settings.lease

    async def leave(self) -> None:
        """Tell the group that this member goes, and stop the thread (5 seconds at most)."""
        self._left = True
        self._owned = frozenset()
        self._stop = True
        self._kick_now()
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.join, 5)

    def _kick_now(self) -> None:
        self._heartbeat_wanted = True
        loop, kick = self._loop, self._kick
        if loop is not None and kick is not None and not loop.is_closed():
            loop.call_soon_threadsafe(kick.set)

    # -- the thread ---------------------------------------------------------------------------

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._kick = asyncio.Event()
        self._ready.set()
        connection = Connection(self.settings, f"{self.names.app}-group")
        try:
            await connection.open()
        except Exception as error:
            self._fatal(error)
            return
        self._connection = connection
        reader = Reader(
            connection,
            self.names.group_stream(),
            [f"{self._root}.>"],
            1,
            self._kick.set,
            last_per_subject=True,
            heartbeat=max(self.settings.heartbeat / 2, 0.5),
        )
        reader.start()
        try:
            while not self._stop:
                self._kick.clear()
                await self._tick(reader)
                if not reader.buffer:
                    await wait_event(self._kick, self.settings.heartbeat / 4)
            await self._goodbye()
        except Exception as error:
            logger.exception("group membership failed")
            self._fatal(error)
        finally:
            await reader.close()
            await connection.close()

    async def _tick(self, reader: Reader) -> None:
        now = time.monotonic()
        if reader.error is not None:
            raise reader.error
        if self._last_tick and now - self._last_tick > self.settings.lease / 2:
            # This process stood still; that others' records are old here says nothing of them.
            self._forgive(now)
        if self._connection is not None and not self._connection.connected:
            self._forgive(now)
        self._last_tick = now
        changed = False
        for sequence, stored, subject, payload, _ in reader.take(10_000):
            record = _Record(sequence, orjson.loads(payload), now, stored)
            self._records[subject] = record
            changed = True
            if subject == self._own_subject and not self._arrived:
                self._arrived = record.value["incarnation"] == self.incarnation
                self._look_back(stored, now)
        await self._beat(now)
        if reader.pending == 0 and not reader.buffer:
            await self._lead(now)
        if changed or self._expired_view(now):
            self._forget_the_long_dead(now)
            self._update_view(now)

    def _look_back(self, stored: int, now: float) -> None:
        """Learn from our own first record how old the others are, all by the server's clock."""
        if self._arrived:
            for record in self._records.values():
                if record.stored:
                    record.changed = min(record.changed, now - (stored - record.stored) / 1e9)

    def _forget_the_long_dead(self, now: float) -> None:
        for subject, record in list(self._records.items()):
            member = subject.startswith(f"{self._root}.member.")
            if member and now - record.changed > 20 * self.settings.lease:
                del self._records[subject]

    def _forgive(self, now: float) -> None:
        for record in self._records.values():
            record.changed = now

    async def _beat(self, now: float) -> None:
        due = now - self.heartbeat_at >= self.settings.heartbeat
        if not (due or self._heartbeat_wanted):
            return
        if self._stalled(now):
            return
        own = self._records.get(self._own_subject)
        if own is not None and own.value.get("incarnation", "") > self.incarnation:
            raise DuplicateMemberError(self.member)
        self._heartbeat_wanted = False
        value = {
            "member": self.member,
            "incarnation": self.incarnation,
            "owned": sorted(self._owned),
            "partitions": self.partitions,
            "url": self._url,
            "left": self._left,
            "beat": time.time_ns(),
        }
        if await self._put(self._own_subject, value) is not None:
            self.heartbeat_at = now
        else:
            self._heartbeat_wanted = True
            await asyncio.sleep(self.settings.retry_wait)

    def _stalled(self, now: float) -> bool:
        stalled = now - self._main_seen > self.settings.stall_limit
        if stalled and not self._silent:
            logger.error(
                "the event loop has stood still for %.1f s: this member goes silent, and its "
                "partitions move to others",
                now - self._main_seen,
            )
        self._silent = stalled
        return stalled

    async def _put(
        self, subject: str, value: dict[str, Any], expected: int | None = None
    ) -> int | None:
        """Write a record; None if it was refused (the expected one has changed) or unanswered."""
        connection = self._connection
        if connection is None:
            return None
        headers = {}
        if subject == self._own_subject:
            # Only the litter of members that come no more; whether one lives is not told by it.
            headers["Nats-TTL"] = f"{max(int(self.settings.lease * 20), 60)}s"
        if expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected)
        try:
            answer = await connection.client.request(
                subject, orjson.dumps(value), timeout=2, headers=headers
            )
            return int(parse_reply(answer.data, subject)["seq"])
        except FAILED as error:
            refused = isinstance(error, ApiError) and error.err_code == _WRONG_LAST_SEQUENCE
            if not refused and not is_transient(error):
                raise
            if refused:
                # Somebody else was faster, or the record is gone: the server tells.
                found = await read_record(connection, self.names.group_stream(), subject)
                if found.sequence:
                    self._records[subject] = _Record(found.sequence, found.value, time.monotonic())
                else:
                    self._records.pop(subject, None)
            else:
                logger.warning("group record %s not written: %r", subject, error)
            return None

    async def _goodbye(self) -> None:
        if self._connection is None or not self._connection.connected:
            return
        self._heartbeat_wanted = True
        await self._beat(time.monotonic())
        leader = self._records.get(f"{self._root}.leader")
        if self.leading and leader is not None:
            await self._put(f"{self._root}.leader", {"member": ""}, leader.sequence)

    # -- who lives, who leads -------------------------------------------------------------------

    def _live(self, now: float) -> dict[str, dict[str, Any]]:
        live = {}
        for subject, record in self._records.items():
            if subject.startswith(f"{self._root}.member.") and not record.value["left"]:
                own = subject == self._own_subject
                if own or now - record.changed < self.settings.lease:
                    live[record.value["member"]] = record.value
        return live

    async def _lead(self, now: float) -> None:
        subject = f"{self._root}.leader"
        record = self._records.get(subject)
        live = self._live(now)
        if self.member not in live or self._left or self._silent:
            self.leading = False
            return
        ours = record is not None and record.value.get("member") == self.member
        current = ours and record is not None and record.value["incarnation"] == self.incarnation
        vacant = record is None or record.value.get("member") not in live or (ours and not current)
        if not vacant and not current:
            self.leading = False
            return
        if vacant or now - self._leader_renewed >= self.settings.heartbeat:
            value = {"member": self.member, "incarnation": self.incarnation, "beat": time.time_ns()}
            sequence = await self._put(subject, value, record.sequence if record else 0)
            if sequence is None:
                self.leading = False
                return
            if not self.leading:
                logger.info("%s leads group %s", self.member, self.names.app)
            self._records[subject] = _Record(sequence, value, now)
            self._leader_renewed = now
            self.leading = True
        await self._assign(live, now)

    async def _assign(self, live: dict[str, dict[str, Any]], now: float) -> None:
        subject = f"{self._root}.assignment"
        record = self._records.get(subject)
        before: dict[str, Any] = {"generation": int(time.time()), "members": {}}
        if record:
            before = record.value
        partitions = max(value["partitions"] for value in live.values())
        count = sum(map(len, before["members"].values()))
        if set(live) == set(before["members"]) and count == partitions:
            return
        value = {
            "generation": before["generation"] + 1,
            "members": assign(live, before["members"], partitions),
        }
        sequence = await self._put(subject, value, record.sequence if record else 0)
        if sequence is not None:
            logger.info("generation %d: %s", value["generation"], value["members"])
            self._records[subject] = _Record(sequence, value, now)
            self._update_view(now)

    # -- telling the worker ---------------------------------------------------------------------

    def _expired_view(self, now: float) -> bool:
        return set(self._live(now)) != set(self.view.owned)

    def _update_view(self, now: float) -> None:
        live = self._live(now)
        assignment = self._records.get(f"{self._root}.assignment")
        leader = self._records.get(f"{self._root}.leader")
        view = View(
            generation=assignment.value["generation"] if assignment else 0,
            assignment=assignment.value["members"] if assignment else {},
            owned={member: frozenset(value["owned"]) for member, value in live.items()},
            urls={member: value["url"] for member, value in live.items()},
            leader=leader.value.get("member", "") if leader else "",
        )
        if view != self.view:
            self.view = view
            self._call(self._on_change)

    def _fatal(self, error: Exception) -> None:
        self._call(lambda: self._on_fatal(error))

    def _call(self, function: Callable[[], None]) -> None:
        if self._main is not None and not self._main.is_closed():
            self._main.call_soon_threadsafe(function)
