"""What ``tenwatch up`` can be told."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The options of one embedded instance."""

    data: Path
    watch: Sequence[Path]
    """Folders of the file producer and the hostpath producer."""
    node: str
    user: str | None
    config: Path | None
    nats_port: int
    sql_port: int


def default_node() -> str:
    """This machine's host name, as the kernel has it."""
    return socket.gethostname() or "localhost"
