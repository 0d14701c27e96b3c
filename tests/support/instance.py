"""A whole instance of the program, started as a user starts it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_SECONDS = 120


@dataclass
class RunningInstance:
    """``tenwatch up --no-screen`` in a folder of its own."""

    data: Path
    watched: Path
    process: "subprocess.Popen[str]"
    facts: dict[str, Any]
    credentials: dict[str, dict[str, str]] = field(default_factory=dict)

    def sql(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Rows of a query, asked with nothing but HTTP."""
        arguments = {"default_format": "JSON"} | {
            f"param_{name}": str(value) for name, value in parameters.items()
        }
        request = urllib.request.Request(
            f"{self.facts['sql']}/?{urllib.parse.urlencode(arguments)}",
            data=query.encode(),
            headers={
                "X-ClickHouse-User": self.credentials["sql"]["user"],
                "X-ClickHouse-Key": self.credentials["sql"]["password"],
                # 64-bit numbers come as numbers, not as texts.
                "Content-Type": "text/plain",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                rows: list[dict[str, Any]] = json.load(answer)["data"]
                return rows
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from None

    def pid(self, part: str) -> int:
        """The process id of a part now, which changes when it was started again."""
        found = json.loads((self.data / "run" / "instance.json").read_text())
        return int(found["pids"].get(part, 0))

    def logs(self) -> str:
        """The end of every log, for a failing test."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted((self.data / "logs").glob("*.log"))
        )

    def stop(self) -> int:
        """SIGTERM, and wait for the drain."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


def start_instance(
    data: Path, watched: Path, *options: str, before: Sequence[str] = ()
) -> RunningInstance:
    """Start an instance and wait until it says that everything is ready.

    ``before`` goes in front of its command line.
    """
    watched.mkdir(parents=True, exist_ok=True)
    errors = (data.parent / "up.stderr").open("a")
    process = subprocess.Popen(
        [
            *before, sys.executable, "-m", "tenwatch", "up", "--no-screen",
            "--data", str(data), "--watch", str(watched), *options,
        ],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("TENWATCH_")},
    )  # fmt: skip
    errors.close()
    assert process.stdout is not None
    began = time.monotonic()
    line = process.stdout.readline()
    if not line:
        process.wait(90)
        raise AssertionError(
            f"not ready after {time.monotonic() - began:.0f} s, exit code {process.returncode}:\n"
            + (data.parent / "up.stderr").read_text()
        )
    facts = json.loads(line)
    credentials = json.loads(Path(facts["credentials"]).read_text())
    return RunningInstance(data, watched, process, facts, credentials)
