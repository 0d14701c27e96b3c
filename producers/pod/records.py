"""What is known of one pod, from one source or from several."""

from dataclasses import dataclass, field

from stream.contract.kinds.pod import PodContainer, PodEvent

SANDBOX_NAME = "POD"
"""The name of a pod's sandbox (pause) container, which Kubernetes itself gives none; cAdvisor and
the kubelet's own metrics call it so."""


@dataclass(slots=True)
class PodRecord:
    """Facts of one pod; empty means unknown."""

    uid: str
    """As cgroup paths have it: for a static pod its configuration's hash, not its mirror's UID."""
    namespace: str = ""
    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    workload_kind: str = ""
    workload: str = ""
    containers: dict[str, PodContainer] = field(default_factory=dict)
    """By container id; by name for one that has no id yet."""
    host_network: bool | None = None
    hostname: str = ""
    phase: str = ""

    @property
    def named(self) -> bool:
        """Whether it is worth publishing: without a name there is nothing to join."""
        return bool(self.namespace and self.name)


def merged(api: PodRecord | None, node: PodRecord | None) -> PodRecord | None:
    """One record of both; what the API says counts more, containers of both are kept."""
    if api is None or node is None:
        return api or node
    containers = {**node.containers}
    for key, container in api.containers.items():
        seen = containers.get(key)
        containers[key] = container if seen is None else _merged_container(container, seen)
    with_id = {each.name for each in containers.values() if each.container_id}
    return PodRecord(
        uid=api.uid,
        namespace=api.namespace or node.namespace,
        name=api.name or node.name,
        labels=api.labels or node.labels,
        workload_kind=api.workload_kind or node.workload_kind,
        workload=api.workload or node.workload,
        containers={
            key: each for key, each in containers.items() if each.container_id or key not in with_id
        },
        host_network=api.host_network if api.host_network is not None else node.host_network,
        hostname=api.hostname or node.hostname,
        phase=api.phase or node.phase,
    )


def _merged_container(first: PodContainer, second: PodContainer) -> PodContainer:
    return PodContainer(
        name=first.name or second.name,
        container_id=first.container_id or second.container_id,
        image=first.image or second.image,
    )


def event_of(record: PodRecord, *, ts: str, deleted: bool, from_api: bool) -> PodEvent:
    """The event that tells the whole record."""
    return PodEvent(
        ts=ts,
        action="deleted" if deleted else "observed",
        pod_uid=record.uid,
        pod=record.name,
        namespace=record.namespace,
        labels=record.labels,
        workload_kind=record.workload_kind,
        workload=record.workload,
        containers=sorted(
            record.containers.values(), key=lambda each: (each.name, each.container_id)
        ),
        host_network=bool(record.host_network),
        hostname=record.hostname,
        phase=record.phase,
        source="api" if from_api else "node",
    )
