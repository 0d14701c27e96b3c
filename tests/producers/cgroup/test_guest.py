"""The container tests once more, on a machine with cgroup v2 alone."""

import re
import sys
from pathlib import Path

import pytest

from tests.support.guest import run_in_guest

HERE = Path(__file__).parent


@pytest.mark.slow
def test_on_cgroup_v2_alone_the_container_tests_hold_too(tmp_path: Path) -> None:
    result = run_in_guest(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         str(HERE / "test_containers.py"), str(HERE.parent / "pod" / "test_node.py")],
        tmp_path,
        environment={"PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/h"},
    )  # fmt: skip
    assert result.code == 0, result.output[-4000:]
    passed = re.search(r"(\d+) passed", result.output)
    assert passed is not None, result.output[-4000:]
    assert int(passed[1]) > 40
    assert "skipped" not in result.output


@pytest.mark.slow
def test_the_guest_is_what_it_says(tmp_path: Path) -> None:
    result = run_in_guest(
        [sys.executable, "-c",
         "from pathlib import Path; from producers.cgroup.hierarchy import Hierarchy; "
         "print(Hierarchy.detect(Path('/sys/fs/cgroup')).mode)"],
        tmp_path,
    )  # fmt: skip
    assert (result.code, result.output.strip()) == (0, "v2")
