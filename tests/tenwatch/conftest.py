"""A whole instance for the tests of the program."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.instance import RunningInstance, start_instance


@pytest.fixture
def instance_folder() -> Iterator[Path]:
    """A folder that other users may enter, which pytest's own temporary folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="tenwatch-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def instance(instance_folder: Path) -> Iterator[RunningInstance]:
    """An instance of this test alone."""
    running = start_instance(instance_folder / "data", instance_folder / "watched")
    try:
        yield running
    except BaseException:
        print(running.logs())
        raise
    finally:
        if running.process.poll() is None:
            running.stop()
