"""Starts the program `serving` and asks it over plain HTTP."""

import base64
import http.client
import json
import select
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).parents[3]
PASSWORDS = {
    "reader": "reader-password",
    "admin": "admin-password",
    "student": "student-password",
}
START_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """A whole HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> int:
        """ClickHouse's code of the exception; 0 for none."""
        return int(self.headers.get("X-ClickHouse-Exception-Code", "0"))


class EndpointProcess:
    """A served store in a process of its own, so that a crash of the engine fails one test."""

    def __init__(self, folder: Path, **options: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.sinks.sql_endpoint.serving",
                json.dumps({"folder": str(folder / "store"), **options}),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.url: str = json.loads(self._line(START_SECONDS))["url"]
        self.address = urlsplit(self.url).netloc
        self.port = int(self.address.rpartition(":")[2])
        self.certificate: str | None = options.get("certificate")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def log(self) -> str:
        """What it logged so far, at level DEBUG."""
        return (self.folder / "log").read_text()

    def command(self, line: str, seconds: float = 30.0) -> str:
        """Give it a line and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._line(seconds)

    def _line(self, seconds: float) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the endpoint said nothing: {self.log()[-3000:]}")
        return line.strip()

    def close(self) -> int:
        """Let it end by itself; its exit code."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.write("stop\n")
            self._process.stdin.flush()
        try:
            return self._process.wait(30)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._log.close()

    def connection(self, seconds: float = 60.0) -> http.client.HTTPConnection:
        """A raw connection."""
        if self.certificate is not None:
            trusted = ssl.create_default_context(cafile=self.certificate)
            return http.client.HTTPSConnection(
                "localhost", self.port, timeout=seconds, context=trusted
            )
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)

    def ask(
        self,
        sql: str | bytes = b"",
        user: str | None = "reader",
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        path: str = "/",
        seconds: float = 60.0,
        **parameters: object,
    ) -> Answer:
        """Send a query and read the whole answer. With `user` None no credentials are sent."""
        connection = self.connection(seconds)
        try:
            connection.request(
                method,
                f"{path}?{urlencode(parameters)}" if parameters else path,
                sql.encode() if isinstance(sql, str) else sql,
                {**(basic(user, PASSWORDS[user]) if user else {}), **(headers or {})},
            )
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def rows(self, sql: str, user: str = "reader", **parameters: object) -> list[list[Any]]:
        """The rows of a query that must succeed."""
        answer = self.ask(sql, user, default_format="JSONCompact", **parameters)
        assert answer.status == 200, answer.text
        rows: list[list[Any]] = json.loads(answer.body)["data"]
        return rows

    def assert_healthy(self) -> None:
        """The process lives, answers, and still has all its rows."""
        assert self._process.poll() is None, self.log()[-3000:]
        assert self.rows("SELECT count() > 999, uniqExact(node) FROM processes") == [[1, 3]]


def basic(user: str, password: str) -> dict[str, str]:
    """The header of HTTP Basic."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}
