"""Kind ``pod``: the metadata that enrichment joins to."""

from typing import Literal

from msgspec import Struct

from stream.contract.event import Event, KindDefinition


class PodContainer(Struct, kw_only=True, omit_defaults=True):
    """One container of a pod."""

    name: str
    container_id: str = ""
    """Without the runtime's prefix (``containerd://``)."""
    image: str = ""


class PodEvent(Event, kw_only=True, omit_defaults=True):
    """What is known of one pod on this node, whole, each time that it changes."""

    action: Literal["observed", "deleted"]
    pod_uid: str
    """In the API's form, with hyphens."""
    pod: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}  # noqa: RUF012 - msgspec copies an empty dict default
    """Only those that the configuration names."""
    workload_kind: str = ""
    workload: str = ""
    containers: list[PodContainer] = []  # noqa: RUF012 - msgspec copies an empty list default
    host_network: bool = False
    hostname: str = ""
    phase: str = ""
    source: Literal["api", "node"] = "node"
    """From the Kubernetes API, or pieced together on the node alone."""


DEFINITION = KindDefinition("pod", 1, PodEvent, "pods of the node")
