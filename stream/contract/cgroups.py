"""What a cgroup's path says: which pod and which container it belongs to.

The forms are those of the kubelet's cgroupfs and systemd drivers (``pkg/kubelet/cm`` in
kubernetes/kubernetes), of containerd, CRI-O and Docker (``<runtime>-<id>.scope``), and of Podman
(``libpod-<id>.scope``), alone or nested below anything (a node that is itself a container).
Producers and workers read them with this one function.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

_UID: Final = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
_POD: Final = re.compile(rf"(?:^|-)pod({_UID})(?:\.slice)?$")
_CONTAINER_ID: Final = re.compile(r"[0-9a-f]{64}$")
_SCOPE: Final = re.compile(
    r"(?:(?:cri-containerd|containerd|nerdctl|crio|docker|libpod|podman)-)([0-9a-f]{64})\.scope$"
)
_UNESCAPED: Final = re.compile(rf"-pod({_UID})\.slice:[a-z-]+:([0-9a-f]{{64}})$")
_BARE_PARENTS: Final = frozenset(("docker", "libpod_parent"))


class CgroupOwner(NamedTuple):
    """Whom a cgroup belongs to; an empty text where the path does not say it."""

    pod_uid: str
    """In the API's form: with hyphens, or 32 hexadecimal digits for a static pod."""
    container_id: str
    """64 hexadecimal digits, without the runtime's prefix."""


HOST: Final = CgroupOwner("", "")
"""Neither in a pod nor in a container: something of the node itself."""


@lru_cache(maxsize=16384)
def cgroup_owner(path: str) -> CgroupOwner:
    """Read a path below the cgroup root, of a process or of a cgroup folder.

    The innermost pod counts, and the outermost container in it: cgroups that a container makes
    for itself still belong to it. CRI-O's monitor (``crio-conmon-…``) is no container.
    """
    pod = ""
    container = ""
    parent = ""
    for part in path.split("/"):
        if found := _POD.search(part):
            pod, container = found[1].replace("_", "-"), ""
        elif unescaped := _UNESCAPED.search(part):
            pod, container = unescaped[1].replace("_", "-"), unescaped[2]
        elif not container:
            if scope := _SCOPE.match(part):
                container = scope[1]
            elif _CONTAINER_ID.match(part) and (_POD.search(parent) or parent in _BARE_PARENTS):
                container = part
        parent = part
    return CgroupOwner(pod, container) if pod or container else HOST
