"""Runs the program as a user does, and reads what it prints."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        """Its stdout, read as JSON."""
        return json.loads(self.out)

    @property
    def text(self) -> str:
        """Its stdout."""
        return self.out.decode()


def run_program(
    *arguments: str | Path,
    data: Path | None = None,
    environment: Mapping[str, str] | None = None,
    code: int | None = 0,
    timeout: float = 120,
) -> Ran:
    """Run ``tenwatch`` and check its exit code (``None`` for any). No traceback, whatever happens.

    Nothing of ``TENWATCH_…`` is taken over from the environment of the tests.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("TENWATCH_")}
    if data is not None:
        own["TENWATCH_DATA"] = str(data)
    done = subprocess.run(
        [sys.executable, "-m", "tenwatch", *map(str, arguments)],
        capture_output=True,
        env=own | dict(environment or {}),
        timeout=timeout,
        check=False,
    )
    ran = Ran(done.returncode, done.stdout, done.stderr.decode())
    assert "Traceback" not in ran.err, ran.err
    if code is not None:
        assert ran.code == code, (ran.code, ran.err, ran.text[-2000:])
    return ran
