"""One instance for all tests of commands, since each costs seconds to start."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.instance import RunningInstance, start_instance


@pytest.fixture(scope="session")
def shared() -> Iterator[RunningInstance]:
    """A running instance; tests must only look at what they made themselves."""
    folder = Path(tempfile.mkdtemp(prefix="tenwatch-commands-", dir="/tmp"))
    folder.chmod(0o755)
    running = start_instance(folder / "data", folder / "watched", "--node", "here")
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()
        shutil.rmtree(folder, ignore_errors=True)
