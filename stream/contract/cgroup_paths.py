"""To whom a cgroup belongs, read from its path alone.

Kubelets name pods in two ways, and container runtimes name containers in their own:

cgroupfs driver  ``/kubepods/burstable/pod<uid>/<container id>`` (guaranteed: no QoS folder)
systemd driver   ``/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/
cri-containerd-<container id>.scope``, where the UID's hyphens are underscores
mixed            ``/…/kubepods-burstable-pod<uid>.slice:cri-containerd:<container id>`` (a systemd
kubelet with a runtime that isn't set to systemd)

(kubelet ``pkg/kubelet/cm/cgroup_manager_linux.go``; containerd, CRI-O, dockershim and Podman.)
"""

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple

_UID: Final = r"(?P<uid>[0-9a-f]+(?:[-_][0-9a-f]+)*)"
_POD_CGROUPFS: Final = re.compile(rf"pod{_UID}")
_POD_SYSTEMD: Final = re.compile(
    rf"(?:[\w.-]*-)?kubepods(?:-burstable|-besteffort)?-pod{_UID}\.slice"
)
_POD_MIXED: Final = re.compile(
    rf"(?:[\w.-]*-)?kubepods(?:-burstable|-besteffort)?-pod{_UID}\.slice:[\w.-]+:(?P<id>[\w.-]+)"
)
_KUBEPODS: Final = re.compile(r"(?:[\w.-]*-)?kubepods(?:-burstable|-besteffort)?(?:\.slice)?")
_CONTAINER: Final = re.compile(
    r"(?:(?:cri-containerd|crio|docker|libpod|nerdctl|containerd)-)?(?P<id>[0-9a-f]{64})(?:\.scope)?"
)
_IN_POD: Final = re.compile(
    r"(?:(?:cri-containerd|crio|docker|libpod|nerdctl|containerd)-)?(?P<id>[\w.-]+?)(?:\.scope)?"
)
_HELPER: Final = re.compile(r"(?:crio|libpod)-conmon-.*")


class CgroupOwner(NamedTuple):
    """A pod, a container of a pod, or a container outside Kubernetes."""

    pod_uid: str
    """In the API's form, with hyphens; empty outside Kubernetes."""
    container_id: str
    """Without prefix and suffix of its runtime; empty for a pod itself."""
    nested: bool
    """Whether the cgroup lies below the owner's own."""

    @property
    def scope(self) -> Literal["container", "pod"]:
        """Which of the two it is."""
        return "container" if self.container_id else "pod"


@lru_cache(maxsize=8192)
def cgroup_owner(path: str) -> CgroupOwner | None:
    """The owner of a cgroup path (from the root of its hierarchy on), or None for the host's own.

    The outermost one counts: what a container starts in cgroups of its own belongs to it. Any
    text is taken; nothing raises.
    """
    segments = [each for each in path.split("/") if each]
    in_kubepods = False
    for depth, name in enumerate(segments):
        if mixed := _POD_MIXED.fullmatch(name):
            nested = depth + 1 < len(segments)
            return CgroupOwner(_uid(mixed["uid"]), mixed["id"], nested)
        pod = _POD_SYSTEMD.fullmatch(name) or (in_kubepods and _POD_CGROUPFS.fullmatch(name))
        if pod:
            return _inside_pod(_uid(pod["uid"]), segments[depth + 1 :])
        if container := _CONTAINER.fullmatch(name):
            return CgroupOwner("", container["id"], depth + 1 < len(segments))
        in_kubepods = in_kubepods or _KUBEPODS.fullmatch(name) is not None
    return None


def _inside_pod(uid: str, rest: list[str]) -> CgroupOwner:
    if not rest:
        return CgroupOwner(uid, "", nested=False)
    container = _IN_POD.fullmatch(rest[0])
    if container is None or _HELPER.fullmatch(rest[0]):
        return CgroupOwner(uid, "", nested=True)
    return CgroupOwner(uid, container["id"], nested=len(rest) > 1)


def _uid(text: str) -> str:
    return text.replace("_", "-")
