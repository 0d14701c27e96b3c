"""What runs on a simulated node: pods, programs with their command lines, files."""

import random
from dataclasses import dataclass
from typing import Final

import orjson

NAMESPACE: Final = "load"
SIGSEGV: Final = 11


@dataclass(frozen=True, slots=True)
class Pod:
    """One simulated pod: a student's web IDE with one container."""

    uid: str
    name: str
    workload: str
    container_id: str
    home: str

    @property
    def cgroup(self) -> str:
        """Its cgroup, as the kubelet's cgroupfs driver names it."""
        return f"/kubepods/burstable/pod{self.uid}"

    @property
    def container_cgroup(self) -> str:
        """The cgroup of its container."""
        return f"{self.cgroup}/{self.container_id}"

    def facts(self) -> dict[str, object]:
        """Fields of a pod event."""
        return {
            "action": "observed", "pod_uid": self.uid, "pod": self.name, "namespace": NAMESPACE,
            "workload_kind": "Deployment", "workload": self.workload, "hostname": self.name,
            "containers": [{"name": "ide", "container_id": self.container_id}],
        }  # fmt: skip


def make_pods(generator: random.Random, node: str, count: int) -> list[Pod]:
    """Pods of one node; the same generator gives the same."""
    pods = []
    for number in range(count):
        digits = f"{generator.getrandbits(128):032x}"
        uid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        workload = f"ide-{node}-{number}"
        pods.append(
            Pod(
                uid,
                f"{workload}-{digits[:5]}",
                workload,
                f"{generator.getrandbits(256):064x}",
                f"/workspace/load-1-{number}",
            )
        )
    return pods


@dataclass(frozen=True, slots=True)
class Program:
    """How one program is run, and how it ends."""

    weight: int
    exe: str
    arguments: tuple[str, ...]
    milliseconds: int
    exit_code: int | None = 0
    signal: int | None = None


PROGRAMS: Final = (
    Program(30, "/usr/bin/ls", ("-la",), 2),
    Program(20, "/usr/bin/bash", ("-c", "make test"), 40),
    Program(12, "/usr/bin/gcc", ("-O2", "-Wall", "main.c", "-o", "main"), 180),
    Program(4, "/usr/bin/gcc", ("main.c", "-o", "main"), 90, exit_code=1),
    Program(10, "/usr/bin/python3", ("main.py",), 120),
    Program(3, "/usr/bin/python3", ("main.py",), 60, exit_code=1),
    Program(12, "{cwd}/main", (), 25),
    Program(2, "{cwd}/main", (), 15, exit_code=None, signal=SIGSEGV),
    Program(5, "/usr/bin/git", ("status", "--short"), 8),
    Program(2, "/usr/bin/grep", ("-rn", "TODO", "."), 30, exit_code=1),
)
"""Weights are shares of a class that writes C and Python: most of it is the shell's own."""


@dataclass(slots=True)
class Pair:
    """A program in a pod: lines of its exec and its exit with places for what changes."""

    exec_line: str
    exit_line: str
    microseconds: int
    failed: bool
    crashed: bool


def make_pairs(generator: random.Random, node: str, boot: str, pods: list[Pod]) -> list[Pair]:
    """The programs of a node in an order that is gone through again and again.

    Places of a line: time, seq, pid, exec id's number (and of an exit the same four).
    """
    chosen = generator.choices(PROGRAMS, [each.weight for each in PROGRAMS], k=509)
    pairs = []
    for number, program in enumerate(chosen):
        pod = pods[number % len(pods)]
        cwd = f"{pod.home}/hw{number % 4 + 1}"
        exe = program.exe.replace("{cwd}", cwd)
        comm = exe.rpartition("/")[2][:15]
        fields = {
            "ppid": 1, "uid": 1000, "comm": comm, "exe": exe,
            "argv": [comm, *program.arguments], "cwd": cwd, "hostname": pod.name,
            "cgroup": pod.container_cgroup,
        }  # fmt: skip
        end = {"duration_us": program.milliseconds * 1000}
        if program.exit_code is not None:
            end["exit_code"] = program.exit_code
        if program.signal is not None:
            end["signal"] = program.signal
        pairs.append(
            Pair(
                _process_line(node, boot, "exec", fields),
                _process_line(node, boot, "exit", fields | end),
                program.milliseconds * 1000,
                bool(program.exit_code),
                program.signal is not None,
            )
        )
    return pairs


def line_template(node: str, boot: str, fields: dict[str, object]) -> str:
    """A line with places for time and seq, then whatever ``fields`` write as ``%…``.

    A percent sign of a value must be doubled by the caller.
    """
    start = f'{{"ts":"%s","node":{_text(node)},"boot":"{boot}","seq":%d,'
    return start + orjson.dumps(fields).decode()[1:] + "\n"


def _process_line(node: str, boot: str, action: str, fields: dict[str, object]) -> str:
    start = (
        f'{{"ts":"%s","node":{_text(node)},"boot":"{boot}","seq":%d,"action":"{action}",'
        f'"pid":%d,"exec_id":"{boot}-%d",'
    )
    return start + orjson.dumps(fields).decode()[1:] + "\n"


def _text(value: str) -> str:
    return orjson.dumps(value).decode().replace("%", "%%")
