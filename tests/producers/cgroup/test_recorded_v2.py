"""A whole recorded cgroup v2 machine (systemd driver, containerd and CRI-O), read by file."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from producers.cgroup import CgroupSettings, NoCgroupsError
from producers.cgroup.hierarchy import Hierarchy
from producers.cgroup.sampler import Sampler
from producers.cgroup.usage import COUNTERS, Reader
from stream.contract.kinds.cgroup import CgroupEvent

BURSTABLE = (
    "/kubepods.slice/kubepods-burstable.slice/"
    "kubepods-burstable-pod3f2b8c1e_9d47_4a52_8e0f_5b6c7d8e9f01.slice"
)
GUARANTEED = "/kubepods.slice/kubepods-poda1b2c3d4_0000_4111_8222_333344445555.slice"
STATIC = (
    "/kubepods.slice/kubepods-besteffort.slice/"
    "kubepods-besteffort-pod0123456789abcdef0123456789abcdef.slice"
)
APP = "1" * 8 + "a" * 56
PAUSE = "2" * 8 + "b" * 56
CRIO = "3" * 8 + "c" * 56


class Machine:
    """A sampler over the recorded files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.batches: list[list[CgroupEvent]] = []
        self.lost: list[str] = []
        settings = CgroupSettings(
            cgroup_root=root / "cgroup", proc_root=root / "proc", sys_root=root / "sys"
        )
        self.hierarchy = Hierarchy.detect(settings.cgroup_root)
        self.sampler = Sampler(
            settings, self.hierarchy, self.batches.append, lambda *what: self.lost.append(what[2])
        )
        self.walk()

    def walk(self, *, born: bool = False) -> None:
        found = self.hierarchy.walk().cgroups
        self.sampler.replaced_by(found, born=born)
        for each in found:
            if each.owner.container_id:
                self.sampler.processes_of(each.path)

    def tick(self) -> dict[str, CgroupEvent]:
        self.sampler.tick()
        return {each.cgroup: each for each in self.batches[-1]}


@pytest.fixture
def machine(recorded: Path) -> Machine:
    return Machine(recorded)


def test_the_hierarchy_is_recognised_as_pure_v2(machine: Machine) -> None:
    assert machine.hierarchy.mode == "v2"
    assert machine.hierarchy.controllers == {}


def test_every_qos_class_and_runtime_is_found_and_nothing_else(machine: Machine) -> None:
    events = machine.tick()
    assert {(each.scope, each.pod_uid, each.container_id) for each in events.values()} == {
        ("node", "", ""),
        ("pod", "3f2b8c1e-9d47-4a52-8e0f-5b6c7d8e9f01", ""),
        ("container", "3f2b8c1e-9d47-4a52-8e0f-5b6c7d8e9f01", APP),
        ("container", "3f2b8c1e-9d47-4a52-8e0f-5b6c7d8e9f01", PAUSE),
        ("pod", "a1b2c3d4-0000-4111-8222-333344445555", ""),
        ("container", "a1b2c3d4-0000-4111-8222-333344445555", CRIO),
        ("pod", "0123456789abcdef0123456789abcdef", ""),
        ("container", "0123456789abcdef0123456789abcdef", "4" * 8 + "d" * 56),
        ("container", "", "5" * 8 + "e" * 56),
    }
    assert f"{GUARANTEED}/crio-{CRIO}.scope" in events, "the scope itself, not what lies below it"


def test_a_pod_has_its_own_figures_not_those_of_its_pause_container(machine: Machine) -> None:
    events = machine.tick()
    assert events[BURSTABLE].cpu_usage_us == 43_859_000
    assert events[f"{BURSTABLE}/cri-containerd-{PAUSE}.scope"].cpu_usage_us == 58_500


