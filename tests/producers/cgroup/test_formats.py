"""The kernel's text formats, and the paths, under any input."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cgroup import CgroupSettings
from producers.cgroup.clock import SampleClock
from producers.cgroup.hierarchy import own_cgroup_of
from producers.cgroup.node import parse_interfaces, physical_interfaces
from producers.cgroup.sampling import next_aligned
from producers.cgroup.usage import flat_keyed, pressure_total
from producers.cgroup.version1 import sum_block
from producers.cgroup.version2 import sum_io
from stream.settings import Configuration
from tests.support.containers import Driver, QosClass, pod_cgroup

COUNT = st.integers(min_value=0, max_value=2**63)
DEVICE = st.tuples(st.integers(0, 4095), st.integers(0, 1 << 20)).map(
    lambda numbers: b"%d:%d" % numbers
)


@given(st.dictionaries(DEVICE, st.tuples(COUNT, COUNT, COUNT, COUNT), max_size=8), st.booleans())
def test_io_stat_is_summed_over_all_devices(
    devices: dict[bytes, tuple[int, int, int, int]], glued: bool
) -> None:
    lines = [
        b"%b rbytes=%d wbytes=%d rios=%d wios=%d dbytes=7 dios=7" % (name, *figures)
        for name, figures in devices.items()
    ]
    # Some kernels write a device without figures and without a line feed before the next one.
    text = b"".join((b"9999:9 " if glued else b"") + line + b"\n" for line in lines)
    expected = tuple(sum(figures[each] for figures in devices.values()) for each in range(4))
    assert sum_io(text) == expected


@given(st.dictionaries(DEVICE, st.tuples(COUNT, COUNT), min_size=1, max_size=8))
def test_v1_block_figures_are_summed_over_all_devices(
    devices: dict[bytes, tuple[int, int]],
) -> None:
    text = b"".join(
        b"%b Read %d\n%b Write %d\n%b Sync 5\n%b Async 5\n%b Discard 5\n%b Total %d\n"
        % (name, read, name, written, name, name, name, name, read + written)
        for name, (read, written) in devices.items()
    )
    total = sum(read + written for read, written in devices.values())
    expected = tuple(sum(figures[each] for figures in devices.values()) for each in range(2))
    assert sum_block(text + b"Total %d\n" % total) == expected
    stacked = next(iter(devices))
    without = tuple(
        sum(figures[each] for name, figures in devices.items() if name != stacked)
        for each in range(2)
    )
    assert sum_block(text, frozenset((stacked,))) == without


@given(st.binary(max_size=200))
def test_no_text_makes_a_reader_fail(text: bytes) -> None:
    sum_io(text)
    sum_block(text)
    flat_keyed(text)
    pressure_total(text)
    parse_interfaces(text)


def test_a_missing_file_is_unknown_and_an_empty_one_is_zero() -> None:
    assert sum_io(None) == (None,) * 4
    assert sum_io(b"") == (0,) * 4
    assert sum_block(None) == (None, None)
    assert pressure_total(None) is None


def test_a_device_that_lies_on_another_is_not_counted_twice() -> None:
    text = b"8:0 rbytes=5 wbytes=6 rios=1 wios=2\n253:0 rbytes=5 wbytes=6 rios=1 wios=2\n"
    assert sum_io(text, frozenset((b"253:0",))) == (5, 6, 1, 2)


@given(st.uuids(), st.sampled_from(["guaranteed", "burstable", "besteffort"]),
       st.sampled_from(["cgroupfs", "systemd"]), st.binary(min_size=32, max_size=32),
       st.sampled_from(["cri-containerd", "crio", "docker"]),
       st.sampled_from(["", "/kubelet", "/docker/" + "f" * 64]))  # fmt: skip
def test_every_kubelets_paths_name_their_pod_and_container(
    uid: object, qos: QosClass, driver: Driver, raw_id: bytes, runtime: str, above: str
) -> None:
    pod = above + pod_cgroup(str(uid), qos, driver)
    container_id = raw_id.hex()
    leaf = container_id if driver == "cgroupfs" else f"{runtime}-{container_id}.scope"
    assert own_cgroup_of(pod) == (str(uid), "")
    assert own_cgroup_of(f"{pod}/{leaf}") == (str(uid), container_id)
    assert own_cgroup_of(f"{pod}/{leaf}/inner") is None
    assert own_cgroup_of(pod.rpartition("/")[0]) is None or above.startswith("/docker")


@given(st.text(max_size=80))
def test_no_path_makes_the_owner_fail(path: str) -> None:
    own_cgroup_of(path)


def test_interfaces_of_pods_bridges_and_tunnels_do_not_count_for_the_node(tmp_path: Path) -> None:
    names = ["lo", "ens5", "veth1", "docker0", "br-12ab", "flannel.1", "ens5.100", "tun0", "tap1"]
    interfaces = dict.fromkeys(names, (1, 1))
    assert physical_interfaces(interfaces, tmp_path) == ["ens5", "tun0"]


@given(st.floats(0, 4e9), st.sampled_from([0.1, 0.25, 1.0, 5.0, 10.0]))
def test_ticks_lie_on_multiples_of_the_interval(now: float, interval: float) -> None:
    tick = next_aligned(now, interval)
    assert now < tick <= now + interval * 1.000001
    assert abs(tick / interval - round(tick / interval)) < 1e-3


class Machine:
    def __init__(self) -> None:
        self.wall = 1_800_000_000_000_000_000
        self.monotonic = 5

    def passes(self, seconds: float, step: float = 0.0) -> None:
        self.monotonic += int(seconds * 1e9)
        self.wall += int((seconds + step) * 1e9)


def test_the_clock_follows_the_machine() -> None:
    machine = Machine()
    clock = SampleClock(lambda: machine.wall, lambda: machine.monotonic)
    machine.passes(5)
    assert clock.now() == machine.wall // 1000
    machine.passes(5, step=3600)
    assert clock.now() == machine.wall // 1000


@given(st.lists(st.tuples(st.floats(0.001, 60), st.floats(-4000, 100)), max_size=40))
def test_a_clock_set_back_never_makes_samples_run_backwards(
    steps: list[tuple[float, float]],
) -> None:
    machine = Machine()
    clock = SampleClock(lambda: machine.wall, lambda: machine.monotonic)
    last = clock.now()
    for seconds, step in steps:
        machine.passes(seconds, step)
        now = clock.now()
        # At least half of what passed: a rate is at most doubled while the clock catches up.
        assert now - last >= seconds * 1e6 / 2 - 2
        assert now >= machine.wall // 1000
        last = now


def test_after_a_clock_set_back_the_time_converges() -> None:
    machine = Machine()
    clock = SampleClock(lambda: machine.wall, lambda: machine.monotonic)
    machine.passes(1, step=-10)
    clock.now()
    for _ in range(25):
        machine.passes(1)
        now = clock.now()
    assert now == machine.wall // 1000


@pytest.mark.parametrize(
    ("field", "value"),
    [("interval_seconds", 0.0), ("depth", 0), ("rescan_seconds", 1.0), ("include", ["docker"]),
     ("include", ["/../etc"]), ("newborn_seconds", -1.0)],
)  # fmt: skip
def test_a_wrong_setting_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        CgroupSettings(**{field: value})  # type: ignore[arg-type]


def test_settings_come_from_a_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "tenwatch.yaml"
    file.write_text("cgroup:\n  cgroup_root: /host/sys/fs/cgroup\n  interval_seconds: 10\n")
    configuration = Configuration.load(file, {"TENWATCH_CGROUP_PROC_ROOT": "/host/proc"})
    settings = configuration.section("cgroup", CgroupSettings)
    assert settings.cgroup_root == Path("/host/sys/fs/cgroup")
    assert settings.proc_root == Path("/host/proc")
    assert settings.interval_seconds == 10
