"""The storm program, compiled once."""

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A load with known truth; see ``storm.c``."""
    program = tmp_path_factory.mktemp("storm") / "storm"
    source = Path(__file__).with_name("storm.c")
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-pthread", "-o", program, source], check=True
    )
    return program