def test_every_field_of_a_container_is_the_kernels_own(machine: Machine) -> None:
    event = machine.tick()[f"{BURSTABLE}/cri-containerd-{APP}.scope"]
    figures = {name: getattr(event, name) for name in CgroupEvent.__struct_fields__}
    for name in ("ts", "node", "boot", "seq", "scope", "cgroup", "cgroup_id"):
        del figures[name]
    assert figures == {
        "pod_uid": "3f2b8c1e-9d47-4a52-8e0f-5b6c7d8e9f01",
        "container_id": APP,
        "cpu_usage_us": 43_800_500,
        "cpu_user_us": 29_960_000,
        "cpu_system_us": 13_840_500,
        "cpu_throttled_us": 777_000,
        "memory_bytes": 267_911_168,
        "memory_working_set_bytes": 267_911_168 - 52_428_800,
        "memory_anon_bytes": 104_800_000,
        "memory_file_bytes": 157_286_400,
        "memory_limit_bytes": 268_435_456,
        "oom_kills": 3,
        "io_read_bytes": 1_048_576 + 10_485_760,
        "io_write_bytes": 2_097_152 + 20_971_520,
        "io_read_ops": 256 + 100,
        "io_write_ops": 512 + 200,
        "net_rx_bytes": None,
        "net_tx_bytes": None,
        "host_network": False,
        "pids": 8,
        "psi_cpu_some_us": 10,
        "psi_memory_some_us": 20,
        "psi_io_some_us": 30,
        "last": False,
    }


def test_oom_kills_of_v2_count_below_already_and_are_not_summed_again(machine: Machine) -> None:
    assert machine.tick()[BURSTABLE].oom_kills == 3


def test_no_limit_is_null_and_an_idle_io_controller_is_zero(machine: Machine) -> None:
    events = machine.tick()
    assert events[STATIC].memory_limit_bytes is None
    assert events[STATIC].io_read_bytes == 0
    assert events[GUARANTEED].io_write_bytes == 0, "a device without figures"


def test_working_set_never_falls_below_zero(machine: Machine) -> None:
    event = next(each for path, each in machine.tick().items() if "docker-" in path)
    assert event.memory_bytes == 8192
    assert event.memory_working_set_bytes == 0


def test_node_totals_follow_the_documented_formulas(machine: Machine) -> None:
    node = machine.tick()["/"]
    assert node.scope == "node"
    assert node.cpu_user_us == 1_200 * 10_000
    assert node.cpu_system_us == 3_130 * 10_000
    assert node.cpu_usage_us == 4_330 * 10_000, "stolen and guest time are not added"
    assert node.memory_limit_bytes == 16_000_000 * 1024
    assert node.memory_bytes == 12_000_000 * 1024
    assert node.memory_working_set_bytes == 7_500_000 * 1024
    assert node.memory_anon_bytes == 1_400_000 * 1024
    assert node.memory_file_bytes == 7_000_000 * 1024
    used_of_older_tools = 16_000_000 - 4_000_000 - 500_000 - 6_500_000
    assert node.memory_bytes - node.memory_file_bytes == used_of_older_tools * 1024
    assert node.oom_kills == 7
    assert node.pids == 1234
    assert (node.psi_cpu_some_us, node.psi_memory_some_us, node.psi_io_some_us) == (111, 222, 333)


def test_node_disk_counts_whole_disks_once(machine: Machine) -> None:
    node = machine.tick()["/"]
    assert node.io_read_ops == 1000 + 30
    assert node.io_write_ops == 2000 + 40
    assert node.io_read_bytes == (200_000 + 4_000) * 512
    assert node.io_write_bytes == (400_000 + 8_000) * 512


def test_node_disk_without_sys_goes_by_names(recorded: Path) -> None:
    machine = Machine(recorded)
    for each in (recorded / "sys/block").iterdir():
        (each / "dev").unlink()
    (recorded / "sys/block").rename(recorded / "sys/hidden")
    assert machine.tick()["/"].io_read_bytes == (200_000 + 4_000) * 512


def test_node_network_is_that_of_physical_interfaces(machine: Machine) -> None:
    node = machine.tick()["/"]
    assert node.net_rx_bytes == 5_000_000 + 700
    assert node.net_tx_bytes == 3_000_000 + 900


def test_node_network_without_devices_leaves_out_virtual_kinds(recorded: Path) -> None:
    machine = Machine(recorded)
    (recorded / "sys/class").rename(recorded / "sys/hidden")
    assert machine.tick()["/"].net_rx_bytes == 5_000_000 + 700


def test_one_tick_is_one_batch_of_one_time(machine: Machine) -> None:
    machine.tick()
    machine.tick()
    assert len(machine.batches) == 2
    for batch in machine.batches:
        assert len({each.ts for each in batch}) == 1
        assert batch[0].scope == "node"
    assert machine.batches[0][0].ts < machine.batches[1][0].ts


