"""Section ``worker``, and all sections that a worker reads."""

import os
import socket
from dataclasses import dataclass, field
from typing import Annotated, Final

from msgspec import Meta, Struct

from stream.broker.settings import BrokerSettings
from stream.settings import Configuration
from stream.windows.settings import WindowSettings
from stream.worker.errors import WorkerSettingsError

Seconds = Annotated[float, Meta(gt=0)]


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """Section ``worker``."""

    host: str = "127.0.0.1"
    """Address of the health and metrics server. Default: this machine only."""

    health_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Its TCP port. Default 0: any free one, named in the log."""

    data: str = ""
    """Folder for files of the worker's own. Default empty: a temporary one, since all state lies
    at the broker."""

    member: str = ""
    """Name of this worker in the group, unique among live ones; a killed worker of the same name
    is succeeded at once. Default empty: host name and pid; in Kubernetes give the pod's name."""

    group: str = "tenwatch"
    """Workers of one group share the partitions. Default ``tenwatch``."""

    run: str = ""
    """Name of a replay run to work on, instead of the live events. Default empty: live."""

    rules_file: str = ""
    """Path of the identity rules (YAML). Default empty: nobody is identified. It is read again when
    it changes."""

    rules_check_seconds: Seconds = 2.0
    """How often to look whether the rules file changed, seconds. Default 2."""

    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    """Servers that hold the worker's state. Default 1: a single server; 3 for production."""

    commit_seconds: Seconds = 0.5
    """Time between two commits, seconds. Default 0.5: what a crash makes the worker repeat. A
    window that closes is committed at once."""

    state_max_bytes: int = -1
    """Bytes that one partition's state may take at the broker. Default -1, no limit: only the
    newest value of each key is kept, and a full state would stop the worker."""

    raw_check_seconds: Seconds = 30.0
    """How often to look how full RAW is, seconds. Default 30: it fills over hours."""

    raw_purge_above_fraction: Annotated[float, Meta(gt=0, lt=1)] = 0.8
    """Fill of RAW above which messages below the committed offset are dropped, as a fraction of
    its ``max_bytes``. Default 0.8. Below it everything stays for replays."""

    raw_purge_to_fraction: Annotated[float, Meta(gt=0, lt=1)] = 0.6
    """Fill to which they are dropped. Default 0.6: so it happens seldom."""


@dataclass(frozen=True, slots=True)
class WorkerRole:
    """All settings of the role."""

    worker: WorkerSettings = field(default_factory=WorkerSettings)
    windows: WindowSettings = field(default_factory=WindowSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)

    @classmethod
    def of(cls, configuration: Configuration) -> "WorkerRole":
        """Read the sections ``worker``, ``windows`` and ``broker``; raises ``SettingsError``."""
        role = cls(
            configuration.section("worker", WorkerSettings),
            configuration.section("windows", WindowSettings),
            configuration.section("broker", BrokerSettings),
        )
        try:
            role.windows.validate()
        except ValueError as error:
            raise WorkerSettingsError(f"windows: {error}") from None
        if role.worker.raw_purge_to_fraction >= role.worker.raw_purge_above_fraction:
            raise WorkerSettingsError(
                "worker.raw_purge_to_fraction must be below worker.raw_purge_above_fraction"
            )
        return role


class Names:
    """Subjects and streams of the live pipeline, or of one replay run."""

    def __init__(self, settings: WorkerSettings) -> None:
        run = settings.run
        self.prefix: Final = f"replay.{run}." if run else ""
        """In front of every subject."""
        self.raw: Final = f"REPLAY_{run}_RAW" if run else "RAW"
        self.events: Final = f"REPLAY_{run}_EVENTS" if run else "EVENTS"
        self.buckets: Final = f"REPLAY_{run}_BUCKETS" if run else "BUCKETS"
        self.app: Final = f"replay-{run}" if run else settings.group
        self.member: Final = settings.member or f"{socket.gethostname()}-{os.getpid()}"
