"""A whole instance for the tests of the program."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.instance import RunningInstance, start_instance


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[RunningInstance]:
    """An instance of this test alone."""
    # Parts run as another user and must reach the folder that pytest made for root alone.
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path("/tmp"):
            break
        folder.chmod(0o755)
    running = start_instance(tmp_path / "data", tmp_path / "watched")
    try:
        yield running
    except BaseException:
        print(running.logs())
        raise
    finally:
        if running.process.poll() is None:
            running.stop()
