"""Settings of the endpoint, in small groups."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

MEBIBYTE = 1024 * 1024


class Role(StrEnum):
    """What a user may do."""

    READER = "reader"
    """SELECT, SHOW, DESCRIBE, EXISTS and EXPLAIN on the served database."""
    ADMIN = "admin"
    """The same, and INSERT, ALTER, CREATE, DROP, … inside the served database."""


@dataclass(frozen=True, slots=True)
class User:
    """One account. The password is given here once; `Users` keeps only a keyed hash of it."""

    name: str
    """Name, compared byte for byte."""
    password: str = field(repr=False)
    """Password in clear, from a credentials file of mode 0600; never from argv."""
    role: Role = Role.READER
    """Default reader: the least privilege."""
    hidden_tables: frozenset[str] = frozenset()
    """Tables and views of the served database that this user may not read, e.g. snapshot
    contents. Name the view and the table below it. Default: none."""


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """Bounds of one query. A client may ask for less, never for more."""

    execution_seconds: float = 60.0
    """Run time, s. 60: the named queries answer in well under 1 s; more is a report or a mistake.
    The time in which the result waits for a slow client counts too."""
    memory_bytes: int = 1024 * MEBIBYTE
    """Memory of one query, bytes. 1 GiB: with `concurrent` of 4 the worst case stays below 4 GiB
    beside the sink's own work."""
    result_rows: int = 0
    """Rows of a result; 0 is no bound, because results are streamed in constant memory."""
    result_bytes: int = 0
    """Bytes of a result before formatting; 0 is no bound, for the same reason."""
    read_rows: int = 20_000_000_000
    """Rows read. 2e10 is beyond months of a large cluster; it stops `system.numbers`-like bombs
    early, and the run time stops the rest."""
    read_bytes: int = 0
    """Bytes read; 0 is no bound: `execution_seconds` binds first."""
    threads: int = 2
    """Threads of one query. 2: a query must leave the writer and the other queries their share."""
    statement_bytes: int = 256 * 1024
    """Length of a statement, bytes. ClickHouse's own `max_query_size`."""


@dataclass(frozen=True, slots=True)
class TrafficLimits:
    """Bounds of the endpoint as a whole."""

    concurrent: int = 4
    """Queries that run at the same time. 4: twice the threads of the smallest machine it serves."""
    concurrent_of_user: int = 3
    """Of these, how many one user may hold. 3: one place is left for the others."""
    waiting: int = 32
    """Queries that may wait for a place; the next one is refused with code 202 and HTTP 503."""
    wait_seconds: float = 10.0
    """Longest wait for a place, s, before code 202. 10: dashboards give up after about 30."""
    stalled_client_seconds: float = 30.0
    """Longest time, s, in which a client may take no byte of its result; then its place is given
    to others. 30: longer than a pause of garbage collection, shorter than a forgotten pager."""
    request_seconds: float = 30.0
    """Longest time, s, in which a request's body may arrive."""
    drain_seconds: float = 5.0
    """Time, s, that running queries get when the endpoint stops; then they are killed."""
    body_bytes: int = 4 * MEBIBYTE
    """Body of a reader's request after decompression, bytes; statement and parameters fit."""
    insert_body_bytes: int = 64 * MEBIBYTE
    """Body of an admin's request after decompression, bytes; it is held in memory once."""
    response_buffer_bytes: int = MEBIBYTE
    """Result held back before the headers go out, bytes, so that a query that fails early has a
    proper HTTP status. 1 MiB as ClickHouse's `http_response_buffer_size`."""
    wait_end_buffer_bytes: int = 8 * MEBIBYTE
    """The same with `wait_end_of_query=1`. A larger result is streamed from there on; a failure
    then ends it with an exception block, as in any streamed result."""


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where the endpoint listens and what it serves."""

    host: str = "127.0.0.1"
    """Address to listen on. Loopback: whoever opens it to others decides that, with TLS."""
    port: int = 8123
    """TCP port; 0 takes a free one. 8123 is ClickHouse's for HTTP."""
    database: str = "tenwatch"
    """The only database whose tables are served."""
    certificate: Path | None = None
    """TLS certificate chain, PEM. Default: none, plain HTTP."""
    private_key: Path | None = None
    """TLS key, PEM; needed with `certificate`."""
    server_name: str = "tenwatch"
    """Value of the header X-ClickHouse-Server-Display-Name."""
    query: QueryLimits = field(default_factory=QueryLimits)
    traffic: TrafficLimits = field(default_factory=TrafficLimits)
