"""Real containers by runc, in the cgroups that a kubelet would make.

    with Containers(tmp_path) as containers:
        pod = containers.pod(qos="burstable")
        pause = pod.run(["sleep", "infinity"])
        app = pod.run(["sh", "-c", "exit 3"], network=pause, hostname="web-0")
        assert app.wait() == 3

A container sees the host's ``/usr`` read-only (so every program of the host can run in it), a
writable root, ``/tmp`` and ``/workspace`` of its own, its own PID, mount, IPC and UTS namespaces,
and a network namespace as asked. Its output is in ``container.output()``. Everything is killed and
removed, cgroups included, when the ``with`` block ends. Needs root.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

QosClass = Literal["guaranteed", "burstable", "besteffort"]
Driver = Literal["cgroupfs", "systemd"]

CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_V2 = (CGROUP_ROOT / "cgroup.controllers").exists()
"""Whether this machine has cgroup v2 alone."""
DEADLINE_SECONDS = 30.0
_LOCK = Path("/run/lock/tenwatch-test-containers")
_KUBEPODS = re.compile(
    r"kubepods(-(burstable|besteffort))?(\.slice)?|burstable|besteffort|docker|kubelet(\.slice)?"
)
_CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "MKNOD", "NET_ADMIN", "NET_RAW",
        "SETGID", "SETUID", "SYS_CHROOT",
    )
]  # fmt: skip
_CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted")
_MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]},
    *(
        {"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}
        for path in ("/usr", "/etc/alternatives", "/etc/ld.so.cache")
        if Path(path).exists()
    ),
]


@contextlib.contextmanager
def _cgroups_locked() -> Iterator[None]:
    """Other test runs share the kubepods cgroups: nobody removes what another is about to use."""
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pod_cgroup(uid: str, qos: QosClass = "burstable", driver: Driver = "cgroupfs") -> str:
    """The path of a pod's cgroup as a kubelet with this driver names it, from the root on."""
    if driver == "cgroupfs":
        return "/kubepods/" + ("" if qos == "guaranteed" else f"{qos}/") + f"pod{uid}"
    escaped = uid.replace("-", "_")
    if qos == "guaranteed":
        return f"/kubepods.slice/kubepods-pod{escaped}.slice"
    return f"/kubepods.slice/kubepods-{qos}.slice/kubepods-{qos}-pod{escaped}.slice"


