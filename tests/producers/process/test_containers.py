"""Processes of real containers carry the container's cgroup and host name."""

import os
from pathlib import Path

import pytest

from tests.producers.process.support import Watcher
from tests.support.containers import Containers, Driver, QosClass

CASES: list[tuple[QosClass, Driver]] = [
    ("guaranteed", "cgroupfs"),
    ("burstable", "cgroupfs"),
    ("besteffort", "cgroupfs"),
    ("burstable", "systemd"),
]


@pytest.mark.parametrize(("qos", "driver"), CASES)
def test_a_containers_processes_are_in_its_cgroup(
    watch: Watcher, tmp_path: Path, qos: QosClass, driver: Driver
) -> None:
    with Containers(tmp_path) as containers, watch("/kubepods") as sink:
        pod = containers.pod(qos=qos, driver=driver)
        container = pod.run(
            ["/bin/sh", "-c", "/usr/bin/env true in-container; exit 42"],
            hostname="web-0",
            cwd="/workspace",
        )
        assert container.wait() == 42
    assert container.cgroup.startswith(pod.cgroup)
    mine = [event for event in sink.events if event.cgroup == container.cgroup]
    shell = [event for event in mine if event.argv[:2] == ["/bin/sh", "-c"]]
    assert [(event.action, event.exit_code) for event in shell] == [("exec", None), ("exit", 42)]
    inner = [event for event in mine if event.argv == ["true", "in-container"]]
    assert [event.action for event in inner] == ["exec", "exit"]
    for event in shell + inner:
        assert event.hostname == "web-0"
        assert event.cwd == "/workspace"
    assert shell[0].pid == container.pid
    assert inner[0].parent_exec_id == shell[0].exec_id
    assert shell[0].exe == os.path.realpath("/bin/sh")


def test_a_program_that_a_container_executes_later_is_attributed_too(
    watch: Watcher, tmp_path: Path
) -> None:
    with watch("/kubepods") as sink, Containers(tmp_path) as containers:
        container = containers.pod().run(["sleep", "100"], hostname="web-1")
        container.exec("/bin/sh", "-c", "exit 0")
    programs = [event for event in sink.events if event.argv == ["/bin/sh", "-c", "exit 0"]]
    assert [event.action for event in programs] == ["exec", "exit"]
    assert {(event.cgroup, event.hostname) for event in programs} == {(container.cgroup, "web-1")}
    # The container was killed at the end.
    assert sink.only(container.pid, "exit").signal == 9


def test_an_out_of_memory_kill_is_a_death_by_signal_in_its_container(
    watch: Watcher, tmp_path: Path
) -> None:
    with Containers(tmp_path) as containers, watch("/kubepods") as sink:
        container = containers.pod().run(
            ["python3", "-c", "x = bytearray(1 << 30)"], memory_limit_bytes=32 << 20
        )
        container.wait()
    event = sink.only(container.pid, "exit")
    assert (event.exit_code, event.signal) == (None, 9)
    assert event.cgroup == container.cgroup
