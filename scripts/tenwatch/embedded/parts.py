"""The parts of an embedded instance: what each is run with.

Secrets reach a part by the file that ``TENWATCH_CREDENTIALS_FILE`` names, everything else by
``TENWATCH_<SECTION>_<FIELD>``; nothing of it is in argv.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stream.broker.credentials import ENVIRONMENT as CREDENTIALS
from stream.broker.permissions import Role
from stream.broker.server_config import CONFIG_NAME, USERS_NAME, ServerConfig, write_server_config
from tenwatch.embedded.broker_server import find_server
from tenwatch.embedded.child import Part
from tenwatch.embedded.credentials import Logins
from tenwatch.embedded.data_folder import DataFolder
from tenwatch.embedded.options import UpOptions
from tenwatch.embedded.probe import free_port
from tenwatch.embedded.supervisor import Plan
from tenwatch.embedded.user import RoleUser

MAXIMUM_BROKER_BYTES = 64 * 1024**3
"""What all streams may be promised together: the live ones, each with a bound of its own in the
section ``streams``, and those of a few replay runs. Only what they hold is on disk."""
UNUSABLE = frozenset({2})
"""The exit code of every role for settings that can't work: starting again would not help."""
PYTHON = (sys.executable, "-P")
"""Without the working folder on the module path: nobody slips a module in."""
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")
"""Of our own environment, beside what begins with TENWATCH_."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports on loopback, chosen before anything starts."""

    nats: int
    nats_monitor: int
    sql: int
    worker: int
    sink: int
    process: int
    file: int
    node: int

    @classmethod
    def choose(cls, nats: int, sql: int) -> "Ports":
        """The wanted ports of NATS and SQL if they are free; any free ones for the rest."""
        return cls(free_port(nats), free_port(), free_port(sql), *(free_port() for _ in range(5)))


def build_plan(
    options: UpOptions, folder: DataFolder, logins: Logins, user: RoleUser, ports: Ports
) -> Plan:
    """Write the broker's configuration and describe every part."""
    builder = _Builder(options, folder, logins, user, ports)
    return Plan(
        broker=builder.broker(),
        sink=builder.sink(),
        worker=builder.worker(),
        producers=[builder.producer(name) for name in ("process", "file", "node")],
    )


@dataclass(frozen=True, slots=True)
class _Builder:
    options: UpOptions
    folder: DataFolder
    logins: Logins
    user: RoleUser
    ports: Ports

    def broker(self) -> Part:
        config = write_server_config(
            self.folder.run / "nats",
            ServerConfig(
                data=self.folder.nats,
                port=self.ports.nats,
                monitor_port=self.ports.nats_monitor,
                max_file_bytes=MAXIMUM_BROKER_BYTES,
            ),
            self.logins.users,
        )
        (self.folder.run / "nats").chmod(0o711)
        for name in (CONFIG_NAME, USERS_NAME):
            os.chown(config.with_name(name), self.user.user_id, self.user.group_id)
        server = find_server()
        return Part(
            name="nats",
            argv=[str(server), "--config", str(config)],
            environment=self._environment({}),
            health_port=self.ports.nats_monitor,
            paths=[server.parent, config.parent, self.folder.nats],
        )

    def worker(self) -> Part:
        return Part(
            name="worker",
            argv=self._tenwatch("work"),
            environment=self._environment(
                {
                    "WORKER_HEALTH_PORT": self.ports.worker,
                    "WORKER_DATA": self.folder.worker,
                    # A stable name: what was killed is succeeded at once.
                    "WORKER_MEMBER": "embedded",
                },
                Role.WORKER,
            ),
            health_port=self.ports.worker,
            final_exit_codes=UNUSABLE,
            paths=[self.folder.worker, self.logins.files[Role.WORKER]],
        )

    def sink(self) -> Part:
        return Part(
            name="sink",
            argv=self._tenwatch("sink"),
            environment=self._environment(
                {
                    "SINK_HEALTH_PORT": self.ports.sink,
                    # chDB keeps files beside its folder, too.
                    "STORE_PATH": self.folder.store / "clickhouse",
                    "SQL_PORT": self.ports.sql,
                },
                Role.SINK,
            ),
            health_port=self.ports.sink,
            final_exit_codes=UNUSABLE,
            paths=[self.folder.store, self.logins.files[Role.SINK]],
            drain_seconds=30.0,
        )

    def producer(self, name: str) -> Part:
        port = int(getattr(self.ports, name))
        watched = [str(path) for path in self.options.watch]
        return Part(
            name=name,
            argv=producer_argv(self.options.config, name),
            environment=self._environment(
                {
                    "PRODUCER_HEALTH_PORT": port,
                    "PRODUCER_NODE": self.options.node,
                    "SPOOL_FOLDER": self.folder.producers,
                    "DATA": self.folder.root,
                    "FILE_ROOTS": watched,
                    "HOSTPATH_ROOTS": watched,
                },
                Role.PRODUCER,
            ),
            health_port=port,
            final_exit_codes=UNUSABLE,
            keeps_privileges=True,
        )

    def _tenwatch(self, *words: str) -> list[str]:
        return tenwatch_argv(self.options.config, *words)

    def _environment(
        self, settings: Mapping[str, object], role: Role | None = None
    ) -> dict[str, str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in PASSED_ON or name.startswith("TENWATCH_")
        }
        environment["HOME"] = str(self.folder.worker)
        environment["TENWATCH_BROKER_SERVERS"] = json.dumps([f"nats://127.0.0.1:{self.ports.nats}"])
        if role is not None:
            environment[CREDENTIALS] = str(self.logins.files[role])
        for name, value in settings.items():
            text = json.dumps(value) if isinstance(value, list) else str(value)
            environment[f"TENWATCH_{name}"] = text
        return environment


def tenwatch_argv(config: Path | None, *words: str) -> list[str]:
    """This program again, as another role; without a secret in it."""
    argv = [*PYTHON, "-m", "tenwatch", *words]
    return argv if config is None else [*argv, "--config", str(config)]


def producer_argv(config: Path | None, *names: str) -> list[str]:
    """Producers, by the door that costs the least memory."""
    argv = [*PYTHON, "-m", "producers", *names]
    return argv if config is None else [*argv, "--config", str(config)]
