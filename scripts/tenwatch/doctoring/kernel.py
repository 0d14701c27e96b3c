"""What the kernel offers and permits: BPF, fanotify, inotify, cgroups."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from producers.cgroup.errors import NoCgroupsError
from producers.cgroup.hierarchy import Hierarchy
from producers.cgroup.settings import CgroupSettings
from producers.file.errors import KernelWatchError
from producers.file.fanotify import FAN_CREATE, mark_file_system, open_group
from producers.process.attach import CAPABILITIES, attach
from producers.process.capabilities import missing_capabilities
from producers.process.errors import AttachError
from producers.process.settings import ProcessSettings
from stream.settings import Configuration
from tenwatch.doctoring.finding import Finding, broken, note, ok

AREA = "kernel"
BTF = Path("/sys/kernel/btf/vmlinux")
OLDEST_RING_BUFFER = (5, 8)
WATCHES = 65536
"""Folders below it are watched with inotify; a course of 100 students has some 10,000."""


def kernel_findings(
    configuration: Configuration, roots: Sequence[Path], *, quick: bool
) -> Iterator[Finding]:
    """Everything about the kernel; ``roots`` are folders that files are watched in."""
    yield _version()
    yield _btf()
    settings = configuration.section("process", ProcessSettings)
    yield _bcc(settings)
    yield _bpf(settings, quick=quick)
    for root in roots:
        yield _fanotify(root)
    yield _inotify()
    yield _cgroups(Path(configuration.section("cgroup", CgroupSettings).cgroup_root))


def _version() -> Finding:
    release = platform.release()
    found = f"{platform.system()} {release} {platform.machine()}"
    if platform.system() != "Linux":
        return broken(AREA, "version", found, "producers need Linux; run them on the nodes")
    numbers = release.split("-")[0].split(".")
    if tuple(int(each) for each in numbers[:2] if each.isdigit()) < OLDEST_RING_BUFFER:
        return note(AREA, "version", found, "BPF ring buffers came with Linux 5.8; use a newer one")
    return ok(AREA, "version", found)


def _btf() -> Finding:
    if not BTF.exists():
        return note(
            AREA, "type information", f"{BTF} does not exist",
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF; processes are seen only in part "
            "until then",
        )  # fmt: skip
    return ok(AREA, "type information", f"{BTF}, {BTF.stat().st_size // 1024} KiB")


def _bcc(settings: ProcessSettings) -> Finding:
    tried = []
    for interpreter in settings.interpreters:
        path = shutil.which(interpreter)
        if path is None:
            tried.append(f"{interpreter} does not exist")
            continue
        try:
            done = subprocess.run(
                [path, "-c", "import bcc; print(bcc.__version__)"],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            tried.append(f"{path}: {error}")
            continue
        if done.returncode == 0:
            return ok(AREA, "bcc", f"{done.stdout.strip()}, imported by {path}")
        tried.append(f"{path} has none")
    return note(
        AREA, "bcc", "; ".join(tried),
        "install it for the system's interpreter (Debian and Ubuntu: apt install python3-bpfcc)",
    )  # fmt: skip


def _bpf(settings: ProcessSettings, *, quick: bool) -> Finding:
    missing = missing_capabilities(CAPABILITIES)
    if missing:
        return note(
            AREA, "BPF", f"this process lacks {' and '.join(missing)}",
            "run it as root, or give the container these capabilities; without them processes "
            "are seen only in part",
        )  # fmt: skip
    if quick:
        return ok(AREA, "BPF", "permitted; not tried (--quick)")
    try:
        # Unpinned, so that a running producer's program stays as it is.
        program = attach(ProcessSettings(interpreters=settings.interpreters))
    except AttachError as error:
        return note(AREA, "BPF", str(error), "processes are seen only in part until then")
    program.close()
    return ok(AREA, "BPF", "the program was compiled, accepted by the verifier, and attached")


def _fanotify(root: Path) -> Finding:
    check = f"fanotify on {root}"
    try:
        group = open_group()
    except KernelWatchError as error:
        return _no_fanotify(check, error)
    try:
        mark_file_system(group, os.fsencode(root), FAN_CREATE)
    except KernelWatchError as error:
        return _no_fanotify(check, error)
    finally:
        os.close(group)
    return ok(AREA, check, "works: no limit on folders, and the writer's pid is known")


def _no_fanotify(check: str, error: KernelWatchError) -> Finding:
    return note(
        AREA, check, str(error),
        "inotify is used there instead, without the writer's pid; "
        "see the limits of inotify below",
    )  # fmt: skip


def _inotify() -> Finding:
    folder = Path("/proc/sys/fs/inotify")
    try:
        limits = {
            name: int((folder / name).read_text("ascii"))
            for name in ("max_user_watches", "max_user_instances", "max_queued_events")
        }
    except (OSError, ValueError):
        return note(
            AREA, "inotify", f"{folder} can't be read", "mount /proc; it is needed where fanotify "
            "isn't permitted",
        )  # fmt: skip
    found = ", ".join(f"{name} {value}" for name, value in limits.items())
    if limits["max_user_watches"] < WATCHES:
        return note(
            AREA, "inotify", found,
            f"sysctl fs.inotify.max_user_watches={WATCHES} (each watched folder takes one)",
        )  # fmt: skip
    return ok(AREA, "inotify", found)


def _cgroups(root: Path) -> Finding:
    try:
        hierarchy = Hierarchy.detect(root)
    except NoCgroupsError as error:
        return note(AREA, "cgroups", str(error), "without it there is no resource use of pods")
    controllers = ", ".join(sorted(hierarchy.controllers))
    return ok(
        AREA, "cgroups", f"{hierarchy.mode} at {root}" + f" ({controllers})" * bool(controllers)
    )
