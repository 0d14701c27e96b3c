"""What the tests of the pod producer share: a Kubernetes API, and a node's folders."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from producers.pod import PodObserver, PodSettings
from stream.contract.kinds.pod import PodEvent
from tests.support.keeping_sink import KeepingSink
from tests.support.kubernetes_api import NODE, FakeApi


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", folder / "tls.key", "-out", folder / "tls.crt", "-days", "2",
         "-subj", "/CN=fake-api", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "tls.crt", folder / "tls.key"


@pytest.fixture
def api(certificate: tuple[Path, Path]) -> Iterator[FakeApi]:
    server = FakeApi()
    server.start(*certificate)
    yield server
    server.stop()


@pytest.fixture
def account(tmp_path: Path, certificate: tuple[Path, Path]) -> Path:
    """A mounted service account."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "ca.crt").write_bytes(certificate[0].read_bytes())
    (folder / "token").write_text("first-token\n")
    return folder


@pytest.fixture
def sink() -> KeepingSink[PodEvent]:
    return KeepingSink("pod", PodEvent)


@dataclass
class NodeFolders:
    """``/var/log`` and the runtime's folder of a node, made by hand."""

    root: Path

    @property
    def logs(self) -> Path:
        return self.root / "log"

    def pod(self, namespace: str, name: str, uid: str) -> Path:
        folder = self.logs / "pods" / f"{namespace}_{name}_{uid}"
        folder.mkdir(parents=True)
        return folder

    def link(self, pod: Path, container: str, container_id: str) -> None:
        namespace, name, _ = pod.name.split("_")
        (pod / container).mkdir(exist_ok=True)
        folder = self.logs / "containers"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}_{namespace}_{container}-{container_id}.log").symlink_to(
            f"/var/log/pods/{pod.name}/{container}/0.log"
        )

    def bundle(self, container_id: str, config: dict[str, Any]) -> None:
        folder = self.root / "bundles" / container_id
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def node(tmp_path: Path) -> NodeFolders:
    folders = NodeFolders(tmp_path / "node")
    (folders.logs / "pods").mkdir(parents=True)
    (folders.root / "cgroup").mkdir()
    (folders.root / "cgroup" / "cgroup.controllers").touch()
    return folders


@pytest.fixture
def observe(
    node: NodeFolders, account: Path, sink: KeepingSink[PodEvent]
) -> Iterator[Callable[..., PodObserver]]:
    """Start an observer of the hand-made node; with ``api`` it follows that API, too."""
    started: list[PodObserver] = []

    def start(api: FakeApi | None = None, **settings: Any) -> PodObserver:
        chosen = {
            "api": "on" if api is not None else "off",
            "api_url": api.url if api is not None else "",
            "service_account": account,
            "start_jitter_seconds": 0.0,
            "backoff_seconds": 6.0,
            "log_root": node.logs,
            "cgroup_root": node.root / "cgroup",
            "bundles": [str(node.root / "bundles/{id}/config.json")],
            **settings,
        }
        observer = PodObserver(NODE, PodSettings(**chosen), {})
        started.append(observer)
        observer.start(sink)
        return observer

    yield start
    for observer in started:
        observer.stop()
