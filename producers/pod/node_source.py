"""Pods as the node itself shows them: log folders and links, cgroups, runtime configuration.

All of it is there before (folder, configuration, cgroup) or moments after (link) a container's
first process starts, and without any server.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from producers.cgroup.errors import NoCgroupsError
from producers.cgroup.hierarchy import Hierarchy
from producers.cgroup.inotify import IN_CREATE, IN_DELETE, Inotify
from producers.cgroup.network import is_setting_up, network_identity
from producers.cgroup.usage import Reader
from producers.pod.bundles import Bundle, read_bundle
from producers.pod.records import SANDBOX_NAME, PodRecord
from producers.pod.settings import PodSettings
from producers.pod.workload import workload_by_name
from stream.contract.kinds.pod import PodContainer

_FOLDER: Final = re.compile(
    r"(?P<namespace>[a-z0-9-]+)_(?P<name>[a-z0-9.-]+)_(?P<uid>[0-9a-f-]{32,36})"
)
"""``pods/<namespace>_<name>_<uid>`` (kubelet ``kuberuntime``, BuildPodLogsDirectory)."""
_LINK: Final = re.compile(
    r"(?P<name>[a-z0-9.-]+)_(?P<namespace>[a-z0-9-]+)_(?P<container>[a-z0-9-]+)"
    r"-(?P<id>[0-9a-f]{64})\.log"
)
"""``containers/<pod>_<namespace>_<container>-<id>.log`` (legacyLogSymlink)."""
_IN_MOVED_TO: Final = 0x80
_PAUSE: Final = b"pause\n"
_PATIENCE: Final = 60
"""Scans in which a container without a name is looked up again."""


@dataclass(slots=True)
class _Seen:
    """What was found out of one container; None until it was."""

    bundle: Bundle | None = None
    is_pause: bool = False
    host_network: bool | None = None
    tries: int = 0


class NodeSource:
    """Looks at the node. For one thread."""

    def __init__(self, settings: PodSettings) -> None:
        self._settings = settings
        self._reader = Reader()
        self._containers: dict[str, _Seen] = {}
        self._hierarchy: Hierarchy | None = None
        self.inotify: Inotify | None = None
        self.problems: dict[str, str] = {}
        self.unresolved = False
        """Whether the last scan left containers without a name that may still get one."""
        try:
            self._hierarchy = Hierarchy.detect(settings.cgroup_root)
        except NoCgroupsError as error:
            self.problems["cgroups"] = str(error)
        try:
            self.inotify = Inotify()
        except OSError as error:
            self.problems["inotify"] = (
                f"new pods are noticed up to {settings.scan_seconds} s late: {error}; raise "
                "fs.inotify.max_user_instances"
            )

    def scan(self) -> dict[str, PodRecord]:
        """Everything that the node shows now, by pod UID. Pods without a name are included."""
        root = self._settings.log_root
        # Watched before it is read, so that nothing slips through between the two.
        self._watch(str(root / "pods"))
        self._watch(str(root / "containers"))
        records: dict[str, PodRecord] = {}
        for name in _names(root / "pods"):
            if match := _FOLDER.fullmatch(name):
                records[match["uid"]] = _named(match["uid"], match["namespace"], match["name"])
        linked = self._read_links()
        for uid, record in records.items():
            if uid in linked:
                record.containers = linked[uid].containers
        self._read_cgroups(records, linked)
        return records

    def drain(self) -> bool:
        """Take what inotify has; True when something changed."""
        if self.inotify is None:
            return False
        return bool(list(self.inotify.read()))

    def close(self) -> None:
        """Give everything back to the kernel."""
        if self.inotify is not None:
            self.inotify.close()

    def _read_links(self) -> dict[str, PodRecord]:
        """What the links name. They outlive their pods, so alone they prove no pod."""
        folder = self._settings.log_root / "containers"
        linked: dict[str, PodRecord] = {}
        for name in _names(folder):
            match = _LINK.fullmatch(name)
            if match is None:
                continue
            try:
                target = str((folder / name).readlink())
            except OSError:
                continue
            for part in target.split("/"):
                pod = _FOLDER.fullmatch(part)
                if pod is not None and pod["name"] == match["name"]:
                    record = linked.setdefault(
                        pod["uid"], _named(pod["uid"], pod["namespace"], pod["name"])
                    )
                    record.containers[match["id"]] = PodContainer(
                        name=match["container"], container_id=match["id"]
                    )
        return linked

    def _read_cgroups(self, records: dict[str, PodRecord], linked: dict[str, PodRecord]) -> None:
        if self._hierarchy is None:
            return
        walk = self._hierarchy.walk()
        added = [each for each in walk.folders if self._watch(self._hierarchy.folder(each))]
        if added:
            walk = self._hierarchy.walk()
        of_pod: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        present = set()
        for each in walk.cgroups:
            owner = each.owner
            if owner.pod_uid and owner.container_id:
                of_pod[owner.pod_uid].append((owner.container_id, each.path))
                present.add(owner.container_id)
            elif owner.pod_uid:
                of_pod.setdefault(owner.pod_uid, [])
        self._containers = {key: each for key, each in self._containers.items() if key in present}
        self.unresolved = False
        for uid, containers in of_pod.items():
            record = records.setdefault(uid, linked.get(uid) or PodRecord(uid))
            for container_id, path in containers:
                self._add(record, container_id, path)

    def _add(self, record: PodRecord, container_id: str, path: str) -> None:
        seen = self._containers.setdefault(container_id, _Seen())
        known = record.containers.get(container_id)
        if seen.bundle is None and seen.tries < _PATIENCE:
            seen.bundle = read_bundle(self._settings.bundles, container_id)
            if seen.bundle is None and (known is None or seen.host_network is None):
                seen.tries += 1
                self._look_at_processes(seen, path)
                if known is None and not seen.is_pause:
                    self.unresolved = True
        bundle = seen.bundle
        name = known.name if known is not None else ""
        image = ""
        if bundle is not None:
            name, image = bundle.container or name, bundle.image
            if not record.named and bundle.pod_uid in ("", record.uid):
                record.namespace, record.name = bundle.namespace, bundle.pod
                workload = workload_by_name(bundle.pod)
                record.workload_kind, record.workload = workload
            record.hostname = record.hostname or bundle.hostname
        elif seen.is_pause:
            name = SANDBOX_NAME
        on_host = bundle.host_network if bundle is not None else seen.host_network
        if record.host_network is None:
            record.host_network = on_host
        if name:
            record.containers[container_id] = PodContainer(
                name=name, container_id=container_id, image=image
            )

    def _look_at_processes(self, seen: _Seen, path: str) -> None:
        if self._hierarchy is None:
            return
        proc = self._settings.proc_root
        for pid in self._hierarchy.processes(self._reader, path)[:1]:
            comm = self._reader.read(f"{proc}/{pid}/comm")
            if comm is None or is_setting_up(comm):
                return
            seen.is_pause = comm == _PAUSE
            host, own = network_identity(proc, 1), network_identity(proc, pid)
            if host is not None and own is not None:
                seen.host_network = host == own

    def _watch(self, folder: str) -> bool:
        """True when the folder was not watched before."""
        if self.inotify is None or folder in self.inotify:
            return False
        try:
            self.inotify.add(folder, folder, IN_CREATE | IN_DELETE | _IN_MOVED_TO)
        except FileNotFoundError:
            return False
        except OSError as error:
            self.problems["watches"] = (
                f"some new pods are noticed up to {self._settings.scan_seconds} s late: {error}; "
                "raise fs.inotify.max_user_watches"
            )
            return False
        return True


def _named(uid: str, namespace: str, name: str) -> PodRecord:
    kind, workload = workload_by_name(name)
    return PodRecord(uid, namespace=namespace, name=name, workload_kind=kind, workload=workload)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir())
    except OSError:
        return []
