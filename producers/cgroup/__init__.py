"""Resource use of cgroups and of the node (kind ``cgroup``)."""

from producers.cgroup.errors import CgroupError, NoCgroupsError
from producers.cgroup.observer import CgroupObserver
from producers.cgroup.settings import CgroupSettings

__all__ = ["CgroupError", "CgroupObserver", "CgroupSettings", "NoCgroupsError"]
