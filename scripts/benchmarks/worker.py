"""Events per CPU-second of a worker: decode, enrich, window and publish, per kind.

The work is that of a real worker, without a broker: what would be published is built and counted,
and state is encoded as often as a worker commits by default. Run it from the checkout's root:

    ./scripts/bench worker
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402

from stream.contract.batch import BatchIdentity, encode_lines  # noqa: E402
from stream.contract.event import Event  # noqa: E402
from stream.contract.kinds import KINDS  # noqa: E402
from stream.contract.kinds.cgroup import CgroupEvent  # noqa: E402
from stream.contract.kinds.file import FileEvent  # noqa: E402
from stream.contract.kinds.pod import PodContainer, PodEvent  # noqa: E402
from stream.contract.kinds.process import ProcessEvent  # noqa: E402
from stream.contract.kinds.progress import ProgressEvent  # noqa: E402
from stream.contract.timestamps import format_timestamp  # noqa: E402
from stream.enrichment.identity import read_rules  # noqa: E402
from stream.enrichment.lines import LINES  # noqa: E402
from stream.worker.processor import Processor  # noqa: E402
from stream.worker.run import tune_garbage_collector  # noqa: E402
from stream.worker.settings import WorkerSettings  # noqa: E402

NODE = "node-a"
BOOT = "0190000000000123456789abcdef"
START = 1_800_000_000_000_000
PODS = 50
RULES = ROOT / "stream/enrichment/rules/web-ide-course.yaml"


class Store(dict[str, Any]):
    """State in memory, encoded when a commit would be."""

    def __init__(self) -> None:
        super().__init__()
        self.dirty: set[str] = set()

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.dirty.add(key)

    def load(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)

    def commit(self) -> int:
        size = 0
        for key in self.dirty:
            value = self.get(key, b"")
            size += len(value if isinstance(value, bytes) else value.dump())
        self.dirty.clear()
        return size


def pod_uid(number: int) -> str:
    return f"3f1d2c4b-0a1b-4c2d-8e3f-{number:012x}"


def cgroup_path(number: int) -> str:
    return f"/kubepods/burstable/pod{pod_uid(number)}/{number:064x}"


def ts(microseconds: int) -> str:
    return format_timestamp(START + microseconds)


def process_event(number: int, rate: int) -> Event:
    run, ending = divmod(number, 2)
    pod = run % PODS
    what = run % 7
    argv = ["gcc", "-O2", "-Wall", f"hw{what}.c", "-o", f"hw{what}"]
    return ProcessEvent(
        ts=ts(number * 1_000_000 // rate),
        action="exit" if ending else "exec",
        pid=1000 + run % 30000,
        ppid=900,
        uid=1000,
        exec_id=f"{NODE}:{run}",
        parent_exec_id=f"{NODE}:shell",
        comm="gcc",
        exe="/usr/bin/x86_64-linux-gnu-gcc-12",
        argv=argv,
        cwd=f"/home/coder/project/hw{what}",
        hostname=f"jcode-os-1-20210{pod:04d}",
        cgroup=cgroup_path(pod),
        start_ts=ts(number * 1_000_000 // rate),
        duration_us=1234 if ending else None,
        exit_code=0 if ending else None,
    )


def file_event(number: int, rate: int) -> Event:
    return FileEvent(
        ts=ts(number * 1_000_000 // rate),
        action="modified",
        path=f"/workspace/os-1-20210{number % 50:04d}/hw{number % 7}/main{number % 11}.c",
        size=1000 + number % 333,
        lines=20 + number % 17,
        mtime=ts(number * 1_000_000 // rate),
    )


def cgroup_event(number: int, rate: int) -> Event:
    pod = number % 100
    tick = number // 100
    return CgroupEvent(
        ts=ts(tick * 100 * 1_000_000 // rate),
        scope="pod" if pod else "node",
        cgroup=f"/kubepods/burstable/pod{pod_uid(pod)}" if pod else "/",
        cgroup_id=f"b-{pod}",
        pod_uid=pod_uid(pod) if pod else "",
        cpu_usage_us=tick * 1000,
        cpu_user_us=tick * 600,
        cpu_system_us=tick * 400,
        memory_bytes=123_456_789 + tick,
        memory_working_set_bytes=100_000_000,
        io_read_bytes=tick * 4096,
        io_write_bytes=tick * 8192,
        net_rx_bytes=tick * 99,
        net_tx_bytes=tick * 77,
        pids=12,
    )


DECODERS = {kind: msgspec.json.Decoder(line) for kind, line in LINES.items()}
MAKERS: dict[str, Callable[[int, int], Event]] = {
    "process": process_event,
    "file": file_event,
    "cgroup": cgroup_event,
}


def message(kind: str, events: list[Event], first: int) -> tuple[str, dict[str, str], bytes]:
    for index, event in enumerate(events):
        event.node, event.boot, event.seq = NODE, BOOT, first + index
    identity = BatchIdentity(kind, KINDS[kind].version, NODE, BOOT, first, len(events))
    return f"{kind}.{NODE}", identity.headers(), encode_lines(events)


def build_log(
    kind: str, count: int, lines: int, rate: int
) -> list[tuple[str, dict[str, str], bytes]]:
    """Messages of one kind with a progress record per second of event time, ``rate`` events/s."""
    log = [
        message(
            "pod",
            [
                PodEvent(
                    ts=ts(0), action="observed", pod_uid=pod_uid(number), pod=f"jcode-os-{number}",
                    namespace="jcode", workload_kind="Deployment", workload=f"jcode-os-{number}",
                    containers=[PodContainer(name="ide", container_id=f"{number:064x}")],
                )
                for number in range(PODS * 2)
            ],
            0,
        )
    ]  # fmt: skip
    make = MAKERS[kind]
    second = seq = 0
    for first in range(0, count, lines):
        log.append(message(kind, [make(first + n, rate) for n in range(lines)], first))
        while (first + lines) // rate > second:
            second += 1
            record = ProgressEvent(
                ts=ts(second * 1_000_000), producer=kind, watermark=ts(second * 1_000_000),
                next_seq=first + lines, seen=first, filtered=0, emitted=first, lost=0,
            )  # fmt: skip
            log.append(message("progress", [record], seq))
            seq += 1
    return log


def measure(
    log: list[tuple[str, dict[str, str], bytes]], count: int, commit_every: int
) -> dict[str, float]:
    """CPU seconds of processing the log, and what came out; commits are so many messages apart."""
    store = Store()
    tune_garbage_collector()
    processor = Processor(0, store, rules=read_rules(RULES))
    published = state = rows = 0
    began = time.process_time()
    for offset, (key, headers, payload) in enumerate(log, 1):
        for each in processor.process(key, headers, payload, offset):
            published += len(each.payload)
        if offset % commit_every == 0:
            rows += sum(len(row.payload) for row in processor.final_rows(offset))
            state += store.commit()
    spent = time.process_time() - began
    if processor.counts.dead:
        raise SystemExit(f"the load is wrong: {processor.counts.dead}")
    return {
        "events_per_cpu_second": count / spent,
        "decoding_alone": count / decoding(log),
        "published_megabytes": published / 1e6,
        "row_megabytes": rows / 1e6,
        "state_megabytes": state / 1e6,
    }


def decoding(log: list[tuple[str, dict[str, str], bytes]]) -> float:
    """The yardstick: CPU seconds of msgspec decoding the same lines, and nothing else."""
    began = time.process_time()
    for key, _, payload in log:
        DECODERS[key.partition(".")[0]].decode_lines(payload)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--lines", type=int, default=256, help="lines per batch")
    parser.add_argument("--rate", type=int, default=5000, help="events per second of event time")
    parser.add_argument("--kind", choices=[*MAKERS], action="append")
    options = parser.parse_args()
    for kind in options.kind or MAKERS:
        log = build_log(kind, options.events, options.lines, options.rate)
        commit_every = max(1, round(options.rate * WorkerSettings().commit_seconds / options.lines))
        found = measure(log, options.events, commit_every)
        print(f"{kind:8} " + "  ".join(f"{name}={value:,.0f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
