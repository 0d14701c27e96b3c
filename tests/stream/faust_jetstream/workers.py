"""Worker processes of these tests: started, ended, killed, frozen."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


class Worker:
    """One worker process running an app module of this folder (``apps/<name>.py``)."""

    def __init__(self, app: str, member: str, folder: Path, **environment: str) -> None:
        self.member = member
        self.log = folder / f"{member}.log"
        self.frozen = False
        self.leaving = False
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    str(Path(__file__).parent / "apps" / f"{app}.py"),
                    "worker",
                    "--without-web",
                    "-l",
                    "info",
                ],
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "MEMBER": member,
                    "PYTHONUNBUFFERED": "1",
                    **environment,
                },
                stdout=log,
                stderr=log,
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)
        self.frozen = False

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.leaving = True

    def kill(self) -> None:
        if self.running:
            self.process.kill()
        self.process.wait()

    def wait(self, timeout: float = 30) -> int:
        return self.process.wait(timeout)

    def text(self) -> str:
        return self.log.read_text(errors="replace")
