"""Settings of the pod producer (section ``pod``)."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

_LABELS = (
    "app",
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
)
_BUNDLES = (
    "/run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json",
    "/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json",
    "/run/containers/storage/overlay-containers/{id}/userdata/config.json",
)


class PodSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where pods' metadata comes from, and how much of it is published."""

    api: Literal["auto", "on", "off"] = "auto"
    """Whether to ask the Kubernetes API. Default ``auto``: when a service account's token is
    mounted. What the node itself tells is used in any case, since it is there before a container's
    first process starts, and the API's word comes seconds later."""
    api_url: str = ""
    """Base URL of the API. Default empty: ``https://`` and the two ``KUBERNETES_SERVICE_…``
    variables that every pod gets."""
    service_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Folder with ``token`` and ``ca.crt``. Default: where Kubernetes mounts it. The token is read
    anew for each request, because the kubelet rotates it."""
    start_jitter_seconds: Annotated[float, Meta(ge=0, le=600)] = 5.0
    """The first list waits a random time up to this. Default 5 s: when a DaemonSet restarts on a
    thousand nodes at once, the API server sees 200 lists a second, not 1000."""
    watch_seconds: Annotated[float, Meta(ge=5, le=3600)] = 300.0
    """How long one watch lasts before it is renewed, give or take a fifth. Default 300 s, as
    client-go has it (it takes 5 to 10 minutes)."""
    backoff_seconds: Annotated[float, Meta(gt=0, le=600)] = 30.0
    """Longest wait before the API is asked again after failures; it starts at a 60th and doubles,
    each time with a random part. Default 30 s."""
    labels: list[str] = field(default_factory=lambda: list(_LABELS))
    """Names of the labels to publish. Default: those that name an application. Others may hold
    what nobody meant to be stored."""
    heartbeat_seconds: Annotated[float, Meta(ge=1)] = 300.0
    """How often every pod is published again although nothing changed. Default 300 s: a worker
    that lost its history can join again within that time, and it costs some events a second."""
    log_root: Path = Path("/var/log")
    """Folder that holds ``pods/<namespace>_<name>_<uid>`` and ``containers/…-<id>.log``, which
    every kubelet makes. Default: where it makes them."""
    bundles: list[str] = field(default_factory=lambda: list(_BUNDLES))
    """Where container runtimes keep a container's OCI configuration; ``{id}`` stands for its id.
    Its annotations name pod and container before the first process runs. Default: containerd,
    k3s and CRI-O. Needs root; without it the names come a little later, from the logs' links."""
    cgroup_root: Path = Path("/sys/fs/cgroup")
    """The host's cgroup file system, which tells which containers exist. Default: where it is
    mounted; in a container, the path of a read-only host mount."""
    proc_root: Path = Path("/proc")
    """The host's ``/proc``, to recognise pause processes and the host's network. Default: right
    on the host and with ``hostPID``."""
    scan_seconds: Annotated[float, Meta(ge=0.1, le=300)] = 10.0
    """How often the node is looked at although inotify said nothing. Default 10 s: a safety net
    for what it can't see, as on a read-only bind mount of another file system."""

    def __post_init__(self) -> None:
        for each in self.bundles:
            if "{id}" not in each or not each.startswith("/"):
                raise ValueError(f"bundles has {each!r}; use an absolute path with {{id}} in it")
        if self.api_url and not self.api_url.startswith(("https://", "http://")):
            raise ValueError(f"api_url is {self.api_url!r}; use https://host:port")
