"""How the sink reads, and what it serves."""

from typing import Annotated

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0)]


class SinkSettings(Struct, frozen=True, kw_only=True):
    """Section ``sink``."""

    host: str = "127.0.0.1"
    """Address of the health and metrics server. Default: this machine only."""
    health_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Its TCP port. Default 0: any free one, named in the log."""
    node: str = ""
    """Name under which it reports losses of its own. Default empty: the name of this machine; in
    Kubernetes give the node's by the downward API."""
    insert_interval_seconds: Seconds = 1.0
    """Shortest time between two inserts into one table that are not full, seconds. Default 1: each
    insert makes a part, and parts have to be merged. After a silence the first rows go at once."""
    linger_seconds: Annotated[float, Meta(ge=0)] = 0.02
    """How long the first row after a silence waits for company, seconds. Default 20 ms."""
    acknowledge_seconds: Seconds = 60.0
    """How long the broker waits for an acknowledgement before it delivers again, seconds. Default
    60; while the store is away the sink asks for more time, so nothing comes twice."""
    backoff_maximum_seconds: Seconds = 10.0
    """Longest pause between two tries of an insert, seconds. Default 10: soon back, no storm."""
    drain_seconds: Seconds = 15.0
    """How long a stop waits for what is held to be stored, seconds. Default 15, below the 30 that
    Kubernetes gives. What isn't stored by then is still at the broker."""
    maintenance_seconds: Seconds = 60.0
    """Pause between two rounds of roll-ups and checks of the disk, seconds. Default 60."""
    replay_horizon_seconds: Annotated[float, Meta(ge=0)] = 86_400.0
    """How long stored messages stay in EVENTS, BUCKETS and DEAD for taps and replays, seconds.
    Default 86400, a day, while space allows."""
    purge_above_fraction: Annotated[float, Meta(gt=0, le=1)] = 0.8
    """Fill of a stream above which stored messages go even within the horizon, as a fraction of its
    ``max_bytes``. Default 0.8: a full stream would stop the workers."""


class SqlSettings(Struct, frozen=True, kw_only=True):
    """Section ``sql``: the embedded store by SQL over HTTP. A server store has its own."""

    enabled: bool = True
    """Whether to serve it. Default: yes; there is no other way in, chDB belongs to one process."""
    host: str = "127.0.0.1"
    """Address to listen on. Default: this machine only; with another one give a certificate."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8123
    """TCP port; 0 takes a free one. Default 8123, ClickHouse's for HTTP."""
    certificate: str = ""
    """PEM file of the TLS certificate chain. Default: none, plain HTTP."""
    private_key: str = ""
    """PEM file of its key. Default: none."""
