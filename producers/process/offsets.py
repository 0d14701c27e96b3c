"""What the BPF program needs to know about the running kernel, as compiler macros.

The program is compiled on the node without kernel headers: every structure offset is looked up in
the running kernel's BTF and given to the compiler as ``-D``. Headers of another kernel gave 12 of
20 offsets wrong where this was tried.

Runs inside the loader, like ``btf.py``: standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from producers.process.btf import Btf

MEMBERS = (
    "task_struct.pid",
    "task_struct.tgid",
    "task_struct.flags",
    "task_struct.start_boottime|real_start_time",
    "task_struct.real_parent",
    "task_struct.group_leader",
    "task_struct.exit_code",
    "task_struct.comm",
    "task_struct.signal",
    "task_struct.cgroups",
    "task_struct.mm",
    "task_struct.fs",
    "task_struct.nsproxy",
    "signal_struct.live",
    "signal_struct.flags",
    "signal_struct.group_exit_code",
    "mm_struct.arg_start",
    "mm_struct.arg_end",
    "mm_struct.exe_file",
    "file.f_path",
    "fs_struct.root",
    "fs_struct.pwd",
    "path.dentry",
    "path.mnt",
    "dentry.d_parent",
    "dentry.d_name.name",
    "vfsmount.mnt_root",
    "mount.mnt",
    "mount.mnt_parent",
    "mount.mnt_mountpoint",
    "nsproxy.uts_ns",
    "uts_namespace.name.nodename",
    "css_set.dfl_cgrp",
    "css_set.subsys",
    "cgroup_subsys_state.cgroup",
    "cgroup.kn",
    "kernfs_node.name",
    # renamed in Linux 6.15 when the parent became protected by RCU
    "kernfs_node.parent|__parent",
)


def macro_name(member: str) -> str:
    """``task_struct.start_boottime|real_start_time`` → ``OFFSET_TASK_STRUCT_START_BOOTTIME``."""
    return "OFFSET_" + re.sub(r"\|\w+", "", member).replace(".", "_").upper()


def macros(btf: Btf) -> dict[str, int]:
    """Macro name → value, for every member in :data:`MEMBERS` and what else varies by kernel.

    :raises BtfError: this kernel lacks one of them
    """
    values = {macro_name(member): btf.offset(member) for member in MEMBERS}
    values["MEMORY_SUBSYSTEM"] = btf.enumerator("cgroup_subsys_id", "memory_cgrp_id")
    # void *data, task, and since Linux 6.16 bool group_dead
    values["EXIT_TELLS_GROUP_DEAD"] = int(btf.argument_count("btf_trace_sched_process_exit") > 2)
    return values
