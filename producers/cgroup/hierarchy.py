"""The shape of a cgroup file system: v1, v2 or hybrid; and a walk for what is to be sampled.

Only the file tree below a root is looked at, so a recorded tree works like a live one.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from producers.cgroup import version1, version2
from producers.cgroup.errors import NoCgroupsError
from producers.cgroup.usage import Reader, Usage, pressure_total
from stream.contract.cgroups import HOST, CgroupOwner, cgroup_owner

_V1_CONTROLLERS: Final = ("cpu", "cpuacct", "memory", "blkio", "pids")
_WALKED_FIRST: Final = ("memory", "cpuacct", "pids", "blkio", "cpu")


def own_cgroup_of(path: str) -> CgroupOwner | None:
    """Whose own cgroup a path is; None for the host's, and for what lies below a container's."""
    owner = cgroup_owner(path)
    if owner == HOST or owner == cgroup_owner(path.rpartition("/")[0]):
        return None
    return owner


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One cgroup of a pod or a container."""

    path: str
    """From the root of the hierarchy on."""
    inode: int
    """Of its folder in the walked hierarchy: another one when the path is made again. On 64-bit
    kernels the upper half counts how often the lower was reused (``kernfs_node.id``)."""
    owner: CgroupOwner


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk found."""

    cgroups: list[Cgroup]
    folders: list[str] = field(default_factory=list)
    """Paths of the folders in which pods and containers may come to be."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where each controller is mounted."""

    mode: Literal["v1", "v2", "hybrid"]
    walked: str
    """Root of the hierarchy whose folders tell which cgroups exist."""
    controllers: dict[str, str]
    """v1: controller → root folder. Empty for v2."""
    unified: str = ""
    """Root of the v2 tree, if there is one."""

    @classmethod
    def detect(cls, root: Path) -> "Hierarchy":
        """Look at ``root`` (``/sys/fs/cgroup``); raises :class:`NoCgroupsError` if it is none.

        v2 has ``cgroup.controllers`` at its root. v1 has a folder per hierarchy, named by its
        controllers (``cpu,cpuacct``), with symbolic links for the single names.
        """
        if (root / "cgroup.controllers").exists():
            return cls("v2", str(root), {}, str(root))
        controllers: dict[str, str] = {}
        unified = ""
        try:
            entries = sorted(root.iterdir())
        except OSError as error:
            raise NoCgroupsError(
                f"{root}: {error.strerror}; set cgroup.cgroup_root to where the host's "
                "cgroup file system is mounted"
            ) from None
        for entry in entries:
            if (entry / "cgroup.controllers").exists():
                unified = str(entry)
            elif (entry / "cgroup.procs").exists():
                for name in entry.name.split(","):
                    if name in _V1_CONTROLLERS:
                        controllers.setdefault(name, str(entry))
        for name in _WALKED_FIRST:
            if name in controllers:
                mode: Literal["v1", "hybrid"] = "hybrid" if unified else "v1"
                return cls(mode, controllers[name], controllers, unified)
        if unified:
            return cls("v2", unified, {}, unified)
        raise NoCgroupsError(
            f"{root} holds neither cgroup.controllers (v2) nor folders of v1 controllers; set "
            "cgroup.cgroup_root to where the host's cgroup file system is mounted"
        )

    def folder(self, path: str) -> str:
        """The folder of a cgroup in the walked hierarchy."""
        return self.walked + path.rstrip("/")

    def exists(self, path: str) -> bool:
        """Whether the cgroup is still there."""
        return Path(self.folder(path)).exists()

    def read(
        self,
        reader: Reader,
        path: str,
        stacked: frozenset[bytes] = frozenset(),
        block_accounting: bool = True,
    ) -> Usage | None:
        """The figures of one cgroup; None when it is gone."""
        if not self.controllers:
            return version2.read_usage(reader, self.unified + path, stacked)
        folders = {name: root + path for name, root in self.controllers.items()}
        usage = version1.read_usage(reader, folders, stacked, block_accounting)
        if usage is not None and self.unified:
            unified = self.unified + path
            usage.psi_cpu_some_us = pressure_total(reader.read(f"{unified}/cpu.pressure"))
            usage.psi_memory_some_us = pressure_total(reader.read(f"{unified}/memory.pressure"))
            usage.psi_io_some_us = pressure_total(reader.read(f"{unified}/io.pressure"))
        return usage

    def processes(self, reader: Reader, path: str) -> list[int]:
        """Ids of the processes directly in a cgroup, ascending; 0 for those that this process's
        PID namespace does not show."""
        text = reader.read(f"{self.folder(path)}/cgroup.procs")
        return sorted(map(int, (text or b"").split()))

    def look(self, path: str) -> Cgroup | None:
        """The cgroup at ``path``, if it is a pod's or container's own and exists."""
        owner = own_cgroup_of(path)
        if owner is None:
            return None
        try:
            return Cgroup(path, Path(self.folder(path)).stat().st_ino, owner)
        except OSError:
            return None

    def walk(self, include: Iterable[str] = ("/",), depth: int = 8) -> Walk:
        """Find all cgroups of pods and containers below ``include``, parents first.

        Below a container nothing is looked at. Folders that vanish meanwhile are passed over.
        """
        result = Walk([])
        seen: set[str] = set()
        for prefix in include:
            start = "" if prefix == "/" else prefix.rstrip("/")
            self._descend(start, depth, seen, result)
        return result

    def _descend(self, path: str, depth: int, seen: set[str], result: Walk) -> None:
        if path in seen:
            return
        seen.add(path)
        owner = own_cgroup_of(path)
        try:
            if owner is not None:
                result.cgroups.append(Cgroup(path, Path(self.folder(path)).stat().st_ino, owner))
                if owner.container_id:
                    return
            with os.scandir(self.folder(path)) as entries:
                names = sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
        except OSError:
            return
        result.folders.append(path or "/")
        if depth > 0:
            for name in names:
                self._descend(f"{path}/{name}", depth - 1, seen, result)
