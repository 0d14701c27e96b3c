"""The kernel leaves out what the configured prefixes do not select, and counts it."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from producers.process.settings import ProcessSettings
from tests.producers.process.support import CGROUP_ROOT, cgroup, observing, run_in


def test_only_processes_below_the_cgroup_prefix_are_reported(storm: Path) -> None:
    with (
        cgroup() as inside,
        cgroup() as outside,
        cgroup(inside[1:] + "/pod/container") as below,
        observing(cgroup_prefixes=[inside]) as sink,
    ):
        run_in(inside, storm, "exit", "1")
        run_in(outside, storm, "exit", "2")
        run_in(below, storm, "exit", "3")
    assert [event.exit_code for event in sink.events if event.action == "exit"] == [1, 3]
    assert {event.cgroup for event in sink.events} == {inside, below}
    # The storm outside, and three shells that were outside when they started.
    assert sink.filtered_count >= 5


def test_each_of_several_prefixes_selects(storm: Path) -> None:
    with (
        cgroup() as one,
        cgroup() as two,
        cgroup() as three,
        observing(cgroup_prefixes=[one, two]) as sink,
    ):
        for path in (one, two, three):
            run_in(path, storm, "exit", "0")
    assert {event.cgroup for event in sink.events} == {one, two}


def test_a_prefix_need_not_end_at_a_component(storm: Path) -> None:
    with cgroup() as path, observing(cgroup_prefixes=[path[:-3]]) as sink:
        run_in(path, storm, "exit", "0")
    assert [event.action for event in sink.events] == ["exec", "exit"]


def test_a_prefix_longer_than_the_path_selects_nothing(storm: Path) -> None:
    with cgroup() as path, observing(cgroup_prefixes=[path + "/more"]) as sink:
        run_in(path, storm, "exit", "0")
    assert sink.events == []


def test_host_name_prefixes_select_by_uts_namespace() -> None:
    def on(host: str) -> None:
        script = f"hostname {host}; /bin/true {host}"
        subprocess.run(["unshare", "--uts", "/bin/sh", "-c", script], check=True)

    with observing(hostname_prefixes=["jcode-", "lab"]) as sink:
        for host in ("jcode-a", "other", "labor", "jcode"):
            on(host)
    programs = [event.argv[1] for event in sink.events if event.argv[:1] == ["/bin/true"]]
    assert programs == ["jcode-a", "jcode-a", "labor", "labor"]


def test_a_host_name_cannot_complete_a_cgroup() -> None:
    """In the record it stands right behind the cgroup."""
    with cgroup() as path, observing(cgroup_prefixes=[path + "pods"]) as sink:
        run_in(path, "unshare", "--uts", "/bin/sh", "-c", "hostname pods; /bin/true")
    assert sink.events == []


def test_cgroup_and_host_name_must_both_match() -> None:
    script = "hostname jcode-x; /bin/true"
    with (
        cgroup() as inside,
        cgroup() as outside,
        observing(cgroup_prefixes=[inside], hostname_prefixes=["jcode-"]) as sink,
    ):
        for path in (inside, outside):
            run_in(path, "unshare", "--uts", "/bin/sh", "-c", script)
        run_in(inside, "/bin/true")
    programs = [event for event in sink.events if event.argv == ["/bin/true"]]
    assert [event.action for event in programs] == ["exec", "exit"]
    assert {(event.cgroup, event.hostname) for event in programs} == {(inside, "jcode-x")}


def test_a_process_that_leaves_the_cgroup_still_has_its_exit(storm: Path) -> None:
    with cgroup() as inside, cgroup() as outside, observing(cgroup_prefixes=[inside]) as sink:
        leave = f"echo $$ > {CGROUP_ROOT}{outside}/cgroup.procs; exit 6"
        run_in(inside, "/bin/sh", "-c", leave)
    started, ended = sink.events
    assert (started.action, started.cgroup) == ("exec", inside)
    assert (ended.action, ended.exit_code, ended.cgroup) == ("exit", 6, outside)


@pytest.mark.parametrize(
    ("setting", "prefix"),
    [
        ("cgroup_prefixes", ""),
        ("cgroup_prefixes", "x" * 129),
        # 65 characters that are 130 bytes: the kernel compares bytes.
        ("cgroup_prefixes", "ż" * 65),
        ("hostname_prefixes", "x" * 65),
    ],
)
def test_impossible_prefixes_are_refused_by_the_settings(setting: str, prefix: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({setting: [prefix]}, ProcessSettings)


def test_the_longest_prefix_works(storm: Path) -> None:
    with cgroup() as path:
        longest = (path + "/" + "ż" * 100).encode()[:128].decode("utf-8", "ignore")
        with cgroup(longest[1:] + "tail") as below, observing(cgroup_prefixes=[longest]) as sink:
            run_in(path, storm, "exit", "1")
            run_in(below, storm, "exit", "2")
    assert [event.exit_code for event in sink.events] == [None, 2]
