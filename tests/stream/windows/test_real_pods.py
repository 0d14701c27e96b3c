"""Real containers under a known load: buckets against the kernel's own counters, within 1 %."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from producers.cgroup import CgroupObserver, CgroupSettings
from stream.contract.kinds.cgroup import CgroupEvent
from stream.contract.kinds.pod import PodContainer, PodEvent
from stream.contract.timestamps import parse_timestamp
from tests.support.containers import CGROUP_V2, Container, Containers, require_root
from tests.support.keeping_sink import KeepingSink
from tests.support.polling import eventually_sync
from tests.support.raw_log import START, RawLog, Run, at, process

NODE = "node-a"
LOAD = """
import os, time
held = bytearray(os.urandom(4096)) * {pages}
file = os.open('/workspace/data', os.O_RDWR | os.O_CREAT | os.O_DIRECT)
import mmap
block = mmap.mmap(-1, 1 << 20)
for _ in range({mebibytes}): os.write(file, block)
os.fsync(file)
end = time.process_time() + {seconds}
while time.process_time() < end: pass
open('/workspace/done', 'w').close()
time.sleep(1000)
"""


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    require_root()
    with Containers(tmp_path) as runtime:
        yield runtime


def load(seconds: float, pages: int, mebibytes: int) -> list[str]:
    program = LOAD.format(seconds=seconds, pages=pages, mebibytes=mebibytes)
    return ["/usr/bin/python3", "-Sc", program]


def kernels_cpu_us(container: Container) -> int:
    if CGROUP_V2:
        text = container.cgroup_file("", "cpu.stat").read_text()
        return int(re.findall(r"usage_usec (\d+)", text)[0])
    return int(container.cgroup_file("cpuacct", "cpuacct.usage").read_text()) // 1000


def kernels_written(container: Container) -> int:
    if CGROUP_V2:
        text = container.cgroup_file("", "io.stat").read_text()
        return sum(map(int, re.findall(r"wbytes=(\d+)", text)))
    file = container.cgroup_file("blkio", "blkio.throttle.io_service_bytes_recursive")
    return sum(map(int, re.findall(r"Write (\d+)", file.read_text())))


def buckets(samples: list[CgroupEvent], pods: list[PodEvent]) -> Run:
    """What a worker makes of the samples."""
    log = RawLog()
    first = min(parse_timestamp(each.ts) for each in samples) / 1e6 - START
    for pod in pods:
        pod.ts = at(first)
        log.add(NODE, pod)
    for sample in samples:
        log.add(NODE, msgspec.structs.replace(sample))
    log.progress(NODE, "cgroup", first + 3600)
    return process(log.messages())


def total(run: Run, metric: str, **wanted: Any) -> int:
    rows = [
        row
        for row in run.last_rows().values()
        if row["kind"] == "cgroup" and all(row.get(k) == v for k, v in wanted.items())
    ]
    assert rows, wanted
    return sum(row.get(metric, 0) for row in rows)


def test_pods_containers_namespaces_and_node_agree_with_the_kernel(containers: Containers) -> None:
    sink = KeepingSink("cgroup", CgroupEvent)
    observer = CgroupObserver(CgroupSettings(interval_seconds=1.0))
    observer.start(sink)
    metadata: list[PodEvent] = []
    running: list[tuple[str, Container]] = []
    try:
        eventually_sync(lambda: observer.ready() is None, 15, "first tick")
        for number, (seconds, qos) in enumerate(((1.0, "burstable"), (0.6, "besteffort"))):
            pod = containers.pod(qos=qos)
            container = pod.run(load(seconds, 4096 * (number + 1), 8))
            running.append((pod.uid, container))
            metadata.append(
                PodEvent(
                    ts="", action="observed", pod_uid=pod.uid, pod=f"load-{number}",
                    namespace="load", workload_kind="Deployment", workload="load",
                    containers=[PodContainer(name="main", container_id=container.id)],
                )
            )  # fmt: skip
        for _, container in running:
            done = container.root / "workspace" / "done"
            eventually_sync(done.exists, 40, "the end of the load")
        kernel = {
            uid: (kernels_cpu_us(container), kernels_written(container))
            for uid, container in running
        }
        seen = len(sink.batches)
        eventually_sync(
            lambda: any(batch[0].scope == "node" for batch in sink.batches[seen + 1 :]), 15, "tick"
        )
    finally:
        observer.stop()
    mine = [
        each
        for each in sink.events()
        if each.scope == "node" or each.pod_uid in {uid for uid, _ in running}
    ]
    run = buckets(mine, metadata)
    for uid, _ in running:
        used, wrote = kernel[uid]
        assert used > 500_000
        for scope in ("container", "pod"):
            assert total(run, "cpu_us", scope=scope, pod_uid=uid) == pytest.approx(used, rel=0.01)
        written = total(run, "io_write_bytes", scope="container", pod_uid=uid)
        assert written == pytest.approx(wrote, rel=0.01)
        assert (written > 0) == (wrote > 0)
        held = max(
            row["memory_bytes_max"]
            for row in run.last_rows().values()
            if row["scope"] == "container" and row["pod_uid"] == uid and "memory_bytes_max" in row
        )
        assert held == max(each.memory_bytes or 0 for each in mine if each.pod_uid == uid
                           and each.scope == "container")  # fmt: skip
    pods = total(run, "cpu_us", scope="pod")
    assert total(run, "cpu_us", scope="namespace", namespace="load") == pods
    assert total(run, "cpu_us", scope="workload", workload="load") == pods
    node = total(run, "cpu_us", scope="node")
    assert node >= pods
    assert total(run, "cpu_us", scope="host") == pytest.approx(node - pods, rel=0.01)
    ticks = [each for each in mine if each.scope == "node"]
    counted = (ticks[-1].cpu_usage_us or 0) - (ticks[0].cpu_usage_us or 0)
    assert node == counted
