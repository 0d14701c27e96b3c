"""Settings of the transport: each with its unit, its default, and why that default."""

import os
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ConfigurationError


def default_member_id() -> str:
    """Return ``<hostname>-<pid>``: unique on a host, stable across restarts in a container.

    In a container the host name and the pid (1) survive a restart, so a killed worker is
    its own successor. On a plain host the pid changes, and the successor waits out the
    lease of the dead one unless ``member_id`` is set.
    """
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(slots=True, kw_only=True)
class JetStreamSettings:
    """Everything the transport can be told. Secrets are never logged nor put in a URL."""

    servers: list[str] = field(default_factory=lambda: ["nats://127.0.0.1:4222"])
    """URLs of NATS servers, tried in random order. Default: the local server."""

    user: str | None = None
    """User name. Default: none, as on an open development server."""

    password: str | None = field(default=None, repr=False)
    """Password for ``user``. Default: none."""

    token: str | None = field(default=None, repr=False)
    """Token, for servers that authorize by one. Default: none."""

    nkey_seed: str | None = field(default=None, repr=False)
    """An nkey seed, for programs that have read it from somewhere safe. Default: none."""

    nkey_seed_file: Path | None = None
    """File with an nkey seed (a file, so that the seed is not in argv or the environment)."""

    credentials_file: Path | None = None
    """``.creds`` file (JWT and seed), as ``nsc`` writes it. Default: none."""

    tls_ca: Path | None = None
    """PEM file of the authority that signed the servers. Default: the system's store."""

    tls_cert: Path | None = None
    """PEM file of the client's certificate. Default: none (no mutual TLS)."""

    tls_key: Path | None = None
    """PEM file of the client's key. Default: none."""

    tls_hostname: str | None = None
    """Name the server's certificate must carry. Default: the name in the URL."""

    inbox_prefix: str = "_INBOX"
    """First token of the subjects this worker gets replies on. Default ``_INBOX``; give each
    user one of its own where the server's permissions tell them apart."""

    connect_timeout: float = 2.0
    """Seconds for one connection attempt. Default 2: a dead server costs no more than that."""

    reconnect_wait: float = 0.2
    """Seconds between reconnection rounds. Default 0.2: a restart takes about a second."""

    ping_interval: float = 5.0
    """Seconds between PINGs; a dead peer is found after two. Default 5."""

    pending_bytes: int = 64 * 1024 * 1024
    """Bytes buffered for the socket before a writer must wait. Default 64 MiB: some batches."""

    replicas: int = 1
    """Copies of every stream this package creates. Default 1; production wants 3."""

    storage: str = "file"
    """``file`` or ``memory``. Default ``file``: state must survive the server."""

    prefix: str = "faust"
    """First token of all subjects and (upper case) stream names. Default ``faust``."""

    partitions: int = 4
    """Partitions of the app's own state. Default 4. A bound topic must not have more.
    Changing it needs new state, since the state of a key stays in its partition."""

    state_max_bytes: int = -1
    """Bytes one partition's state stream may hold; -1 is no limit, the default: a full
    state stream stops the worker, so a limit belongs to whoever sizes the account."""

    topic_max_bytes: int = 1024 * 1024 * 1024
    """Bytes a topic's stream may hold when this package creates it. Default 1 GiB: topics
    made by the way (repartition, reply) must not fill a disk unasked. They refuse when full."""

    duplicate_window: float = 120.0
    """Seconds in which a topic's stream refuses a repeated ``Nats-Msg-Id``. Default 120."""

    tombstone_ttl: float = 300.0
    """Seconds a deleted key's marker stays in the state stream. Default 300: any reader that
    started before the deletion has read past it by then."""

    commit_interval: float = 0.5
    """Seconds between commits. Default 0.5: what a crash makes the worker repeat."""

    commit_messages: int = 500
    """Changed keys plus results after which a partition commits at once, between two events.
    Default 500: half of the server's default batch limit, so that one event may still add
    the other half."""

    batch_limit: int = 1000
    """Messages in one atomic batch. Default 1000, the server's; verified at start."""

    commit_try_timeout: float = 3.0
    """Seconds to wait for the answer to one try of a commit. Default 3; a commit takes 3 ms,
    and a timeout only means that the offset record is read to learn what happened."""

    retry_wait: float = 0.1
    """Seconds before the first retry of a failed request, doubled up to 2. Default 0.1."""

    delivery_window: int = 1000
    """Events of one topic partition that agents may hold unacknowledged. Default 1000: deep
    enough to keep an agent busy, and all that a rebalance may have to hand back."""

    pull_bytes: int = 8 * 1024 * 1024
    """Bytes requested ahead per topic partition. Default 8 MiB, at least twice the server's
    ``max_payload``: flow control is by bytes, since messages differ by a thousand times."""

    pull_messages: int = 5000
    """Messages requested ahead per topic partition. Default 5000."""

    publish_window: int = 4096
    """Messages published and not yet acknowledged. Default 4096: more gained nothing."""

    publish_window_bytes: int = 64 * 1024 * 1024
    """Bytes published and not yet acknowledged. Default 64 MiB; they are kept for retries."""

    publish_timeout: float = 5.0
    """Seconds after which an unacknowledged message is sent again, with the same id. Default 5."""

    publish_give_up: float = 0.0
    """Seconds after which an unacknowledged message fails; 0 is never, the default: a server
    that is away or full is waited for, and back-pressure reaches the source."""

    deduplicate_sends: bool = True
    """Give messages that an agent sends while it processes an event an id made of that event,
    so that processing it again does not repeat them within ``duplicate_window``. Default on."""

    member_id: str = field(default_factory=default_member_id)
    """Name of this worker in the group; unique among live workers. With a stable one (a
    StatefulSet's pod name) a killed worker resumes at once. Default: host name and pid."""

    lease: float = 10.0
    """Seconds of silence after which a member is taken for dead. Default 10: a shorter one
    moves partitions at every pause of the machine."""

    heartbeat: float = 2.0
    """Seconds between heartbeats, sent from a thread of their own. Default 2, a fifth of the
    lease."""

    stall_limit: float = 60.0
    """Seconds the event loop may stand still before the heartbeat thread gives up on it, and
    lets the partitions move. Default 60: longer than any honest event."""

    revoke_timeout: float = 8.0
    """Seconds agents get to finish events in process at a rebalance. Default 8, below the
    lease; what is not finished by then is discarded here and processed by the next owner."""

    outbox_check_interval: float = 1.0
    """Seconds between checks which outbox messages have arrived and can go. Default 1."""

    def validate(self) -> None:
        """Raise :exc:`ConfigurationError` on the first setting that cannot work."""
        checks = [
            (bool(self.servers), "servers", self.servers, "name at least one server"),
            (self.partitions >= 1, "partitions", self.partitions, "use at least 1"),
            (self.replicas in (1, 3, 5), "replicas", self.replicas, "use 1, 3 or 5"),
            (self.storage in ("file", "memory"), "storage", self.storage, "use file or memory"),
            (self.batch_limit >= 4, "batch_limit", self.batch_limit, "use at least 4"),
            (
                1 <= self.commit_messages < self.batch_limit,
                "commit_messages",
                self.commit_messages,
                f"use 1 to {self.batch_limit - 1} (below batch_limit)",
            ),
            (
                self.heartbeat * 2 <= self.lease,
                "heartbeat",
                self.heartbeat,
                f"use at most half of lease ({self.lease})",
            ),
            (self.delivery_window >= 1, "delivery_window", self.delivery_window, "use at least 1"),
            (self.publish_window >= 1, "publish_window", self.publish_window, "use at least 1"),
            (bool(self.member_id), "member_id", self.member_id, "name the worker"),
            (
                all("@" not in server for server in self.servers),
                "servers",
                "a URL with credentials in it",
                "give user and password as settings, so that no log shows them",
            ),
        ]
        for good, name, value, advice in checks:
            if not good:
                raise ConfigurationError(f"{name} = {value!r} cannot work: {advice}.")

    @property
    def delivery_low_water(self) -> int:
        """Events in agents' hands at which more are delivered: a slice below the window."""
        return self.delivery_window - min(64, (self.delivery_window + 1) // 2)

    def connect_options(self) -> dict[str, Any]:
        """Return the keyword arguments for :func:`nats.connect` that these settings mean."""
        options: dict[str, Any] = {
            "servers": list(self.servers),
            "inbox_prefix": self.inbox_prefix,
            "connect_timeout": self.connect_timeout,
            "reconnect_time_wait": self.reconnect_wait,
            "max_reconnect_attempts": -1,
            "ping_interval": self.ping_interval,
            "max_outstanding_pings": 2,
            "pending_size": self.pending_bytes,
        }
        if self.user is not None:
            options["user"] = self.user
            options["password"] = self.password
        if self.token is not None:
            options["token"] = self.token
        if self.nkey_seed is not None:
            options["nkeys_seed_str"] = self.nkey_seed
        if self.nkey_seed_file is not None:
            options["nkeys_seed"] = str(self.nkey_seed_file)
        if self.credentials_file is not None:
            options["user_credentials"] = str(self.credentials_file)
        context = self._tls_context()
        if context is not None:
            options["tls"] = context
        if self.tls_hostname is not None:
            options["tls_hostname"] = self.tls_hostname
        return options

    def _tls_context(self) -> ssl.SSLContext | None:
        if not (self.tls_ca or self.tls_cert):
            return None
        context = ssl.create_default_context(cafile=str(self.tls_ca) if self.tls_ca else None)
        if self.tls_cert:
            context.load_cert_chain(str(self.tls_cert), str(self.tls_key) if self.tls_key else None)
        return context
