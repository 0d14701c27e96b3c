"""A container run by runc as a kubelet would run it from a manifest: user, capabilities, read-only
root, mounts, environment, PID namespace, masked paths, and the runtime's default seccomp profile.

The root file system is an unpacked image where ``TENWATCH_TEST_IMAGE`` names one, else this
machine's own programs and this checkout, read-only. Two things differ from a cluster: it shares the
network of the test, so that it reaches the test's broker, and host paths lie in the test's folder.
"""

import contextlib
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.containers import CGROUP_ROOT

ROOT: Final = Path(__file__).resolve().parents[2]
SECCOMP: Final = Path("/usr/share/containers/seccomp.json")
"""The default profile of podman and CRI-O, where golang-github-containers-common is installed."""
ARCHITECTURES: Final = {"x86_64": ("amd64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
                        "aarch64": ("arm64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"])}  # fmt: skip
MASKED: Final = [
    "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
]  # fmt: skip
READ_ONLY: Final = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
"""Both as containerd has them (``oci/spec.go``)."""
SECONDS: Final = 30.0

Manifest = dict[str, Any]


def seccomp_profile(capabilities: set[str]) -> Manifest | None:
    """The runtime's default profile for a container with these capabilities."""
    if not SECCOMP.exists():
        return None
    profile = json.loads(SECCOMP.read_text())
    name, architectures = ARCHITECTURES[platform.machine()]
    # Debian's profile of 2022 lacks what containerd (1.7) and Docker (23) have had since: each of
    # these is allowed with its own capability, too.
    newer = {"bpf": "CAP_BPF", "perf_event_open": "CAP_PERFMON"}
    granted = [name for name, capability in newer.items() if capability in capabilities]
    rules = [{"names": granted, "action": "SCMP_ACT_ALLOW"}] if granted else []
    for rule in profile["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if not set(includes.get("caps", ())) <= capabilities:
            continue
        if set(excludes.get("caps", ())) & capabilities:
            continue
        if includes.get("arches") and name not in includes["arches"]:
            continue
        if name in excludes.get("arches", ()):
            continue
        names = [each for each in rule["names"] if each not in granted]
        kept = {"names": names, "action": rule["action"]}
        if rule.get("args"):
            kept["args"] = rule["args"]
        # The engine turns the name of an error into its number.
        if rule["action"] == "SCMP_ACT_ERRNO":
            kept["errnoRet"] = rule.get("errnoRet", 1)
        rules += [kept] if names else []
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "architectures": architectures, "syscalls": rules}  # fmt: skip


