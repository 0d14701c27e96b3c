"""The storm program, compiled once, and one observer for all tests that need no other."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.producers.process.support import Watcher


@pytest.fixture(scope="session")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A load with known truth; see ``storm.c``."""
    program = tmp_path_factory.mktemp("storm") / "storm"
    source = Path(__file__).with_name("storm.c")
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-pthread", "-o", program, source], check=True
    )
    return program


@pytest.fixture(scope="module")
def watch() -> Iterator[Watcher]:
    """``with watch(cgroup) as seen:``; see :class:`Watcher`."""
    watcher = Watcher()
    yield watcher
    watcher.stop()
