"""Real containers on this machine's own cgroups, against the kernel's own counters."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from producers.cgroup import CgroupObserver
from producers.cgroup.inotify import Inotify
from producers.cgroup.usage import COUNTERS
from stream.contract.kinds.cgroup import CgroupEvent
from stream.contract.timestamps import parse_timestamp
from tests.support.containers import CGROUP_ROOT, CGROUP_V2, Container, Containers, link_network
from tests.support.keeping_sink import KeepingSink
from tests.support.polling import eventually_sync

Observe = Callable[..., CgroupObserver]
Sink = KeepingSink[CgroupEvent]
WAIT_FOR_GO = "while [ ! -e /workspace/go ]; do sleep 0.02; done; "
SPIN = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\n"


def python(program: str) -> list[str]:
    return ["/usr/bin/python3", "-Sc", program]


def kernels(container: Container) -> dict[str, int]:
    """The kernel's own figures of a container's cgroup, read here in the plainest way."""
    if not CGROUP_V2:
        ticks = _pairs(container.cgroup_file("cpuacct", "cpuacct.stat"))
        usage = int(container.cgroup_file("cpuacct", "cpuacct.usage").read_text()) // 1000
        memory = container.cgroup_file("memory", "memory.usage_in_bytes")
        user, system = ticks["user"] * 10_000, ticks["system"] * 10_000
    else:
        cpu = _pairs(container.cgroup_file("", "cpu.stat"))
        usage, user, system = cpu["usage_usec"], cpu["user_usec"], cpu["system_usec"]
        memory = container.cgroup_file("", "memory.current")
    return {
        "cpu_us": usage,
        "user_us": user,
        "system_us": system,
        "memory": int(memory.read_text()),
        "pids": int(container.cgroup_file("pids", "pids.current").read_text()),
    }


def _pairs(file: Path) -> dict[str, int]:
    return {name: int(value) for name, value in map(str.split, file.read_text().splitlines())}


def kernels_cpu_us(cgroup: str) -> int:
    """CPU time of any cgroup."""
    if CGROUP_V2:
        return _pairs(CGROUP_ROOT / cgroup[1:] / "cpu.stat")["usage_usec"]
    return int((CGROUP_ROOT / "cpuacct" / cgroup[1:] / "cpuacct.usage").read_text()) // 1000


def kernels_block_bytes(container: Container) -> tuple[int, int]:
    """Bytes read and written, over all devices."""
    if CGROUP_V2:
        text = container.cgroup_file("", "io.stat").read_text()
        read, written = re.findall(r"rbytes=(\d+)", text), re.findall(r"wbytes=(\d+)", text)
    else:
        file = container.cgroup_file("blkio", "blkio.throttle.io_service_bytes_recursive")
        read = re.findall(r"Read (\d+)", file.read_text())
        written = re.findall(r"Write (\d+)", file.read_text())
    return sum(map(int, read)), sum(map(int, written))


def between_minutes() -> int:
    """An interval whose next tick is at least ten seconds away."""
    eventually_sync(lambda: time.time() % 60 < 50, 15, "a moment far from the next minute")
    return 60


def tick_of(sink: Sink) -> list[CgroupEvent]:
    """A whole tick that began after this call."""
    return sink.next_batch(lambda batch: batch[0].scope == "node")


def ticks_of(sink: Sink) -> list[list[CgroupEvent]]:
    return [batch for batch in list(sink.batches) if batch[0].scope == "node"]


def events_of(sink: Sink, cgroup: str) -> list[CgroupEvent]:
    return sink.events(lambda event: event.cgroup == cgroup)


def ended(sink: Sink, cgroup: str) -> bool:
    events = events_of(sink, cgroup)
    return bool(events) and events[-1].last


def of(events: list[CgroupEvent], cgroup: str) -> CgroupEvent:
    """The one event of a cgroup in a tick."""
    (found,) = [each for each in events if each.cgroup == cgroup]
    return found


def about(value: int | None, expected: int) -> bool:
    """Within 1 %."""
    assert value is not None
    return abs(value - expected) <= expected / 100


def test_cpu_and_memory_of_a_container_agree_with_the_kernels_own(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    observe()
    pod = containers.pod()
    pause = pod.run(["sleep", "infinity"])
    program = SPIN.format(seconds=0.4) + "data = bytearray(48 << 20)\nprint('done', flush=True)\n"
    app = pod.run(python(program + "time.sleep(1000)"), network=pause, memory_limit_bytes=128 << 20)
    eventually_sync(lambda: "done" in app.output(), what="the load")

    event = of(tick_of(sink), app.cgroup)

    assert event.scope == "container"
    assert (event.pod_uid, event.container_id) == (pod.uid, app.id)
    truth = kernels(app)
    assert about(event.cpu_usage_us, truth["cpu_us"])
    assert event.cpu_usage_us is not None
    assert event.cpu_usage_us >= 400_000
    assert about(event.cpu_user_us, truth["user_us"])
    assert about(event.cpu_system_us, truth["system_us"])
    assert about(event.memory_bytes, truth["memory"])
    assert event.memory_anon_bytes is not None
    assert event.memory_anon_bytes >= 48 << 20
    assert event.memory_limit_bytes == 128 << 20
    assert event.pids == truth["pids"] == 1
    assert of(tick_of(sink), pause.cgroup).memory_limit_bytes is None


def test_a_pods_cpu_is_the_pods_and_not_its_pause_containers(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    observe()
    pod = containers.pod()
    pause = pod.run(["sleep", "infinity"])
    first, second = (
        pod.run(python(SPIN.format(seconds=seconds)), network=pause) for seconds in (0.2, 0.3)
    )
    assert (first.wait(), second.wait()) == (0, 0)

    event = of(tick_of(sink), pod.cgroup)

    truth = kernels_cpu_us(pod.cgroup)
    assert about(event.cpu_usage_us, truth)
    assert truth > 500_000 + kernels_cpu_us(pause.cgroup)


def test_all_qos_classes_of_both_drivers_are_found(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    before = [containers.pod(qos=qos) for qos in ("guaranteed", "burstable", "besteffort")]
    after = [
        containers.pod(qos=qos, driver="systemd")
        for qos in ("guaranteed", "burstable", "besteffort")
    ]
    running = [pod.run(["sleep", "infinity"]) for pod in before]
    observe()
    running += [pod.run(["sleep", "infinity"]) for pod in after]

    tick = tick_of(sink)

    for pod, container in zip([*before, *after], running, strict=True):
        assert of(tick, pod.cgroup).pod_uid == pod.uid
        assert of(tick, container.cgroup).container_id == container.id
        assert of(tick, container.cgroup).pod_uid == pod.uid


def test_a_container_outside_kubernetes_is_seen_too(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    container_id = os.urandom(32).hex()
    container = containers.run(
        ["sleep", "infinity"], cgroup=f"/docker/{container_id}", container_id=container_id
    )
    observe()
    event = of(tick_of(sink), container.cgroup)
    assert (event.scope, event.pod_uid, event.container_id) == ("container", "", container_id)
    container.close()
    eventually_sync(lambda: ended(sink, container.cgroup), what="its end")


def test_an_oom_kill_is_counted_for_its_container_its_pod_and_the_node(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    observe()
    pod = containers.pod()
    calm = pod.run(["sleep", "infinity"], memory_limit_bytes=64 << 20)
    node_before = tick_of(sink)[0].oom_kills
    greedy = pod.run(
        python("import time\nprint('up', flush=True)\ntime.sleep(0.3)\nbytearray(256 << 20)"),
        memory_limit_bytes=32 << 20,
    )
    eventually_sync(
        lambda: any(each.oom_kills == 1 for each in events_of(sink, greedy.cgroup)), what="the kill"
    )
    assert greedy.wait() == 128 + signal.SIGKILL
    eventually_sync(lambda: ended(sink, greedy.cgroup), what="its end")
    assert events_of(sink, greedy.cgroup)[-1].oom_kills == 1

    tick = tick_of(sink)

    assert of(tick, calm.cgroup).oom_kills == 0
    assert of(tick, pod.cgroup).oom_kills == 1, "v1 forgets it with the container's cgroup"
    assert node_before is not None
    assert tick[0].oom_kills is not None
    assert tick[0].oom_kills >= node_before + 1


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[list[tuple[str, str]]]:
    """Two loop devices of 16 MiB: (path, major:minor)."""
    made = []
    for number in range(2):
        image = tmp_path / f"disk-{number}"
        image.write_bytes(bytes(16 << 20))
        device = subprocess.run(
            ["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True
        ).stdout.strip()
        numbers = Path(device).stat().st_rdev
        made.append((device, f"{os.major(numbers)}:{os.minor(numbers)}"))
    yield made
    for device, _ in made:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_block_io_is_summed_over_all_devices(
    containers: Containers, sink: Sink, observe: Observe, disks: list[tuple[str, str]]
) -> None:
    pod = containers.pod()
    mounts: dict[str | Path, str] = {
        device: f"/workspace/disk{index}" for index, (device, _) in enumerate(disks)
    }
    writer = pod.run(
        ["sh", "-c", WAIT_FOR_GO +
         "dd if=/dev/zero of=/workspace/disk0 bs=1M count=8 oflag=direct && "
         "dd if=/dev/zero of=/workspace/disk1 bs=512K count=6 oflag=direct && "
         "dd if=/workspace/disk1 of=/dev/null bs=1M count=5 iflag=direct; sleep infinity"],
        mounts=mounts,
    )  # fmt: skip
    idle = pod.run(["sleep", "infinity"])
    for _, numbers in [] if CGROUP_V2 else disks:
        # Since Linux 6.10 v1 counts only on disks with a throttle rule; this one is never reached.
        writer.cgroup_file("blkio", "blkio.throttle.write_bps_device").write_text(
            f"{numbers} 1099511627776"
        )
    observer = observe()
    (writer.root / "workspace/go").touch()
    eventually_sync(lambda: writer.output().count("copied") == 3, what="three runs of dd")

    tick = tick_of(sink)

    event = of(tick, writer.cgroup)
    assert about(event.io_write_bytes, (8 + 3) << 20), writer.output()
    assert about(event.io_read_bytes, 5 << 20)
    assert (event.io_read_bytes, event.io_write_bytes) == kernels_block_bytes(writer)
    assert event.io_write_ops is not None
    assert event.io_write_ops >= 8 + 6
    assert about(of(tick, pod.cgroup).io_write_bytes, (8 + 3) << 20)
    assert of(tick, idle.cgroup).io_write_bytes == 0
    assert not any("block I/O" in each for each in observer.degraded())


def send(target: str, count: int, size: int = 1000) -> str:
    return (
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"for _ in range({count}): s.sendto(bytes({size}), ('{target}', 9))\n"
    )


def interface_bytes(container: Container) -> tuple[int, int]:
    text = Path(f"/proc/{container.pid}/net/dev").read_text()
    (line,) = [each for each in text.splitlines() if each.strip().startswith("eth0:")]
    fields = line.partition(":")[2].split()
    return int(fields[0]), int(fields[8])


def test_traffic_belongs_to_the_pod_in_whose_network_namespace_it_flowed(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    observe()
    pods = [containers.pod(), containers.pod(driver="systemd")]
    pauses = [pod.run(["sleep", "infinity"]) for pod in pods]
    addresses = [link_network(pause) for pause in pauses]
    sender = pods[0].run(python(send(addresses[0][0], 400)), network=pauses[0])
    assert sender.wait() == 0, sender.output()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        for _ in range(150):
            host.sendto(bytes(1000), (addresses[0][1], 9))

    tick = tick_of(sink)

    received, sent = interface_bytes(pauses[0])
    busy = of(tick, pods[0].cgroup)
    assert about(busy.net_rx_bytes, received)
    assert about(busy.net_tx_bytes, sent)
    assert busy.net_tx_bytes is not None
    assert busy.net_rx_bytes is not None
    assert busy.net_tx_bytes > 400_000
    assert 150_000 < busy.net_rx_bytes < 400_000
    quiet = of(tick, pods[1].cgroup)
    assert quiet.net_tx_bytes is not None
    assert quiet.net_tx_bytes < 10_000
    assert of(tick, pauses[0].cgroup).net_rx_bytes is None, "a namespace is the pod's"
    assert not busy.host_network


def test_a_pod_on_the_hosts_network_does_not_get_the_nodes_traffic(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    observe()
    pod = containers.pod()
    container = pod.run(["sleep", "infinity"], network="host")

    tick = tick_of(sink)

    for each in (of(tick, pod.cgroup), of(tick, container.cgroup)):
        assert each.host_network
        assert each.net_rx_bytes is None
        assert each.net_tx_bytes is None


def test_the_traffic_of_a_pod_whose_processes_all_ended_is_not_lost(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    observe(interval_seconds=between_minutes())
    pod = containers.pod()
    container = pod.run(["sh", "-c", WAIT_FOR_GO + ". /workspace/go.sh"])
    host_address, _ = link_network(container)
    (container.root / "workspace/go.py").write_text(send(host_address, 300))
    (container.root / "workspace/go.sh").write_text("/usr/bin/python3 /workspace/go.py")
    eventually_sync(
        lambda: not events_of(sink, container.cgroup)[-1].host_network, what="the container seen"
    )
    (container.root / "workspace/go").touch()
    eventually_sync(
        lambda: (events_of(sink, pod.cgroup)[-1].net_tx_bytes or 0) > 300_000,
        what="what was sent until the last process ended",
    )
    assert container.wait() == 0, container.output()


def test_node_traffic_is_the_hosts_physical_interfaces(sink: Sink, observe: Observe) -> None:
    observe()
    before = _physical_bytes()
    node = tick_of(sink)[0]
    after = _physical_bytes()
    assert node.net_rx_bytes is not None
    assert before[0] <= node.net_rx_bytes <= after[0]


def _physical_bytes() -> tuple[int, int]:
    received = sent = 0
    for interface in Path("/sys/class/net").iterdir():
        if (interface / "device").exists():
            received += int((interface / "statistics/rx_bytes").read_text())
            sent += int((interface / "statistics/tx_bytes").read_text())
    return received, sent


def test_a_container_that_comes_and_goes_between_two_ticks_leaves_its_figures(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    observer = observe(interval_seconds=between_minutes())
    eventually_sync(lambda: observer.ready() is None, what="the first tick")
    pod = containers.pod()
    pod.run(["sleep", "infinity"])
    report = "import time, os\nprint('used', time.process_time(), flush=True)"
    short = pod.run(python(SPIN.format(seconds=0.3) + report))
    eventually_sync(lambda: len(events_of(sink, short.cgroup)) > 1, what="the end of its process")
    assert short.wait() == 0
    eventually_sync(lambda: ended(sink, short.cgroup), what="its end")

    events = events_of(sink, short.cgroup)

    assert len(ticks_of(sink)) == 1, "no tick fell between"
    assert events[0].cpu_usage_us == 0, "a birth of zeros, so that the first figures count in full"
    assert [each.last for each in events] == [False] * (len(events) - 1) + [True]
    own = float(short.output().split()[1]) * 1e6
    used = events[-1].cpu_usage_us
    assert used is not None
    assert sink.losses == []
    assert own * 0.99 <= used <= kernels_cpu_us(pod.cgroup), "runc's own start comes on top"
    assert events[-2].memory_bytes is not None, "no tick told its memory, so its end does"
    for event in events_of(sink, pod.cgroup):
        assert event.memory_bytes is None, "gauges of pods belong to ticks, where they add up"
    for name in COUNTERS:
        values = [getattr(each, name) for each in events if getattr(each, name) is not None]
        assert values == sorted(values), name


def test_every_short_container_ends_with_its_figures_or_a_counted_loss(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    observer = observe(interval_seconds=between_minutes(), newborn_seconds=0)
    pod = containers.pod()
    pause = pod.run(["sleep", "infinity"])
    used = {}
    for _ in range(20):
        program = SPIN.format(seconds=0.01) + "print(time.process_time_ns() // 1000, flush=True)"
        container = pod.run(python(program), network=pause, remove_at_once=True)
        assert container.wait() == 0
        used[container.cgroup] = int(container.output())
    eventually_sync(lambda: all(ended(sink, path) for path in used), what="the end of all of them")

    missed = {each.detail.split()[0] for each in sink.losses}

    assert {each.reason for each in sink.losses} <= {"end_not_sampled"}
    for path, microseconds in used.items():
        events = events_of(sink, path)
        assert sum(each.last for each in events) == 1
        if path not in missed:
            assert (events[-1].cpu_usage_us or 0) >= microseconds * 0.99
    assert observer.metrics()["cgroup_unsampled_ends_total"] == len(missed) == len(sink.losses)


def test_a_cgroup_made_again_at_the_same_path_is_another_one(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    observe()
    pod = containers.pod()
    pod.run(["sleep", "infinity"])
    container_id = os.urandom(32).hex()
    for seconds in (0.3, 0.01):
        container = pod.run(python(SPIN.format(seconds=seconds)), container_id=container_id)
        assert container.wait() == 0
        container.close()
        eventually_sync(lambda: ended(sink, container.cgroup), what="its end")  # noqa: B023

    lives: dict[str, list[int]] = {}
    for each in events_of(sink, container.cgroup):
        lives.setdefault(each.cgroup_id, []).append(each.cpu_usage_us or 0)

    assert len(lives) == 2
    first, second = lives.values()
    assert (first[0], second[0]) == (0, 0)
    assert first == sorted(first)
    assert second == sorted(second)
    assert second[-1] < first[-1], "a reset, which the id explains"


def test_deltas_divided_by_the_measured_time_are_the_true_millicores(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    pod = containers.pod()
    # Little enough that it gets this much, and no more, on a busy machine too.
    spinning = pod.run(python("while True: pass"), cpu_limit_millicores=50)
    observe(interval_seconds=0.4)
    tick_of(sink)
    begin = time.time(), kernels_cpu_us(spinning.cgroup)
    eventually_sync(lambda: time.time() > begin[0] + 2.5, what="the end of the measured stretch")
    end = time.time(), kernels_cpu_us(spinning.cgroup)
    tick_of(sink)
    truth = (end[1] - begin[1]) / 1e3 / (end[0] - begin[0])

    events = [each for each in events_of(sink, spinning.cgroup) if each.cpu_usage_us is not None]
    before = [each for each in events if _seconds(each.ts) <= begin[0]][-1]
    after = next(each for each in events if _seconds(each.ts) >= end[0])
    used = (after.cpu_usage_us or 0) - (before.cpu_usage_us or 0)
    millicores = used / 1e3 / (_seconds(after.ts) - _seconds(before.ts))

    # One period of the limit (100 ms, 5 ms of CPU) may fall to either side at each end.
    assert millicores == pytest.approx(truth, abs=15)
    assert used >= end[1] - begin[1] - 10_000
    assert after.cpu_throttled_us is not None
    assert after.cpu_throttled_us > 0


def _seconds(ts: str) -> float:
    return parse_timestamp(ts) / 1e6


def test_dead_pods_are_not_the_latest_for_ever(
    containers: Containers, sink: Sink, observe: Observe, tmp_path: Path
) -> None:
    observe()
    with Containers(tmp_path / "brief") as brief:
        pod = brief.pod()
        pod.run(["sleep", "infinity"])
        of(tick_of(sink), pod.cgroup)
    assert pod.cgroup not in {each.cgroup for each in tick_of(sink)}
    ends = [each.last for each in events_of(sink, pod.cgroup)]
    assert ends == [False] * (len(ends) - 1) + [True]


def test_without_inotify_new_cgroups_are_found_at_the_tick_with_a_birth_of_zeros(
    containers: Containers, sink: Sink, observe: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Inotify) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Inotify, "__init__", refuse)
    observer = observe()
    assert any("max_user_instances" in each for each in observer.degraded())
    pod = containers.pod()
    container = pod.run(["sleep", "infinity"])
    tick_of(sink)
    events = events_of(sink, container.cgroup)
    assert events[0].cpu_usage_us == 0
    assert (events[-1].cpu_usage_us or 0) > 0
    container.close()
    eventually_sync(lambda: ended(sink, container.cgroup), what="its end")


def test_an_overflow_of_inotify_is_counted_and_followed_by_a_walk(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    observer = observe()
    pod = containers.pod()
    noisy = pod.run(["sleep", "infinity"])
    tick_of(sink)
    sink.open.clear()
    eventually_sync(sink.blocked.is_set, what="the sampling thread waiting for the sink")
    harmless = ("cgroup.max.depth", "max") if CGROUP_V2 else ("notify_on_release", "0")
    names = [noisy.cgroup_file("memory", name) for name in (harmless[0], "cgroup.procs")]
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for index in range(limit + 100):
        # Equal events are merged by the kernel; these alternate. Moving a process to where it
        # already is changes nothing.
        names[index % 2].write_text(harmless[1] if index % 2 == 0 else str(noisy.pid))
    late = containers.pod().run(["sleep", "infinity"])
    sink.open.set()

    tick = tick_of(sink)

    assert observer.metrics()["cgroup_inotify_overflows_total"] >= 1
    assert of(tick, late.cgroup).container_id == late.id
    assert events_of(sink, late.cgroup)[0].cpu_usage_us == 0
    assert of(tick, noisy.cgroup).container_id == noisy.id


def test_no_event_is_earlier_than_a_promised_watermark(
    containers: Containers, sink: Sink, observe: Observe
) -> None:
    observe()
    pod = containers.pod()
    for _ in range(5):
        pod.run(["true"]).wait()
    tick_of(sink)
    for batches, promised in list(sink.watermarks):
        for batch in list(sink.batches)[batches:]:
            assert all(_seconds(each.ts) * 1e6 > promised - 1 for each in batch)
    times = [batch[0].ts for batch in list(sink.batches)]
    assert times == sorted(times)


def test_stopping_takes_a_last_sample(sink: Sink, observe: Observe) -> None:
    observer = observe(interval_seconds=between_minutes())
    eventually_sync(lambda: observer.ready() is None, what="the first tick")
    observer.stop()
    assert len(ticks_of(sink)) == 2
    assert ticks_of(sink)[1][0].ts > ticks_of(sink)[0][0].ts
    assert observer.ready() == "stopped"


def test_the_observer_names_no_node_since_only_the_publisher_knows_it(
    sink: Sink, observe: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTNAME", "cgroup-producer-x7k2p")
    observe()
    assert {(each.node, each.boot, each.seq) for each in tick_of(sink)} == {("", "", -1)}


def test_the_machine_without_pods_gives_its_totals(sink: Sink, observe: Observe) -> None:
    observer = observe()
    node = tick_of(sink)[0]
    assert observer.mode in ("v1", "v2", "hybrid")
    for name in ("cpu_usage_us", "memory_bytes", "memory_working_set_bytes", "pids"):
        assert getattr(node, name) > 0, name
    for name in ("io_read_bytes", "io_write_bytes", "net_rx_bytes", "net_tx_bytes", "oom_kills"):
        assert getattr(node, name) is not None, name
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    fields = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    used = (sum(fields[:3]) + fields[5] + fields[6]) * 1_000_000 // ticks_per_second
    assert about(node.cpu_usage_us, used)


ELSEWHERE = """
import sys, time
import msgspec
from producers.cgroup import CgroupObserver, CgroupSettings

