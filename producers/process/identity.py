"""Names for processes that are unique in the cluster.

A process is (machine boot, pid, start time). All execs in one pid and the exit share one
``exec_id``, so that whoever knows a pid, for example the file producer that knows a writer's, finds
the same name in ``/proc/<pid>/stat``.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_NANOSECONDS_PER_TICK: Final = 1_000_000_000 // TICKS_PER_SECOND
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class ProcessNames:
    """Forms the ``exec_id`` of processes of one machine, from its boot to the next.

    :param node: the node's name; it keeps apart virtual machines that were cloned with one boot id
    :param boot_id: the kernel's; by default this machine's
    """

    def __init__(self, node: str, boot_id: str | None = None) -> None:
        boot = _BOOT_ID.read_text() if boot_id is None else boot_id
        identity = f"{node}\0{boot.strip()}".encode()
        self._machine = hashlib.blake2b(identity, digest_size=8).hexdigest()

    def of(self, pid: int, start: int) -> str:
        """``<machine>-<start>-<pid>``.

        :param start: nanoseconds of the boot clock; the name holds clock ticks, which is what
            ``/proc/<pid>/stat`` tells everybody else
        """
        return f"{self._machine}-{start // _NANOSECONDS_PER_TICK}-{pid}"

    def of_ticks(self, pid: int, start_ticks: int) -> str:
        """The same from a start time in clock ticks, field 22 of ``/proc/<pid>/stat``."""
        return f"{self._machine}-{start_ticks}-{pid}"

    def of_living(self, pid: int) -> str | None:
        """The name of a process that lives now, from /proc; None if it is gone."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
            return self.of_ticks(pid, int(stat[stat.rindex(b")") + 2 :].split()[19]))
        except (OSError, ValueError, IndexError):
            return None