class Container:
    """One running container."""

    def __init__(
        self,
        runtime: "Containers",
        container_id: str,
        cgroup: str,
        pod_uid: str,
        bundle: Path,
        process: "subprocess.Popen[bytes]",
    ) -> None:
        self.id = container_id
        self.cgroup = cgroup
        """Path from the cgroup root on, the same in every v1 controller."""
        self.pod_uid = pod_uid
        self.root = bundle / "rootfs"
        """Its root file system, as the host sees it (``/usr`` is mounted only inside)."""
        self.pid = -1
        """Of its first process, in the host's PID namespace."""
        self._runtime = runtime
        self._bundle = bundle
        self._process = process

    def _started(self) -> None:
        file = self._bundle / "pid"
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (file.exists() and (text := file.read_text())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"runc started no container: {self.output()}")
            time.sleep(0.005)
        self.pid = int(text)

    def output(self) -> str:
        """What it wrote on stdout and stderr so far."""
        return (self._bundle / "output").read_text(errors="replace")

    def wait(self, timeout: float = DEADLINE_SECONDS) -> int:
        """Wait for its end, remove its cgroup as a container runtime does then (by ``runc
        delete``), and give the exit code (128 + signal after death by a signal)."""
        code = self._process.wait(timeout)
        self._runtime.runc("delete", self.id, check=False)
        return code

    def running(self) -> bool:
        """Whether its first process still runs."""
        return self._process.poll() is None

    def exec(self, *argv: str, timeout: float = DEADLINE_SECONDS) -> str:
        """Run a program inside, wait for it, and give its stdout; raises when it fails."""
        done = self._runtime.runc("exec", self.id, *argv, timeout=timeout)
        return done.stdout

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to its first process."""
        self._runtime.runc("kill", self.id, str(int(number)), check=False)

    def cgroup_file(self, controller: str, name: str) -> Path:
        """A file of its cgroup in a v1 controller; on a v2 machine, in the one tree."""
        root = CGROUP_ROOT if CGROUP_V2 else CGROUP_ROOT / controller
        return root / self.cgroup.lstrip("/") / name

    def close(self) -> None:
        """Kill it and remove its cgroups; its pod's stay."""
        if self._process.poll() is None:
            self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._runtime.runc("delete", "--force", self.id, check=False)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Pod:
    """A pod's cgroup, into which containers are put."""

    def __init__(self, runtime: "Containers", uid: str, qos: QosClass, driver: Driver) -> None:
        self.uid = uid
        self.driver = driver
        self.cgroup = pod_cgroup(uid, qos, driver)
        self._runtime = runtime

    def run(
        self,
        argv: Sequence[str],
        *,
        container_id: str = "",
        hostname: str = "",
        network: "Literal['own', 'host'] | Container" = "own",
        memory_limit_bytes: int | None = None,
        cpu_limit_millicores: int | None = None,
        mounts: Mapping[str | Path, str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/workspace",
        uid: int = 0,
        remove_at_once: bool = False,
    ) -> Container:
        """Start a container in this pod; ``mounts`` are host path → path inside, read-write.

        ``remove_at_once``: its cgroup goes within a millisecond of its end, faster than with any
        runtime of a kubelet.
        """
        container_id = container_id or secrets.token_hex(32)
        name = container_id if self.driver == "cgroupfs" else f"cri-containerd-{container_id}.scope"
        return self._runtime.run(
            argv,
            cgroup=f"{self.cgroup}/{name}",
            pod_uid=self.uid,
            container_id=container_id,
            hostname=hostname,
            network=network,
            memory_limit_bytes=memory_limit_bytes,
            cpu_limit_millicores=cpu_limit_millicores,
            mounts=mounts,
            env=env,
            cwd=cwd,
            uid=uid,
            remove_at_once=remove_at_once,
        )

    def remove(self) -> None:
        """Remove its cgroup, as a kubelet does when its containers are gone."""
        self._runtime._remove_cgroup(f"{self.cgroup}/gone")


class Containers:
    """Starts containers below ``folder`` and removes them all at the end of its ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "containers"
        self._state = Path("/run") / f"tenwatch-test-runc-{secrets.token_hex(6)}"
        self._running: list[Container] = []
        self._cgroups: set[str] = set()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._state.mkdir(mode=0o700)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for container in reversed(self._running):
            container.close()
        with _cgroups_locked():
            for cgroup in self._cgroups:
                self._remove_cgroup(cgroup)
        shutil.rmtree(self._state, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def pod(
        self, *, uid: str = "", qos: QosClass = "burstable", driver: Driver = "cgroupfs"
    ) -> Pod:
        """Name a pod; its cgroup comes to be with its first container."""
        return Pod(self, uid or str(uuid.uuid4()), qos, driver)

    def run(
        self,
        argv: Sequence[str],
        *,
        cgroup: str,
        pod_uid: str = "",
        container_id: str = "",
        hostname: str = "",
        network: "Literal['own', 'host'] | Container" = "own",
        memory_limit_bytes: int | None = None,
        cpu_limit_millicores: int | None = None,
        mounts: Mapping[str | Path, str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/workspace",
        uid: int = 0,
        remove_at_once: bool = False,
    ) -> Container:
        """Start a container in any cgroup (``/docker/<id>``…); returns once its process exists."""
        container_id = container_id or secrets.token_hex(32)
        bundle = self._folder / secrets.token_hex(8)
        for name in ("usr", "etc/alternatives", "proc", "dev", "sys", "tmp", "workspace", "root"):
            (bundle / "rootfs" / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                (bundle / "rootfs" / name).symlink_to(f"usr/{name}")
        (bundle / "rootfs/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        for name in ("tmp", "workspace"):
            (bundle / "rootfs" / name).chmod(0o1777)
        namespaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
        if isinstance(network, Container):
            namespaces.append({"type": "network", "path": f"/proc/{network.pid}/ns/net"})
        elif network == "own":
            namespaces.append({"type": "network"})
        resources: dict[str, object] = {"devices": [{"allow": True, "access": "rwm"}]}
        if memory_limit_bytes is not None:
            resources["memory"] = {"limit": memory_limit_bytes}
        if cpu_limit_millicores is not None:
            resources["cpu"] = {"quota": cpu_limit_millicores * 100, "period": 100_000}
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **(env or {})}
        capabilities = _CAPABILITIES if uid == 0 else []
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": uid, "gid": uid},
                "args": list(argv),
                "env": [f"{name}={value}" for name, value in environment.items()],
                "cwd": cwd,
                "capabilities": dict.fromkeys(_CAPABILITY_SETS, capabilities),
            },
            "root": {"path": "rootfs"},
            "hostname": hostname or container_id[:12],
            "mounts": [
                *_MOUNTS,
                *(
                    {
                        "destination": inside,
                        "type": "bind",
                        "source": str(outside),
                        "options": ["rbind", "rw"],
                    }
                    for outside, inside in (mounts or {}).items()
                ),
            ],
            "linux": {
                "cgroupsPath": cgroup,
                "namespaces": namespaces,
                "resources": resources,
            },
        }
        (bundle / "config.json").write_text(json.dumps(config))
        self._cgroups.add(cgroup)
        with (bundle / "output").open("wb") as output, _cgroups_locked():
            process = subprocess.Popen(
                self._command(
                    "run",
                    *(() if remove_at_once else ("--keep",)),
                    *("--bundle", str(bundle), "--pid-file", str(bundle / "pid")),
                    container_id,
                ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            container = Container(self, container_id, cgroup, pod_uid, bundle, process)
            self._running.append(container)
            container._started()
        return container

    def runc(
        self, *arguments: str, check: bool = True, timeout: float = DEADLINE_SECONDS
    ) -> "subprocess.CompletedProcess[str]":
        """Run runc with this runtime's state folder."""
        return subprocess.run(
            self._command(*arguments), check=check, timeout=timeout, capture_output=True, text=True
        )

    def _command(self, *arguments: str) -> list[str]:
        return ["runc", "--root", str(self._state), *arguments]

    @staticmethod
    def _remove_cgroup(cgroup: str) -> None:
        """Remove a container's cgroup, its pod's, and what a kubelet would own if it is empty."""
        for root in [CGROUP_ROOT] if CGROUP_V2 else CGROUP_ROOT.iterdir():
            path = root / cgroup.lstrip("/")
            with contextlib.suppress(OSError):
                path.rmdir()
            path = path.parent
            while path != root and (
                "pod" in path.name.replace("kubepods", "") or _KUBEPODS.fullmatch(path.name)
            ):
                with contextlib.suppress(OSError):
                    path.rmdir()
                path = path.parent


def link_network(container: Container, name: str = "eth0", host_name: str = "") -> tuple[str, str]:
    """Give a container's network namespace an interface whose other end is on the host.

    Returns the addresses of host and container. The pair goes when the namespace goes.
    """
    host_name = host_name or f"veth{secrets.token_hex(4)}"
    net = secrets.randbelow(200) + 20
    host_address, address = f"10.231.{net}.1", f"10.231.{net}.2"
    inside = ["nsenter", f"--net=/proc/{container.pid}/ns/net"]
    for command in (
        ["ip", "link", "add", host_name, "type", "veth", "peer", "name", name,
         "netns", f"/proc/{container.pid}/ns/net"],
        ["ip", "addr", "add", f"{host_address}/30", "dev", host_name],
        ["ip", "link", "set", host_name, "up"],
        [*inside, "ip", "addr", "add", f"{address}/30", "dev", name],
        [*inside, "ip", "link", "set", name, "up"],
        [*inside, "ip", "link", "set", "lo", "up"],
    ):  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_SECONDS)
    return host_address, address


def require_root() -> None:
    """Say plainly what is missing; these tests are never skipped."""
    if os.geteuid() != 0:
        raise RuntimeError("containers need root; run the tests as root")
