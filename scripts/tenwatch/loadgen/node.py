"""One simulated node: turns simulated seconds into batches, and keeps exact count of them."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import cycle

import orjson

from stream.broker import wire
from stream.contract.batch import BatchIdentity
from stream.contract.kinds import KINDS
from stream.contract.subjects import raw_subject
from stream.contract.timestamps import format_timestamp
from tenwatch.loadgen.profiles import line_template, make_pairs, make_pods

SECOND = 1_000_000
SAMPLE_SECONDS = 5
PROGRESS_KINDS = ("process", "file", "hostpath", "cgroup", "pod")
FILES = 64
"""Files that each node's people edit."""
Message = tuple[str, bytes, bytes, int]
"""Subject, headers, payload, and events in it."""


class SimulatedNode:
    """Everything that one node's producers would publish.

    The seed and the name give everything but the boot and the times. All counts in
    :attr:`events` and :attr:`expected` are of what was generated so far.
    """

    def __init__(
        self, name: str, seed: int, boot: str, *, pods: int, batch: int, mix: Mapping[str, float]
    ) -> None:
        generator = random.Random(f"{seed}:{name}")  # noqa: S311 - must be repeatable
        self.name = name
        self.events: dict[str, int] = defaultdict(int)
        """Events by kind."""
        self.expected: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        """Sums over the node's buckets, by kind and metric."""
        self._boot = boot
        self._batch = batch
        self._mix = mix
        self._lines: dict[str, list[str]] = defaultdict(list)
        self._next: dict[str, int] = defaultdict(int)
        """Next seq by kind."""
        self._sent: dict[str, int] = defaultdict(int)
        self._subjects = {kind: raw_subject(kind, name) for kind in KINDS}
        self._pods = make_pods(generator, name, pods)
        self._pairs = cycle(make_pairs(generator, name, boot, self._pods))
        self._file = line_template(
            name, boot, {"action": "%s", "path": "%s", "size": "%size", "lines": "%lines"}
        ).replace('"%size"', "%d").replace('"%lines"', "%d")  # fmt: skip
        self._deleted = line_template(name, boot, {"action": "deleted", "path": "%s"})
        self._entry = line_template(
            name, boot, {
                "action": "%s", "root": "/data", "path": "%s", "type": "file", "size": "%size",
                "mode": 420,
            },
        ).replace('"%size"', "%d")  # fmt: skip
        self._sizes = [0] * FILES
        self._entries: list[str] = []
        self._counters = {
            key: generator.randrange(10**9) for key in ("cpu", "read", "write")
        }  # fmt: skip
        self._pod_cpu = [generator.randrange(10**8) for _ in self._pods]
        self._samples = 0
        self._pid = 1000
        self._changes = 0
        self._credit: dict[str, float] = defaultdict(float)

    def begin(self, microseconds: int) -> Iterator[Message]:
        """What is known at the beginning: the pods."""
        for pod in self._pods:
            template = line_template(self.name, self._boot, {}).removesuffix("}\n")
            line = template % (format_timestamp(microseconds), self._take("pod"))
            self._lines["pod"].append(line + orjson.dumps(pod.facts()).decode()[1:] + "\n")
            self.expected["pod"]["pods_observed"] += 1
        yield from self._flush("pod")

    def second(self, start: int, events: int) -> Iterator[Message]:
        """One simulated second that begins at ``start`` (microseconds since the epoch, a whole
        second) and holds ``events`` events of the mix; samples and progress come on top."""
        text = format_timestamp(start)[:20]
        for kind, count in self._share(events).items():
            if kind == "process":
                self._processes(text, count)
            elif kind == "file":
                self._edits(text, count)
            else:
                self._listings(text, count)
            yield from self._flush(kind)
        if start // SECOND % SAMPLE_SECONDS == 0:
            self._sample(text)
            yield from self._flush("cgroup")
        yield from self.progress(start + SECOND, start + SECOND)

    def progress(self, now: int, watermark: int, *, closing: bool = False) -> Iterator[Message]:
        """The word that everything before ``watermark`` has been said."""
        ts, mark = format_timestamp(now), format_timestamp(watermark)
        for kind in PROGRESS_KINDS:
            count = self._next[kind]
            record = {
                "ts": ts, "node": self.name, "boot": self._boot, "seq": self._take("progress"),
                "producer": kind, "watermark": mark, "next_seq": count, "seen": count,
                "filtered": 0, "emitted": count, "lost": 0, "closing": closing,
            }  # fmt: skip
            self._lines["progress"].append(orjson.dumps(record).decode() + "\n")
        yield from self._flush("progress")

    def _share(self, events: int) -> dict[str, int]:
        """Events of each kind in this second; fractions are carried on, pairs stay together."""
        shares = {}
        left = events
        for kind in ("file", "hostpath"):
            self._credit[kind] += events * self._mix.get(kind, 0.0)
            shares[kind] = min(left, int(self._credit[kind]))
            self._credit[kind] -= shares[kind]
            left -= shares[kind]
        return {"process": left} | shares

    def _take(self, kind: str) -> int:
        seq = self._next[kind]
        self._next[kind] = seq + 1
        self.events[kind] += 1
        return seq

    def _processes(self, text: str, count: int) -> None:
        """Execs and exits in turn; an odd last one is an exec whose process lives on."""
        append, seq, pid, pairs = (
            self._lines["process"].append,
            self._next["process"],
            self._pid,
            self._pairs,
        )
        whole, odd = divmod(count, 2)
        failures = crashes = run = 0
        for number in range(whole):
            pair = next(pairs)
            pid += 1
            at = number * 700_000 // whole
            append(pair.exec_line % (f"{text}{at:06d}Z", seq, pid, pid))
            append(pair.exit_line % (f"{text}{at + pair.microseconds:06d}Z", seq + 1, pid, pid))
            seq += 2
            run += pair.microseconds
            failures += pair.failed
            crashes += pair.crashed
        if odd:
            pid += 1
            append(next(pairs).exec_line % (f"{text}999999Z", seq, pid, pid))
            seq += 1
        self._next["process"], self._pid = seq, pid
        self.events["process"] += count
        expected = self.expected["process"]
        expected["execs"] += whole + odd
        expected["exits"] += whole
        expected["failures"] += failures
        expected["crashes"] += crashes
        expected["run_us"] += run

    def _edits(self, text: str, count: int) -> None:
        """Files are created, saved, saved again, and deleted after a while."""
        expected = self.expected["file"]
        append = self._lines["file"].append
        for number in range(count):
            self._changes += 1
            which = self._changes * 7 % FILES
            path = f"{self._pods[which % len(self._pods)].home}/hw{which % 4 + 1}/file{which}.c"
            ts = f"{text}{number * 900_000 // count:06d}Z"
            before = self._sizes[which]
            seq = self._take("file")
            if before and self._changes % 29 == 0:
                append(self._deleted % (ts, seq, path))
                self._sizes[which] = after = 0
                expected["deletes"] += 1
            else:
                after = (
                    before + 40 + self._changes % 50 if self._changes % 11 else max(1, before // 2)
                )
                action = "modified" if before else "created"
                append(self._file % (ts, seq, action, path, after, after // 30 + 1))
                self._sizes[which] = after
                expected["modifies" if before else "creates"] += 1
            expected["bytes_delta"] += after - before
            expected["bytes_changed"] += abs(after - before)

    def _listings(self, text: str, count: int) -> None:
        expected = self.expected["hostpath"]
        for number in range(count):
            ts = f"{text}{number * 900_000 // count:06d}Z"
            seq = self._take("hostpath")
            if len(self._entries) >= FILES:
                action, path = "vanished", self._entries.pop(0)
            elif self._entries and seq % 3 == 0:
                action, path = "changed", self._entries[-1]
            else:
                action, path = "appeared", f"item{seq}.dat"
                self._entries.append(path)
            self._lines["hostpath"].append(self._entry % (ts, seq, action, path, 100 + seq % 900))
            expected[action] += 1

    def _sample(self, text: str) -> None:
        """The node, its pods and their containers, at the begin of a second."""
        step = {"cpu": 0, "read": 65536, "write": 131072}
        for number, pod in enumerate(self._pods):
            used = 50_000 * (number + 1)
            step["cpu"] += used
            if self._samples:
                self._pod_cpu[number] += used
                self.expected["cgroup"]["pods_cpu_us"] += used
            for scope, path in (("pod", pod.cgroup), ("container", pod.container_cgroup)):
                self._cgroup(
                    text, scope, path, self._pod_cpu[number],
                    {"pod_uid": pod.uid, "container_id": pod.container_id * (scope == "container")},
                )  # fmt: skip
        step["cpu"] += 200_000
        if self._samples:
            for key, amount in step.items():
                self._counters[key] += amount
            self.expected["cgroup"]["cpu_us"] += step["cpu"]
            self.expected["cgroup"]["io_read_bytes"] += step["read"]
            self.expected["cgroup"]["io_write_bytes"] += step["write"]
        self._cgroup(
            text, "node", "/", self._counters["cpu"],
            {"io_read_bytes": self._counters["read"], "io_write_bytes": self._counters["write"]},
        )  # fmt: skip
        self._samples += 1

    def _cgroup(
        self, text: str, scope: str, path: str, cpu: int, fields: dict[str, object]
    ) -> None:
        line = {
            "ts": f"{text}000000Z", "node": self.name, "boot": self._boot,
            "seq": self._take("cgroup"), "scope": scope, "cgroup": path, "cgroup_id": path,
            "cpu_usage_us": cpu, "memory_bytes": 64 << 20, "memory_working_set_bytes": 48 << 20,
            "pids": 12, **{name: value for name, value in fields.items() if value != ""},
        }  # fmt: skip
        self._lines["cgroup"].append(orjson.dumps(line).decode() + "\n")

    def _flush(self, kind: str) -> Iterator[Message]:
        lines = self._lines[kind]
        version = KINDS[kind].version
        for start in range(0, len(lines), self._batch):
            part = lines[start : start + self._batch]
            identity = BatchIdentity(
                kind, version, self.name, self._boot, self._sent[kind], len(part)
            )
            self._sent[kind] += len(part)
            yield (
                self._subjects[kind],
                wire.encode_headers(identity.headers()),
                "".join(part).encode(),
                len(part),
            )
        lines.clear()
