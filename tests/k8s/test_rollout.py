"""The parts of the overlay "single" as containers of their manifests: events flow from the kernel
to SQL, and a rollout of every part under load loses nothing and counts nothing twice."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tenwatch.sql_client import SqlClient
from tests.support.cluster_broker import manifests
from tests.support.cluster_node import NODE, Node, free_port, wait_ready
from tests.support.manifest_container import Manifest, ManifestContainer
from tests.support.polling import eventually_sync

WAIT = 60.0


class Load:
    """Short programs, one after the other, until it is stopped."""

    def __init__(self) -> None:
        self.count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            subprocess.run(["/bin/true", f"rollout-{self.count}"], check=True, timeout=20)
            self.count += 1
            self._stop.wait(0.05)

    def stop(self) -> int:
        self._stop.set()
        self._thread.join(30)
        return self.count


@pytest.fixture
def load() -> Iterator[Load]:
    load = Load()
    yield load
    load.stop()


class Cluster:
    """Streams made by their Job, a worker, a sink and the process producer."""

    def __init__(self, node: Node, found: list[Manifest]) -> None:
        self.node = node
        self._found = found
        self.sql_port = free_port()
        admin = manifests(node.logins)["Secret", "tenwatch-sink"]["stringData"]["credentials.json"]
        user = next(each for each in json.loads(admin)["sql_users"] if each["role"] == "reader")
        self.login = {
            "TENWATCH_SQL_USER": user["user"], "TENWATCH_SQL_PASSWORD": user["password"]
        }  # fmt: skip
        self.url = f"http://127.0.0.1:{self.sql_port}"
        self.sql = SqlClient(self.url, user["user"], user["password"])
        job = node.run(found, "streams", "Job")
        assert job.wait(WAIT) == 0, job.output()
        assert "RAW: 0 messages" in job.output()
        self.parts = {name: self.start(name) for name in ("sink", "worker", "process")}

    def start(self, name: str) -> ManifestContainer:
        kind = "DaemonSet" if name == "process" else "StatefulSet"
        options: dict[str, Any] = {}
        if name == "sink":
            options = {
                "claims": {"data": str(self.node.folder / "claim")},
                "environment": {"TENWATCH_SQL_PORT": str(self.sql_port)},
            }
        container = self.node.run(self._found, name, kind, **options)
        wait_ready(container)
        return container

    def roll(self, name: str) -> None:
        """What a rollout does with one pod."""
        code = self.parts[name].terminate()
        assert code == 0, self.parts[name].output()
        self.parts[name] = self.start(name)

    def ask(self, statement: str) -> list[Any]:
        return list(self.sql.rows(statement).data)

    def audit(self) -> tuple[bool, str]:
        done = subprocess.run(
            [sys.executable, "-m", "tenwatch", "audit", "--rows", "--grace", "5", "--json",
             "--url", self.url],
            capture_output=True, text=True, timeout=60, check=False,
            env=os.environ | self.login | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        try:
            return bool(json.loads(done.stdout)["balanced"]), done.stdout
        except ValueError:
            return False, done.stdout + done.stderr


def test_a_rollout_of_every_part_under_load_loses_nothing(
    node: Node, build: Callable[[str], list[Manifest]], load: Load
) -> None:
    cluster = Cluster(node, build("single"))
    started = load.count
    for part in ("worker", "process", "sink"):
        cluster.roll(part)
    node.broker.restart()
    for part in cluster.parts.values():
        wait_ready(part)
    ended = load.stop()
    assert ended > started

    marked = (
        "SELECT count(), uniqExact(argv[2]) FROM tenwatch.processes WHERE startsWith(argv[2], "
        "'rollout-') AND toUInt32OrZero(substring(argv[2], 9)) BETWEEN "
        f"{started + 1} AND {ended - 1} AND action = 'exit'"
    )
    expected = [str(ended - 1 - started)] * 2

    def all_there() -> bool:
        return [str(value) for value in cluster.ask(marked)[0]] == expected

    eventually_sync(all_there, WAIT, f"{expected} programs", 0.5)

    def balanced() -> bool:
        verdict, text = cluster.audit()
        assert verdict, text
        return True

    eventually_sync(balanced, WAIT, "the audit", 1.0)
    # The pinned program went on collecting while its producer was replaced.
    lost = cluster.ask(
        "SELECT reason, count FROM tenwatch.loss WHERE kind = 'process' "
        f"AND node = '{NODE}' AND reason != 'producer_down'"
    )
    assert lost == []
    eventually_sync(lambda: windows_are_exact(cluster), WAIT, "windows", 1.0)


def windows_are_exact(cluster: Cluster) -> bool:
    """Whether every closed window counts as many programs as there are rows of them."""
    windows = cluster.ask(
        "SELECT toUnixTimestamp(window_start), execs FROM tenwatch.buckets "
        "WHERE kind = 'process' AND scope = 'node' AND final ORDER BY window_start"
    )
    rows = dict(
        cluster.ask(
            "SELECT intDiv(toUnixTimestamp(ts), 10) * 10, toString(countIf(action = 'exec')) "
            "FROM tenwatch.process_events GROUP BY 1"
        )
    )
    assert len(windows) >= 2
    for start, execs in windows:
        assert str(execs or 0) == rows.get(start, "0"), f"window {start}: {execs}, {rows}"
    return True
