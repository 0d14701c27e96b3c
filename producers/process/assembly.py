"""Turns kernel records into events: names processes, redacts arguments, repeats execs at exits."""

from producers.process.boot_clock import BootClock
from producers.process.identity import ProcessNames
from producers.process.proc_files import LivingProcess
from producers.process.process_table import ProcessTable
from producers.process.record import EXEC, Record, split_arguments
from producers.process.redaction import Redactor
from stream.contract.kinds.process import ProcessEvent


class EventAssembler:
    """Makes one event of each record. Used by one thread.

    What an exit says:

    - of a process whose exec is remembered: everything that its last exec said, with the time,
      cgroup and host name of the exit;
    - of a process that never called exec (``forked``): no arguments, since it was given none; its
      parent link, name, and working directory;
    - of a process whose exec was lost or forgotten: what the kernel still knows, ``degraded``.
    """

    def __init__(
        self, names: ProcessNames, redactor: Redactor, table: ProcessTable, clock: BootClock
    ) -> None:
        self._names = names
        self._redactor = redactor
        self._table = table
        self._clock = clock
        self.exits_without_exec = 0
        """Exits of processes that called exec, which nothing was remembered of."""

    def event(self, record: Record) -> ProcessEvent:
        """The event of a record."""
        return self._exec(record) if record.action == EXEC else self._exit(record)

    def arguments(self, raw: bytes) -> list[str]:
        """Arguments as they may leave the process."""
        argv = split_arguments(raw)
        return self._redactor.redact(argv) if self._redactor.may_hold_secret(raw) else argv

    def seed(self, living: dict[int, LivingProcess]) -> None:
        """Remember processes that were there before the program was; reports nothing.

        What is known already is left as it is. ``living`` is by pid, parents among them.
        """
        for pid, process in living.items():
            exec_id = self._names.of_ticks(pid, process.start_ticks)
            if process.forked or self._table.get(pid, exec_id) is not None:
                continue
            self._table.put(self.describe(process, living.get(process.ppid)))

    def describe(self, process: LivingProcess, parent: LivingProcess | None) -> ProcessEvent:
        """What /proc tells about a living process, as an exec that has no time yet."""
        names = self._names
        return ProcessEvent(
            ts="",
            action="exec",
            pid=process.pid,
            ppid=process.ppid,
            uid=process.uid,
            exec_id=names.of_ticks(process.pid, process.start_ticks),
            parent_exec_id=names.of_ticks(parent.pid, parent.start_ticks) if parent else "",
            comm=process.comm,
            exe=process.exe,
            argv=self.arguments(process.argv),
            argv_truncated=process.argv_truncated,
            cwd=process.cwd,
            cgroup=process.cgroup,
        )

    def retain(self, living: dict[int, LivingProcess]) -> None:
        """Forget what is not among the living, for when exits were lost."""
        self._table.retain(
            self._names.of_ticks(pid, process.start_ticks) for pid, process in living.items()
        )

    def _exec(self, record: Record) -> ProcessEvent:
        event = ProcessEvent(
            ts=self._clock.text(record.timestamp),
            action="exec",
            pid=record.pid,
            ppid=record.parent_pid,
            uid=record.uid,
            exec_id=self._names.of(record.pid, record.start),
            parent_exec_id=self._parent(record),
            comm=record.comm,
            exe=record.exe,
            argv=self.arguments(record.argv),
            argv_truncated=record.argv_truncated,
            cwd=record.cwd,
            hostname=record.hostname,
            cgroup=record.cgroup,
            start_ts=self._clock.text(record.start),
            degraded=record.incomplete,
        )
        self._table.put(event)
        return event

    def _exit(self, record: Record) -> ProcessEvent:
        exec_id = self._names.of(record.pid, record.start)
        known = self._table.take(record.pid, exec_id)
        if known is None:
            self.exits_without_exec += not record.forked
            known = ProcessEvent(
                ts="",
                action="exec",
                pid=record.pid,
                ppid=record.parent_pid,
                uid=record.uid,
                exec_id=exec_id,
                parent_exec_id=self._parent(record),
                comm=record.comm,
                exe=record.exe,
                cwd=record.cwd,
                degraded=record.incomplete or not record.forked,
            )
        return ProcessEvent(
            ts=self._clock.text(record.timestamp),
            action="exit",
            pid=record.pid,
            ppid=known.ppid,
            uid=known.uid,
            exec_id=exec_id,
            parent_exec_id=known.parent_exec_id,
            comm=known.comm,
            exe=known.exe,
            argv=known.argv,
            argv_truncated=known.argv_truncated,
            cwd=known.cwd,
            hostname=record.hostname,
            cgroup=record.cgroup,
            start_ts=known.start_ts or self._clock.text(record.start),
            duration_us=(record.timestamp - record.start) // 1000,
            exit_code=record.exit_code,
            signal=record.signal,
            core_dumped=record.core_dumped,
            forked=record.forked,
            degraded=known.degraded,
        )

    def _parent(self, record: Record) -> str:
        """Empty for the two that the kernel itself started."""
        return self._names.of(record.parent_pid, record.parent_start) if record.parent_pid else ""
