"""Where the broker is, and how its streams are laid out."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0)]
Bytes = Annotated[int, Meta(ge=1024 * 1024)]


class BrokerSettings(Struct, frozen=True, kw_only=True):
    """Section ``broker``: how to reach NATS. Secrets are in the credentials file only."""

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    """URLs of the servers, without user or password. Default: the embedded one. Several are tried
    in turn; those that a cluster tells of are added."""

    credentials_file: str = ""
    """Path of the JSON file with the secrets, mode 0600. Default empty: the environment variable
    ``TENWATCH_CREDENTIALS_FILE``, else no login."""

    tls_ca: str = ""
    """Path of a PEM file with the authorities to trust. Default empty: the system's, when the
    server asks for TLS."""

    tls_certificate: str = ""
    """Path of a PEM file with this client's certificate. Default empty: none is shown."""

    tls_key: str = ""
    """Path of the private key of that certificate. Default empty."""

    tls_hostname: str = ""
    """Name to expect in the server's certificate. Default empty: the host of the URL."""

    connect_timeout_seconds: Seconds = 5.0
    """How long one attempt may take. Default 5 s: longer than a TLS handshake on a busy node."""

    reconnect_wait_seconds: Seconds = 1.0
    """Pause between two attempts at one server. Default 1 s: soon back, yet no storm of logins
    when a server restarts under a whole cluster of producers."""

    ping_interval_seconds: Seconds = 5.0
    """How often to ask a silent server whether it lives. Default 5 s; after two unanswered ones
    the connection counts as dead, so a frozen server is noticed within 15 s."""


class StreamSettings(Struct, frozen=True, kw_only=True):
    """Section ``streams``: size and safety of the streams at the broker.

    The sum of all ``*_max_bytes`` is reserved on the server: it must fit its ``max_file_store``.
    """

    partitions: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Partitions of RAW: at most this many workers share the load. Default 1: one machine.
    Fixed when RAW is created, since every node's order hangs on it."""

    replicas: Literal[1, 3, 5] = 1
    """Servers that hold each stream. Default 1: a single server; 3 for production."""

    raw_max_bytes: Bytes = 4 * 1024**3
    """Bytes of RAW. Default 4 GiB. A full RAW refuses, and producers spool."""

    events_max_bytes: Bytes = 8 * 1024**3
    """Bytes of EVENTS. Default 8 GiB: enriched lines are about twice as long as raw ones."""

    buckets_max_bytes: Bytes = 2 * 1024**3
    """Bytes of BUCKETS. Default 2 GiB."""

    dead_max_bytes: Bytes = 256 * 1024**2
    """Bytes of DEAD. Default 256 MiB; the oldest go first, since sinks have stored them."""

    duplicate_window_seconds: Seconds = 120.0
    """How long JetStream remembers message ids. Default 120 s, its own default: a producer's
    resends come within seconds; later repeats are recognised by the workers."""
