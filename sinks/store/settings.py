"""Where the store is and how it writes."""

from pathlib import Path
from typing import Literal

from msgspec import Struct, field

DEFAULT_RETENTION: dict[str, int] = {
    "process_events": 30,
    "file_events": 90,
    "snapshot_events": 180,
    "hostpath_events": 90,
    "cgroup_samples": 3,
    "pod_events": 180,
    "progress": 7,
    "losses": 400,
    "dead_letters": 30,
    "ledger": 400,
    "buckets_10s": 14,
    "buckets_1m": 90,
    "buckets_1h": 1825,
}
"""Days. Samples and 10-second rows are large and live on in roll-ups; what a course asks for lasts
a term; the ledger and the losses outlive every row that they speak of, else an audit can't balance.
"""


class StoreSettings(Struct, frozen=True, kw_only=True):
    """Section ``store``."""

    path: str = ""
    """Folder of the embedded store (chDB). Default: none; one of ``path`` and ``url`` is needed."""
    url: str = ""
    """``http://`` or ``https://`` address of a ClickHouse server, like ``http://clickhouse:8123``,
    without user and password. Default: none, the store is embedded."""
    credentials_file: str = ""
    """JSON file, mode 0600, with ``{"sql": {"user": …, "password": …}}``; the default is what
    ``TENWATCH_CREDENTIALS_FILE`` names. The embedded store needs none."""
    database: str = "tenwatch"
    """Database that holds everything. ClickHouse's ``default`` is not used: chDB lets it read
    files."""
    cluster: str = ""
    """Name of the ClickHouse cluster: tables become Replicated and Distributed. Default: none."""
    fsync: bool = True
    """Wait until every insert is on disk. Default: yes; it costs 1 to 2 ms, and without it a power
    cut loses what the broker was told to forget."""
    timeout_seconds: float = 60.0
    """How long a request to a server may take, seconds. 60: a large insert on a busy server."""
    memory_megabytes: int = 2048
    """Memory that the engine of the embedded store may use, MiB. 2048: inserts need some hundred,
    the queries of the endpoint have limits of their own below it."""
    threads: int = 2
    """Threads of one query of the sink itself. 2: merges and readers want the processors, too."""
    retention_days: dict[str, int] = field(default_factory=dict)
    """Days that a table keeps its rows, by table; 0 keeps them for ever. What is not named keeps
    its default (see ``DEFAULT_RETENTION``)."""
    minimum_free_megabytes: int = 1024
    """Free space on the disk of the embedded store below which the oldest days are dropped, MiB.
    1024: merges need room for a copy of what they merge."""
    minimum_kept_days: int = 2
    """Days that the disk-space guard never drops. 2: today and yesterday, whatever the hour."""

    @property
    def target(self) -> Literal["embedded", "server", "cluster"]:
        """Which form of the schema this store has."""
        if self.cluster:
            return "cluster"
        return "server" if self.url else "embedded"

    @property
    def folder(self) -> Path:
        """The folder of the embedded store, absolute."""
        return Path(self.path).expanduser().resolve()

    def retention(self, table: str) -> int:
        """Days that a table keeps its rows; 0 for ever."""
        return self.retention_days.get(table, DEFAULT_RETENTION.get(table, 0))
