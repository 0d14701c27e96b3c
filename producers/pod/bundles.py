"""What a container runtime wrote down of a container: its OCI configuration's annotations.

containerd (``pkg/cri/annotations``) and CRI-O (``pkg/annotations``) note pod and container there,
and the file is complete before the container's cgroup exists. Not a public interface, so what is
missing is simply unknown.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from producers.pod.records import SANDBOX_NAME

_MAXIMUM_BYTES: Final = 1 << 20
_CONTAINERD: Final = "io.kubernetes.cri."
_CRIO: Final = "io.kubernetes."


@dataclass(frozen=True, slots=True)
class Bundle:
    """One container as its runtime knows it; empty means unknown."""

    container: str
    """Its name in the pod's specification; :data:`SANDBOX_NAME` for the sandbox."""
    image: str
    pod: str
    namespace: str
    pod_uid: str
    hostname: str
    host_network: bool | None
    """Told by the sandbox alone: an application's container always joins the sandbox's namespace,
    even if that is the host's."""


class _Namespace(Struct):
    type: str = ""


class _Linux(Struct):
    namespaces: list[_Namespace] = field(default_factory=list)


class _Config(Struct):
    hostname: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    linux: _Linux = field(default_factory=_Linux)


_decode: Final = msgspec.json.Decoder(_Config).decode


def read_bundle(patterns: list[str], container_id: str) -> Bundle | None:
    """The first configuration that exists and speaks of a pod; None when there is none.

    ``container_id`` must be plain hexadecimal: it becomes part of a path.
    """
    if not container_id.isalnum():
        return None
    for pattern in patterns:
        try:
            with Path(pattern.replace("{id}", container_id)).open("rb") as file:
                config = _decode(file.read(_MAXIMUM_BYTES))
        except (OSError, msgspec.DecodeError):
            continue
        bundle = _containerd(config) or _crio(config)
        if bundle is not None:
            return bundle
    return None


def _containerd(config: _Config) -> Bundle | None:
    notes = config.annotations
    name = notes.get(f"{_CONTAINERD}sandbox-name", "")
    if not name:
        return None
    sandbox = notes.get(f"{_CONTAINERD}container-type") == "sandbox"
    return Bundle(
        container=SANDBOX_NAME if sandbox else notes.get(f"{_CONTAINERD}container-name", ""),
        image=notes.get(f"{_CONTAINERD}image-name", ""),
        pod=name,
        namespace=notes.get(f"{_CONTAINERD}sandbox-namespace", ""),
        pod_uid=notes.get(f"{_CONTAINERD}sandbox-uid", ""),
        hostname="" if _on_host_network(config) else config.hostname,
        host_network=_on_host_network(config) if sandbox else None,
    )


def _crio(config: _Config) -> Bundle | None:
    notes = config.annotations
    name = notes.get(f"{_CRIO}pod.name", "")
    if not name:
        return None
    sandbox = notes.get(f"{_CRIO}cri-o.ContainerType") == "sandbox"
    return Bundle(
        container=SANDBOX_NAME if sandbox else notes.get(f"{_CRIO}container.name", ""),
        image=notes.get(f"{_CRIO}cri-o.ImageName", ""),
        pod=name,
        namespace=notes.get(f"{_CRIO}pod.namespace", ""),
        pod_uid=notes.get(f"{_CRIO}pod.uid", ""),
        hostname="" if _on_host_network(config) else config.hostname,
        host_network=_on_host_network(config) if sandbox else None,
    )


def _on_host_network(config: _Config) -> bool:
    """A container that is given no network namespace stays in the host's."""
    namespaces = {each.type for each in config.linux.namespaces}
    return bool(namespaces) and "network" not in namespaces