class Printing:
    def emit_many(self, kind, events):
        for each in events:
            print(msgspec.json.encode(each).decode(), flush=True)
    def watermark(self, kind, microseconds): pass
    def lost(self, kind, reason, count, **more): print(f"lost {reason} {count}", flush=True)

observer = CgroupObserver(CgroupSettings(interval_seconds=0.25))
observer.start(Printing())
sys.stdin.read()
observer.stop()
for sentence in observer.degraded():
    print("degraded", sentence, flush=True)
"""


def observe_elsewhere(command: list[str], container: Container, path: str) -> list[str]:
    """What an observer prints that another command runs, from some ticks before the container's
    end to some after it."""
    with subprocess.Popen(
        [*command, sys.executable, "-c", ELSEWHERE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        lines: list[str] = []

        def until(enough: Callable[[str], bool], count: int) -> None:
            assert process.stdout is not None
            while count:
                line = process.stdout.readline()
                assert line, f"it ended: {lines[-3:]}"
                lines.append(line.rstrip("\n"))
                count -= enough(line)

        try:
            until(lambda line: path in line, 3)
            container.close()
            until(lambda line: '"last":true' in line and container.cgroup in line, 1)
            process.stdin.close()
            lines += process.stdout.read().splitlines()
        finally:
            process.kill()
    return lines


def test_in_another_pid_namespace_nothing_is_taken_for_the_hosts(containers: Containers) -> None:
    pod = containers.pod()
    container = pod.run(["sleep", "infinity"])
    link_network(container)

    lines = observe_elsewhere(
        ["unshare", "--pid", "--net", "--fork", "--mount-proc", "--kill-child"],
        container,
        pod.cgroup,
    )

    events = [msgspec.json.decode(each, type=CgroupEvent) for each in lines if each.startswith("{")]
    seen = of(next(batch for batch in _by_time(events) if len(batch) > 2), pod.cgroup)
    assert (seen.cpu_usage_us or 0) > 0
    assert seen.net_rx_bytes is None
    assert not seen.host_network, "nobody knows"
    assert {each.net_rx_bytes for each in events if each.scope == "node"} == {None}
    assert any("hostPID" in each for each in lines if each.startswith("degraded"))
    assert "lost end_not_sampled 1" in lines


def _by_time(events: list[CgroupEvent]) -> list[list[CgroupEvent]]:
    times: dict[str, list[CgroupEvent]] = {}
    for each in events:
        times.setdefault(each.ts, []).append(each)
    return list(times.values())


def test_no_capability_is_needed(containers: Containers) -> None:
    pod = containers.pod()
    container = pod.run(["sleep", "infinity"])
    link_network(container)

    lines = observe_elsewhere(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"],
        container,
        pod.cgroup,
    )

    events = [msgspec.json.decode(each, type=CgroupEvent) for each in lines if each.startswith("{")]
    told = [each for each in events if each.cgroup == pod.cgroup and each.memory_bytes is not None]
    assert all((each.net_rx_bytes or 0) > 0 for each in told)
    assert all(each.net_rx_bytes is not None for each in events if each.scope == "node")
    assert [each for each in lines if each.startswith("lost")] == []
    assert [each for each in lines if each.startswith("degraded") and "block I/O" not in each] == []
