"""One supervised part: started, watched, started again when it dies, stopped in order."""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tenwatch.embedded.data_folder import DataFolder
from tenwatch.embedded.user import RoleUser

FIRST_PAUSE_SECONDS = 0.1
"""Before the first restart; doubles with each further one up to :data:`LONGEST_PAUSE_SECONDS`."""
LONGEST_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 30.0
"""A part that lived this long starts again without a grown pause."""
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Part:
    """How to run one part."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    health_port: int
    """Port of its health endpoint on loopback."""
    keeps_privileges: bool = False
    paths: Sequence[Path] = ()
    """What it must reach when it runs as another user, besides the program itself."""
    drain_seconds: float = 15.0
    """How long it may take to stop in order before it is killed."""
    final_exit_codes: frozenset[int] = frozenset()
    """Exit codes after which starting again is pointless (no permission, say)."""


@dataclass(slots=True)
class Child:
    """A part and its process. ``restarts`` counts the starts after the first."""

    part: Part
    folder: DataFolder
    user: RoleUser
    say: Callable[[str], None]
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    given_up: str | None = None
    _stopping: bool = False
    _watcher: asyncio.Task[None] | None = field(default=None)

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        process = self.process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start it, and keep it running until :meth:`stop`."""
        process = await self._spawn()
        self._watcher = asyncio.create_task(self._watch(process), name=f"watch {self.part.name}")

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL after the part's limit."""
        self._stopping = True
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(self.part.drain_seconds):
                await process.wait()
        except TimeoutError:
            self.say(
                f"{self.part.name} did not stop within {self.part.drain_seconds:g} s; killing it. "
                "What it had not finished is on disk and goes on at the next start."
            )
            process.kill()
            await process.wait()

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            code = await process.wait()
            if self._stopping:
                return
            if code in self.part.final_exit_codes:
                self.given_up = self.last_words() or f"ended with exit code {code}"
                return
            if time.monotonic() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            self.say(f"{self.part.name} ended ({how}); starting it again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            self.restarts += 1
            process = await self._spawn()

    async def _spawn(self) -> asyncio.subprocess.Process:
        argv = list(self.part.argv)
        if self.user.privileged and not self.part.keeps_privileges:
            argv = [*confinement(self.user, self.part.paths), "--", *argv]
        log = self.folder.open_log(self.part.name)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.part.environment),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        finally:
            os.close(log)
        self.process = process
        return process

    def last_words(self) -> str:
        """The last line of its log, for a message to people."""
        path = self.folder.logs / f"{self.part.name}.log"
        try:
            lines = path.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""


def _die_with_parent() -> None:
    """A killed supervisor takes its parts with it: each gets SIGTERM and drains (prctl(2))."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def program_paths() -> list[Path]:
    """What any part needs to run: interpreter, virtual environment, and this source tree."""
    here = Path(__file__).resolve()
    return [
        Path(sys.base_prefix).resolve(),
        Path(sys.prefix).resolve(),
        here.parents[3],
    ]


def confinement(user: RoleUser, paths: Sequence[Path]) -> list[str]:
    """The argv in front of a part that gives up its privileges."""
    confine = Path(__file__).with_name("confine.py")
    words = [sys.executable, "-I", "-S", str(confine)]
    words += ["--user", str(user.user_id), "--group", str(user.group_id)]
    for path in (*program_paths(), *paths):
        words += ["--path", str(path)]
    return words
