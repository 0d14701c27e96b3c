"""The configuration of a nats-server of ours: JetStream, limits, users with their permissions.

Two files are written: ``nats.conf``, which anyone may read, and ``users.conf`` with the passwords,
mode 0600. Passwords are long and random, so they lie there in clear: bcrypt protects weak ones and
costs the server about 100 ms per login. No secret is ever on a command line.

Source of the names: docs.nats.io, "Server configuration" and "JetStream configuration".
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream.broker.errors import BrokerError
from stream.broker.permissions import User, permissions_of
from stream.contract.batch import MAXIMUM_ENRICHED_BYTES

HEADER_ROOM: Final = 16 * 1024
"""NATS counts headers as payload; this is room for them beside the largest batch."""
CONFIG_NAME: Final = "nats.conf"
USERS_NAME: Final = "users.conf"


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What makes a server one of a cluster."""

    name: str
    port: int
    """For the other servers."""
    routes: tuple[str, ...]
    """``host:port`` of every server of the cluster, this one too."""
    password: str
    """What the servers show each other; as long and random as those of users."""
    host: str = "127.0.0.1"
    user: str = "route"

    def render(self) -> str:
        """A ``cluster`` block; it holds the password, so it belongs into the users file."""
        settings = {
            "name": self.name,
            "listen": f"{self.host}:{self.port}",
            "authorization": {"user": self.user, "password": self.password, "timeout": 5},
            "routes": [f"nats-route://{self.user}:{self.password}@{each}" for each in self.routes],
        }
        return f"cluster {{\n{_block(settings, '  ')}\n}}\n"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One server on this machine. Listens on the loopback only, unless told otherwise."""

    data: Path
    """Folder of JetStream's files."""
    host: str = "127.0.0.1"
    port: int = 4222
    """-1 takes any free port, which the ports file then tells."""
    monitor_port: int = 0
    """HTTP monitoring on the loopback; 0 is off, since nothing of ours needs it."""
    name: str = "tenwatch"
    max_file_bytes: int = 20 * 1024**3
    """What all streams together may hold on disk."""
    max_memory_bytes: int = 64 * 1024**2
    """Streams in memory; ours are all on disk."""
    sync_always: bool = False
    """fsync before every acknowledgement. Off: the server syncs every 2 minutes, so that a crash
    of the machine (not of the server) can lose what was acknowledged since."""
    batch_messages: int = 1000
    """Messages of one atomic batch; the server's own default."""
    ports_folder: Path | None = None
    """Where the server says which ports it took; needed with port -1."""
    log_file: Path | None = None
    """Absent: the log goes to stderr."""
    tls_certificate: Path | None = None
    """PEM file with the server's certificate; absent: no TLS, which is right on the loopback."""
    tls_key: Path | None = None
    tls_ca: Path | None = None
    """With it, clients must show a certificate that it signed."""
    cluster: ClusterConfig | None = None
    """Absent: a server on its own."""

    def render(self) -> str:
        """The text of ``nats.conf``."""
        jetstream: dict[str, Any] = {
            "store_dir": str(self.data),
            "max_memory_store": self.max_memory_bytes,
            "max_file_store": self.max_file_bytes,
            "limits": {"batch": {"max_msgs": self.batch_messages}},
        }
        if self.sync_always:
            jetstream["sync_interval"] = "always"
        settings: dict[str, Any] = {
            "server_name": self.name,
            "listen": f"{self.host}:{self.port}",
            "max_payload": MAXIMUM_ENRICHED_BYTES + HEADER_ROOM,
            "max_pending": 64 * 1024**2,
            "write_deadline": "10s",
            "jetstream": jetstream,
        }
        if self.tls_certificate is not None:
            settings["tls"] = {"cert_file": str(self.tls_certificate)}
            settings["tls"] |= {"key_file": str(self.tls_key)} if self.tls_key else {}
            if self.tls_ca is not None:
                settings["tls"] |= {"ca_file": str(self.tls_ca), "verify": True}
        if self.monitor_port:
            settings["http"] = f"127.0.0.1:{self.monitor_port}"
        if self.ports_folder is not None:
            settings["ports_file_dir"] = str(self.ports_folder)
        if self.log_file is not None:
            settings["log_file"] = str(self.log_file)
        return f"{_block(settings)}\ninclude ./{USERS_NAME}\n"


def _block(settings: dict[str, Any], indent: str = "") -> str:
    lines = []
    for name, value in settings.items():
        if isinstance(value, dict):
            inner = _block(value, indent + "  ")
            lines.append(f"{indent}{name} {{\n{inner}\n{indent}}}")
        else:
            lines.append(f"{indent}{name}: {_value(value)}")
    return "\n".join(lines)


def _value(value: Any) -> str:
    """JSON's strings, numbers, booleans and lists are valid in the server's own format."""
    return json.dumps(value, ensure_ascii=False)


def render_users(users: Iterable[User]) -> str:
    """The text of ``users.conf``: an ``authorization`` block with each user's permissions."""
    rendered = []
    for user in users:
        allowed = permissions_of(user)
        entry: dict[str, Any] = (
            {"nkey": user.nkey} if user.nkey else {"user": user.name, "password": user.password}
        )
        entry["permissions"] = {
            "publish": _rule(allowed.publish, allowed.deny_publish),
            "subscribe": _rule(allowed.subscribe, allowed.deny_subscribe),
        }
        rendered.append(f"    {json.dumps(entry, ensure_ascii=False)}")
    return "authorization {\n  users: [\n" + ",\n".join(rendered) + "\n  ]\n}\n"


def _rule(allow: Sequence[str], deny: Sequence[str]) -> dict[str, list[str]]:
    """Nothing allowed is written as everything denied: an empty list would allow all."""
    if not allow:
        return {"deny": [">"]}
    return {"allow": list(allow)} | ({"deny": list(deny)} if deny else {})


def write_server_config(folder: Path, config: ServerConfig, users: Iterable[User]) -> Path:
    """Write both files into ``folder``; gives the path for ``nats-server --config``.

    The caller gives the files to the user that the server runs as, where that isn't this one.
    Raises :class:`BrokerError` when the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        private = render_users(users) + (config.cluster.render() if config.cluster else "")
        _write_private(folder / USERS_NAME, private)
        path = folder / CONFIG_NAME
        path.write_text(config.render(), encoding="utf-8")
    except OSError as error:
        raise BrokerError(
            f"the configuration of nats-server can't be written to {folder}: {error.strerror}"
        ) from None
    return path


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
