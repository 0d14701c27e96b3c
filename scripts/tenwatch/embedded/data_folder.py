"""The folder that holds everything of one embedded instance.

``nats/``         JetStream's streams                       owner: the unprivileged user
``store/``        ClickHouse's tables                       owner: the unprivileged user
``worker/``       what the worker keeps on disk             owner: the unprivileged user
``producers/``    spools and scan states, one per role      owner: who started the program
``secrets/``      one file per role, readable by that role only
``logs/``         one file per role, the earlier one beside it
``run/``          lock, generated server configuration, description of the running instance
``credentials.json``  for people and scripts: may tap and read
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from tenwatch.errors import StartError, UsageError

LOG_BYTES = 8 * 1024 * 1024
"""A log beyond this size is set aside when its role starts; one earlier log is kept."""


def default_data_folder() -> Path:
    """``/var/lib/tenwatch`` for root, the user's state folder (XDG) for everybody else."""
    if os.geteuid() == 0:
        return Path("/var/lib/tenwatch")
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "tenwatch"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Paths below one data folder; see the module's text for who owns what."""

    root: Path

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def worker(self) -> Path:
        return self.root / "worker"

    @property
    def producers(self) -> Path:
        return self.root / "producers"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials.json"

    @property
    def instance(self) -> Path:
        return self.run / "instance.json"

    def create(self, user_id: int, group_id: int) -> None:
        """Make what is missing and set owners and modes; raises :class:`StartError`."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # Roles that gave up their privileges must reach their own folder below it.
            self.root.chmod(0o711)
            for folder in (self.producers, self.logs):
                folder.mkdir(exist_ok=True)
                folder.chmod(0o700)
            for folder in (self.secrets, self.run):
                folder.mkdir(exist_ok=True)
                folder.chmod(0o711)
            for folder in (self.nats, self.store, self.worker):
                folder.mkdir(exist_ok=True)
                folder.chmod(0o700)
                if folder.stat().st_uid != user_id:
                    _give(folder, user_id, group_id)
        except OSError as error:
            raise StartError(
                f"the data folder {self.root} can't be made ready: {error.strerror} "
                f"({error.filename}); name another with --data"
            ) from None

    def open_log(self, role: str) -> int:
        """A descriptor that appends to the role's log."""
        path = self.logs / f"{role}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def lock(self) -> int:
        """Hold the folder for one instance; raises :class:`UsageError` if another one runs."""
        descriptor = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(
                f"another instance already uses {self.root}; stop it, or name another folder "
                "with --data"
            ) from None
        return descriptor


def _give(folder: Path, user_id: int, group_id: int) -> None:
    """Hand a folder to another user, with all that an earlier start left in it."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.lchown(Path(parent) / name, user_id, group_id)
    os.chown(folder, user_id, group_id)