def test_a_missing_controller_leaves_its_fields_unknown(recorded: Path) -> None:
    machine = Machine(recorded)
    for name in ("io.stat", "memory.current", "cpu.pressure", "pids.current"):
        (recorded / "cgroup" / BURSTABLE[1:] / name).unlink()
    pod = machine.tick()[BURSTABLE]
    assert pod.cpu_usage_us == 43_859_000
    assert pod.memory_bytes is None
    assert pod.memory_working_set_bytes is None
    assert pod.pids is None


def test_a_removed_cgroup_says_so_once_and_is_not_the_latest_for_ever(recorded: Path) -> None:
    machine = Machine(recorded)
    before = machine.tick()[BURSTABLE]
    (recorded / "cgroup" / BURSTABLE[1:]).rename(recorded / "gone")
    machine.walk()
    ends = [event for batch in machine.batches for event in batch if event.last]
    assert {each.cgroup for each in ends} == {
        BURSTABLE,
        f"{BURSTABLE}/cri-containerd-{APP}.scope",
        f"{BURSTABLE}/cri-containerd-{PAUSE}.scope",
    }
    (pod_end,) = [each for each in ends if each.cgroup == BURSTABLE]
    assert pod_end.cpu_usage_us == before.cpu_usage_us
    assert pod_end.memory_bytes is None, "a gauge has no value when its cgroup is gone"
    assert len(machine.lost) == 2, "the ends of two containers were not read"
    assert BURSTABLE not in machine.tick()


def test_a_cgroup_that_comes_later_starts_with_zeros(recorded: Path) -> None:
    hidden = recorded / "cgroup" / GUARANTEED[1:]
    hidden.rename(recorded / "later")
    machine = Machine(recorded)
    machine.tick()
    (recorded / "later").rename(hidden)
    machine.walk(born=True)
    first = next(
        event for batch in machine.batches for event in batch if event.cgroup == GUARANTEED
    )
    assert [getattr(first, name) for name in COUNTERS] == [0] * len(COUNTERS)
    assert first.memory_bytes is None
    assert machine.tick()[GUARANTEED].cpu_usage_us == 1_000_000


def test_cgroups_that_were_there_at_the_start_have_no_birth(machine: Machine) -> None:
    assert machine.batches == []


def test_the_same_path_made_again_has_another_id(recorded: Path) -> None:
    machine = Machine(recorded)
    old = machine.tick()[GUARANTEED]
    folder = recorded / "cgroup" / GUARANTEED[1:]
    copy = recorded / "copy"
    shutil.copytree(folder, copy)
    folder.rename(recorded / "old")
    copy.rename(folder)
    machine.walk(born=True)
    of_path = [event for batch in machine.batches for event in batch if event.cgroup == GUARANTEED]
    assert [(each.last, each.cpu_usage_us) for each in of_path] == [
        (False, 1_000_000),
        (True, 1_000_000),
        (False, 0),
    ]
    assert of_path[1].cgroup_id == old.cgroup_id
    assert of_path[2].cgroup_id != old.cgroup_id


def test_figures_that_may_not_be_read_are_unknown_and_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "pids.current").write_text("5\n")
        (folder / "io.stat").write_text("8:0 rbytes=1\n")
        (folder / "io.stat").chmod(0o400)
        reader = Reader()
        os.seteuid(65534)
        try:
            assert reader.read(f"{folder}/io.stat") is None
            assert reader.number(f"{folder}/pids.current") == 5
        finally:
            os.seteuid(0)
        assert reader.denied == {"io.stat": f"{folder}/io.stat: Permission denied"}
        assert reader.read(f"{folder}/nothing") is None
        assert len(reader.denied) == 1, "what does not exist was not denied"


def test_a_folder_that_is_no_cgroup_root_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoCgroupsError, match=r"cgroup\.cgroup_root"):
        Hierarchy.detect(tmp_path)
    with pytest.raises(NoCgroupsError, match="No such file"):
        Hierarchy.detect(tmp_path / "nowhere")


def test_a_v1_machine_with_joined_controllers_is_recognised(tmp_path: Path) -> None:
    for name in ("cpu,cpuacct", "memory", "blkio", "pids", "systemd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    hierarchy = Hierarchy.detect(tmp_path)
    assert hierarchy.mode == "v1"
    assert set(hierarchy.controllers) == {"cpu", "cpuacct", "memory", "blkio", "pids"}
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified" / "cgroup.controllers").touch()
    assert Hierarchy.detect(tmp_path).mode == "hybrid"
