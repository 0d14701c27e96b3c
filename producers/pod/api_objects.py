"""The parts of Kubernetes API objects that are read (``core/v1`` Pod), and the record of a pod."""

from typing import Final

from msgspec import Struct, field
from msgspec.json import Decoder

from producers.pod.records import PodRecord
from producers.pod.workload import workload_of
from stream.contract.kinds.pod import PodContainer

_MIRROR: Final = "kubernetes.io/config.mirror"
"""On the API's copy of a static pod: the UID by which the kubelet knows it."""
_HOSTNAME_LENGTH: Final = 63


class OwnerReference(Struct):
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class ObjectMeta(Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class ContainerSpec(Struct):
    name: str = ""
    image: str = ""


class PodSpec(Struct, rename="camel"):
    containers: list[ContainerSpec] | None = None
    init_containers: list[ContainerSpec] | None = None
    ephemeral_containers: list[ContainerSpec] | None = None
    host_network: bool = False
    hostname: str = ""
    node_name: str = ""


class ContainerStateTerminated(Struct):
    container_id: str | None = field(default="", name="containerID")


class ContainerState(Struct):
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(Struct, rename="camel"):
    name: str = ""
    image: str = ""
    container_id: str | None = field(default="", name="containerID")
    last_state: ContainerState | None = None


class PodStatus(Struct, rename="camel"):
    phase: str = ""
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    ephemeral_container_statuses: list[ContainerStatus] | None = None


class Pod(Struct):
    metadata: ObjectMeta
    spec: PodSpec = field(default_factory=PodSpec)
    status: PodStatus = field(default_factory=PodStatus)


class ListMeta(Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = field(default="", name="continue")


class PodList(Struct):
    metadata: ListMeta
    items: list[Pod] | None = None


class WatchObject(Struct):
    """What every object of a watch event has, and what an error (``meta/v1`` Status) has."""

    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    code: int = 0
    message: str = ""
    reason: str = ""
    spec: PodSpec = field(default_factory=PodSpec)
    status: PodStatus | str = ""


class WatchEvent(Struct):
    type: str
    object: WatchObject


decode_list: Final = Decoder(PodList).decode
decode_event: Final = Decoder(WatchEvent).decode


def pod_uid(metadata: ObjectMeta) -> str:
    """The UID in cgroup paths and log folders: that of the static pod behind a mirror pod."""
    return (metadata.annotations or {}).get(_MIRROR) or metadata.uid


def record_of(pod: Pod, labels: list[str]) -> PodRecord:
    """The record of an API object; ``labels`` names those to keep."""
    metadata, spec, status = pod.metadata, pod.spec, pod.status
    all_labels = metadata.labels or {}
    owner = next(
        (each for each in metadata.owner_references or [] if each.controller), OwnerReference()
    )
    workload = workload_of(
        owner.kind, owner.name, all_labels, metadata.name, metadata.creation_timestamp or ""
    )
    return PodRecord(
        uid=pod_uid(metadata),
        namespace=metadata.namespace,
        name=metadata.name,
        labels={name: all_labels[name] for name in labels if name in all_labels},
        workload_kind=workload.kind,
        workload=workload.name,
        containers=_containers(spec, status),
        host_network=spec.host_network,
        # On the host's network the host name is the node's (kubelet, GeneratePodHostNameAndDomain).
        hostname="" if spec.host_network else (spec.hostname or metadata.name)[:_HOSTNAME_LENGTH],
        phase=status.phase,
    )


def _containers(spec: PodSpec, status: PodStatus) -> dict[str, PodContainer]:
    images = {
        each.name: each.image
        for group in (spec.init_containers, spec.containers, spec.ephemeral_containers)
        for each in group or []
    }
    containers: dict[str, PodContainer] = {}
    for group in (
        status.init_container_statuses,
        status.container_statuses,
        status.ephemeral_container_statuses,
    ):
        for each in group or []:
            image = images.pop(each.name, each.image)
            ended = each.last_state.terminated if each.last_state else None
            ids = [each.container_id, ended.container_id if ended else ""]
            for container_id in filter(None, map(_bare_id, ids)):
                containers[container_id] = PodContainer(
                    name=each.name, container_id=container_id, image=image
                )
            if not any(ids):
                containers[each.name] = PodContainer(name=each.name, image=image)
    for name, image in images.items():
        containers[name] = PodContainer(name=name, image=image)
    return containers


def _bare_id(text: str | None) -> str:
    """``containerd://0123…`` → ``0123…``."""
    return (text or "").rpartition("//")[2]
