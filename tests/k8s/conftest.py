"""The overlays as ``kustomize build`` gives them, built once per run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cluster_broker import Broker
from tests.support.cluster_node import NODE, Node

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "k8s"
OVERLAYS = ("single", "production", "course")
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.5.0"
CACHE = Path.home() / ".cache" / "tenwatch" / "bin"

Manifest = dict[str, Any]


def kustomize() -> list[str]:
    """kubectl or kustomize of version 5; else kustomize is built with Go, once."""
    if found := shutil.which("kubectl"):
        version = subprocess.run(
            [found, "version", "--client"], capture_output=True, text=True, timeout=30, check=False
        )
        if "Kustomize Version: v5" in version.stdout:
            return [found, "kustomize"]
    own = CACHE / "kustomize"
    if found := shutil.which("kustomize") or (str(own) if own.exists() else None):
        return [found, "build"]
    go = shutil.which("go")
    if go is None:
        pytest.fail("these tests need kubectl (1.27 or newer), kustomize 5 or Go: install one")
    CACHE.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["env", f"GOBIN={CACHE}", go, "install", KUSTOMIZE],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"kustomize can't be built with Go: {done.stderr}")
    return [str(own), "build"]


@pytest.fixture(scope="session")
def build() -> Callable[[str], list[Manifest]]:
    """``build("single")`` gives the manifests of an overlay."""
    command = kustomize()
    built: dict[str, list[Manifest]] = {}

    def of(overlay: str) -> list[Manifest]:
        if overlay not in built:
            done = subprocess.run(
                [*command, str(KUBERNETES / "overlays" / overlay)],
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            # A warning is something that a later version refuses.
            assert "deprecated" not in done.stderr, done.stderr
            built[overlay] = [each for each in yaml.safe_load_all(done.stdout) if each]
        return built[overlay]

    return of


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    """The name of each overlay in turn."""
    return str(request.param)


@pytest.fixture
def manifests(build: Callable[[str], list[Manifest]], overlay: str) -> list[Manifest]:
    """All manifests of one overlay."""
    return build(overlay)


@pytest.fixture
def workloads(manifests: list[Manifest]) -> list[Manifest]:
    """Those with a pod template."""
    return [each for each in manifests if "template" in each.get("spec", {})]


@pytest.fixture
def containers(workloads: list[Manifest]) -> list[tuple[str, Manifest, Manifest]]:
    """``(name, container, pod spec)`` of every container; the name says which workload."""

    def every() -> Iterator[tuple[str, Manifest, Manifest]]:
        for each in workloads:
            pod = each["spec"]["template"]["spec"]
            for container in (*pod["containers"], *pod.get("initContainers", ())):
                yield f"{each['kind']}/{each['metadata']['name']}", container, pod

    return list(every())


@pytest.fixture
def login_folder(tmp_path: Path) -> Callable[..., Path]:
    """``login_folder("--nodes", "a b")`` runs ``k8s/credentials.py`` and gives its folder."""

    def make(*arguments: str, environment: dict[str, str] | None = None) -> Path:
        folder = tmp_path / "login"
        done = subprocess.run(
            [sys.executable, str(KUBERNETES / "credentials.py"), "--folder", str(folder),
             *arguments],
            capture_output=True, text=True, timeout=60, check=False,
            env=os.environ | (environment or {}),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return folder

    return make


@pytest.fixture
def run_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """``run_broker("single", login_folder)``; see :class:`Broker`."""
    running: list[Broker] = []

    def run(overlay: str, logins: Path, **options: Any) -> Broker:
        running.append(Broker(tmp_path / f"broker-{len(running)}", overlay, logins, **options))
        return running[-1]

    yield run
    for each in running:
        each.stop()


@pytest.fixture
def node(
    login_folder: Callable[..., Path], run_broker: Callable[[str, Path], Broker], tmp_path: Path
) -> Iterator[Node]:
    logins = login_folder("--nodes", NODE)
    node = Node(tmp_path / "machine", logins, run_broker("single", logins))
    yield node
    node.close()
