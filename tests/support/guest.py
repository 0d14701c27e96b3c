"""A guest machine in QEMU: Debian's kernel, cgroup v2 alone, the host's own programs.

    result = run_in_guest([sys.executable, "-m", "pytest", "tests/producers/cgroup"], tmp_path)
    assert result.code == 0, result.output

The guest sees the host's file system read-only (by 9p) with its own ``/tmp``, ``/run``, ``/proc``
and ``/sys``, and one folder of the host writable. It has no network but its own. It needs
``qemu-system-x86_64`` on the PATH; kernel and busybox are fetched once by ``apt-get download``
(nothing is installed) into ``$XDG_CACHE_HOME/tenwatch/guest``.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MODULES = (
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "fs/netfs/netfs.ko",
    "fs/fscache/fscache.ko",
    "net/9p/9pnet.ko",
    "net/9p/9pnet_virtio.ko",
    "fs/9p/9p.ko",
    "drivers/block/loop.ko",
    "drivers/net/veth.ko",
)
"""In the order in which they need each other."""
_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /host
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module; done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host
for each in proc dev; do /bin/busybox mount --move /$each /host/$each; done
/bin/busybox mount -t sysfs sys /host/sys
/bin/busybox mount -t cgroup2 cgroup2 /host/sys/fs/cgroup
echo "+cpu +memory +io +pids" > /host/sys/fs/cgroup/cgroup.subtree_control
/bin/busybox mount -t tmpfs tmp /host/tmp
/bin/busybox mount -t tmpfs run /host/run
/bin/busybox mkdir -p /host/dev/pts /host/dev/shm {folder} /host/run/lock
/bin/busybox mount -t devpts devpts /host/dev/pts
/bin/busybox mount -t tmpfs shm /host/dev/shm
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 work {folder}
/bin/busybox ip link set lo up
/bin/busybox cp /main /host/run/main
exec /bin/busybox switch_root /host /bin/sh /run/main
"""
_MAIN = """#!/bin/sh
cd {cwd}
{environment} {command} > {folder}/output 2>&1 < /dev/null
echo "$?" > {folder}/code
sync
echo o > /proc/sysrq-trigger
sleep 60
"""


@dataclass(frozen=True)
class GuestResult:
    """How a command in a guest ended."""

    code: int
    """Its exit code; -1 when the guest did not come so far."""
    output: str
    """What it wrote on stdout and stderr; the console's end when it wrote nothing."""


def run_in_guest(
    command: Sequence[str],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    memory_mib: int = 1536,
    timeout: float = 900.0,
) -> GuestResult:
    """Boot, run one command in the current folder, power off. ``folder`` is writable inside."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        raise RuntimeError("no qemu-system-x86_64; run: apt-get install qemu-system-x86")
    kernel = _kernel_folder()
    inside = f"/host{folder}" if folder.is_relative_to("/tmp") else ""
    if not inside:
        raise ValueError(f"{folder} is not below /tmp, where the guest can show it")
    image = folder / "initramfs"
    variables = {"PATH": os.environ["PATH"], "HOME": "/tmp", **(environment or {})}
    image.write_bytes(
        _cpio(
            {
                "init": (_INIT.format(
                    modules=" ".join(each.rpartition("/")[2] for each in _MODULES), folder=inside
                ).encode(), 0o755),
                "main": (_MAIN.format(
                    cwd=shlex.quote(str(Path.cwd())),
                    environment=" ".join(
                        f"{name}={shlex.quote(value)}" for name, value in variables.items()
                    ),
                    command=shlex.join(command),
                    folder=folder,
                ).encode(), 0o755),
                "bin/busybox": ((kernel / "busybox").read_bytes(), 0o755),
                **{
                    f"modules/{each.rpartition('/')[2]}":
                        ((kernel / each.rpartition("/")[2]).read_bytes(), 0o644)
                    for each in _MODULES
                },
            }
        )
    )  # fmt: skip
    done = subprocess.run(
        [
            qemu, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
            "-m", str(memory_mib), "-nographic", "-no-reboot", "-nic", "none",
            "-kernel", str(kernel / "vmlinuz"), "-initrd", str(image),
            "-append", "console=ttyS0 quiet panic=-1 psi=1 sysrq_always_enabled",
            "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,"
            "multidevs=remap",
            "-virtfs", f"local,path={folder},mount_tag=work,security_model=none",
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        timeout=timeout, check=False,
    )  # fmt: skip
    code, output = folder / "code", folder / "output"
    return GuestResult(
        int(code.read_text()) if code.exists() else -1,
        output.read_text(errors="replace")
        if output.exists() and output.stat().st_size
        else done.stdout[-4000:] + done.stderr[-2000:],
    )


def _kernel_folder() -> Path:
    """Kernel, modules and busybox, fetched at the first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "tenwatch" / "guest"
    if (folder / "complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    depends = subprocess.run(
        ["apt-cache", "depends", "linux-image-amd64"], check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if found is None:
        raise RuntimeError("apt knows no linux-image-amd64; run: apt-get update")
    subprocess.run(
        ["apt-get", "download", found[1], "busybox-static"],
        cwd=folder, check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder / "unpacked"], check=True)
        package.unlink()
    unpacked = folder / "unpacked"
    (kernel,) = unpacked.glob("boot/vmlinuz-*")
    kernel.rename(folder / "vmlinuz")
    (busybox,) = (each for each in unpacked.glob("**/bin/busybox") if each.is_file())
    busybox.rename(folder / "busybox")
    (modules,) = unpacked.glob("*/modules/*/kernel")
    for each in _MODULES:
        (modules / each).rename(folder / each.rpartition("/")[2])
    shutil.rmtree(unpacked)
    (folder / "complete").touch()
    return folder


def _cpio(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """An archive in the ``newc`` form, which the kernel unpacks (initramfs buffer format)."""
    archive = bytearray()

    def add(name: str, mode: int, data: bytes) -> None:
        path = name.encode() + b"\0"
        fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        archive.extend(b"070701" + b"".join(b"%08X" % each for each in fields) + path)
        archive.extend(bytes(-len(archive) % 4) + data)
        archive.extend(bytes(-len(archive) % 4))

    for folder in sorted({str(Path(name).parent) for name in files} - {"."}):
        add(folder, 0o40755, b"")
    for name, (data, mode) in files.items():
        add(name, 0o100000 | mode, data)
    add("TRAILER!!!", 0, b"")
    return bytes(archive)