@dataclass
class ManifestContainer:
    """One container of a pod template."""

    workload: Manifest
    folder: Path
    settings: Mapping[str, str]
    """What the ConfigMaps of ``envFrom`` hold."""
    node: str
    host: Mapping[str, str]
    """Host path in the manifest → the one to use; a path that is missing here stays as it is."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Over that of the manifest: addresses and ports of this test."""
    without: str = ""
    """A capability to leave out, like ``BPF``."""
    extra_mounts: Mapping[str, str] = field(default_factory=dict)
    """Host folder → path inside, read-only."""
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Name of a Secret → its files."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """Name of a claim → the folder that stands for it."""
    health_port: int = 0

    def __post_init__(self) -> None:
        self.id = f"tenwatch-{secrets.token_hex(6)}"
        self._state = f"/run/tenwatch-test-runc-{self.id}"
        self._process: subprocess.Popen[bytes] | None = None
        self.pod = self.workload["spec"]["template"]["spec"]
        self.container = self.pod["containers"][0]

    @property
    def capabilities(self) -> set[str]:
        """Those of the manifest, less the one left out."""
        added = self.container["securityContext"]["capabilities"].get("add") or ()
        return {f"CAP_{name}" for name in added if name != self.without}

    def _config(self) -> Manifest:
        pod, container = self.pod, self.container
        user = pod["securityContext"]
        capabilities = sorted(self.capabilities)
        # containerd gives a user other than root no effective capability.
        effective = capabilities if user["runAsUser"] == 0 else []
        environment = self._environment()
        namespaces = [{"type": kind} for kind in ("mount", "ipc", "uts", "cgroup")]
        if not pod.get("hostPID"):
            namespaces.append({"type": "pid"})
        seccomp = seccomp_profile(self.capabilities)
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {
                    "uid": user["runAsUser"],
                    "gid": user.get("runAsGroup", 0),
                    "additionalGids": [user["fsGroup"]] if "fsGroup" in user else [],
                },
                "args": [*(container.get("command") or ["tenwatch"]), *container.get("args", ())],
                "env": [f"{name}={value}" for name, value in environment.items()],
                "cwd": "/tmp",
                "noNewPrivileges": not container["securityContext"]["allowPrivilegeEscalation"],
                "capabilities": {
                    "bounding": capabilities, "permitted": effective, "effective": effective,
                },
            },
            "root": {
                "path": "rootfs", "readonly": container["securityContext"]["readOnlyRootFilesystem"]
            },
            "hostname": self.workload["metadata"]["name"],
            "mounts": [*self._system_mounts(), *self._volumes(), *self._program()],
            "linux": {
                "cgroupsPath": f"/tenwatch-tests/{self.id}",
                "namespaces": namespaces,
                "resources": {"memory": {"limit": self._memory()}},
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
            } | ({"seccomp": seccomp} if seccomp else {}),
        }  # fmt: skip

    def _memory(self) -> int:
        limit = self.container["resources"]["limits"]["memory"]
        units = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
        return int(limit[:-2]) * units[limit[-2:]]

    def _environment(self) -> dict[str, str]:
        path = "/opt/tenwatch/bin:/usr/local/bin:/usr/bin:/bin"
        environment = {"PATH": path, "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1",
                       "PYTHONUNBUFFERED": "1"}  # fmt: skip
        if not os.environ.get("TENWATCH_TEST_IMAGE"):
            environment["PATH"] = f"{Path(sys.executable).parent}:{path}"
            environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'scripts'}"
        if self.container.get("envFrom"):
            environment |= self.settings
        for each in self.container.get("env", ()):
            fields = {"spec.nodeName": self.node, "metadata.name": f"{self.pod_name}-0"}
            environment[each["name"]] = (
                each["value"] if "value" in each
                else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
            )  # fmt: skip
        return environment | dict(self.environment)

    @property
    def pod_name(self) -> str:
        """Name of the workload."""
        return str(self.workload["metadata"]["name"])

    def _system_mounts(self) -> list[Manifest]:
        mounts: list[Manifest] = [
            {"destination": "/proc", "type": "proc", "source": "proc",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "none", "source": "/sys",
             "options": ["rbind", "ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        ]  # fmt: skip
        # As a kubelet does.
        mounts += [_bind(path, path) for path in ("/etc/hosts", "/etc/resolv.conf")]
        if not os.environ.get("TENWATCH_TEST_IMAGE"):
            for path in ("/usr", "/etc/alternatives", "/etc/ld.so.cache"):
                mounts.append(_bind(path, path))
        return mounts

    def _program(self) -> list[Manifest]:
        """This checkout and its Python. After the volumes, since one of them may be ``/tmp`` and
        the checkout may lie there."""
        if os.environ.get("TENWATCH_TEST_IMAGE"):
            return []
        return [
            _bind(path, path)
            for path in sorted({str(ROOT), sys.prefix, sys.base_prefix} - {"/usr"})
        ]

    def _volumes(self) -> list[Manifest]:
        sources: dict[str, str] = {}
        for volume in self.pod["volumes"]:
            name = volume["name"]
            if "hostPath" in volume:
                path = volume["hostPath"]["path"]
                sources[name] = self.host.get(path, path)
            elif "emptyDir" in volume:
                empty = self.folder / "volumes" / name
                empty.mkdir(parents=True, exist_ok=True)
                empty.chmod(0o777)
                sources[name] = str(empty)
            elif "secret" in volume:
                sources[name] = str(self._write_secret(volume["secret"]))
        for name, folder in self.claims.items():
            Path(folder).mkdir(exist_ok=True)
            self._own(Path(folder), 0o2770)
            sources[name] = folder
        mounts = [
            _bind(sources[each["name"]], each["mountPath"], writable=not each.get("readOnly"))
            for each in self.container["volumeMounts"]
            if each["name"] in sources
        ]
        return [*mounts, *(_bind(outside, inside) for outside, inside in self.extra_mounts.items())]

    def _write_secret(self, volume: Manifest) -> Path:
        folder = self.folder / "secrets" / str(volume["secretName"])
        folder.mkdir(parents=True)
        for name, text in self.secrets[volume["secretName"]].items():
            (folder / name).write_text(text)
            self._own(folder / name, volume["defaultMode"])
        self._own(folder, 0o2750)
        return folder

    def _own(self, path: Path, mode: int) -> None:
        """Give a volume to the pod's ``fsGroup``, as a kubelet does."""
        os.chown(path, 0, self.pod["securityContext"].get("fsGroup", 0))
        path.chmod(mode)

    def _make_root(self, root: Path) -> None:
        image = os.environ.get("TENWATCH_TEST_IMAGE")
        if image:
            # The layer of a container: what a runtime adds (mount points) goes there.
            for name in ("upper", "work"):
                (self.folder / name).mkdir()
            layers = f"lowerdir={image},upperdir={self.folder}/upper,workdir={self.folder}/work"
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(root)],
                           check=True, timeout=SECONDS)  # fmt: skip
            return
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                (root / name).symlink_to(f"usr/{name}")

    def start(self) -> "ManifestContainer":
        """Start it; its output is in :meth:`output`."""
        root = self.folder / "rootfs"
        root.mkdir(parents=True)
        self._make_root(root)
        (self.folder / "config.json").write_text(json.dumps(self._config()))
        with (self.folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [*self._runc(), "run", "--bundle", str(self.folder), self.id],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        return self

    def _runc(self) -> list[str]:
        return ["runc", "--root", self._state]

    def output(self) -> str:
        """What it wrote on stdout and stderr so far."""
        return (self.folder / "output").read_text(errors="replace")

    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float = SECONDS) -> int:
        """Wait for its end; gives the exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def probe(self, which: str) -> tuple[int, str]:
        """Status and text of its ``readinessProbe`` or ``livenessProbe``; 0 while it is not up."""
        port = self.health_port
        path = self.container[which]["httpGet"]["path"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def terminate(self) -> int:
        """SIGTERM, and its exit code within the grace period of the manifest."""
        subprocess.run([*self._runc(), "kill", self.id, "TERM"], check=True, timeout=SECONDS)
        return self.wait(self.pod["terminationGracePeriodSeconds"])

    def close(self) -> None:
        """Kill it, and remove what is left."""
        for command in (["kill", self.id, "KILL"], ["delete", "--force", self.id]):
            subprocess.run([*self._runc(), *command], check=False, capture_output=True,
                           timeout=SECONDS)  # fmt: skip
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS)
        if os.environ.get("TENWATCH_TEST_IMAGE"):
            subprocess.run(["umount", str(self.folder / "rootfs")], check=False,
                           capture_output=True, timeout=SECONDS)  # fmt: skip
        shutil.rmtree(self._state, ignore_errors=True)
        for parent in (CGROUP_ROOT, *CGROUP_ROOT.iterdir()):
            with contextlib.suppress(OSError):
                (parent / "tenwatch-tests").rmdir()


def _bind(outside: str, inside: str, *, writable: bool = False) -> Manifest:
    return {"destination": inside, "type": "bind", "source": outside,
            "options": ["rbind", "rw" if writable else "ro"]}  # fmt: skip
