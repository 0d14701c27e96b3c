"""Every exec and exit of the running kernel, each field right."""

import os
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from producers.process.attach import attach
from producers.process.identity import ProcessNames
from producers.process.observer import ProcessObserver
from producers.process.settings import ProcessSettings
from stream.contract.timestamps import format_timestamp, parse_timestamp
from tests.producers.process.support import (
    NODE,
    ListSink,
    Watcher,
    cgroup,
    observing,
    run_in,
    truth,
)


def test_an_exec_and_its_exit_tell_everything_about_a_program(
    watch: Watcher, storm: Path, tmp_path: Path
) -> None:
    before = time.time_ns() // 1000
    with cgroup() as path, watch(path) as sink:
        child = run_in(path, storm, "exit", "3", "zażółć", "", "two words", cwd=tmp_path)
    after = time.time_ns() // 1000
    assert child.returncode == 3
    started, ended = sink.events
    assert started.action == "exec"
    assert started.exe == str(storm)
    assert started.argv == [str(storm), "exit", "3", "zażółć", "", "two words"]
    assert not started.argv_truncated
    assert started.comm == "storm"
    assert started.cwd == str(tmp_path)
    assert started.cgroup == path
    assert started.hostname == socket.gethostname()
    assert started.uid == os.getuid()
    assert started.ppid == os.getpid()
    assert started.parent_exec_id == ProcessNames(NODE).of_living(os.getpid())
    assert (started.duration_us, started.exit_code, started.signal) == (None, None, None)
    assert not started.degraded
    assert not started.forked

    assert ended.action == "exit"
    assert (ended.exit_code, ended.signal, ended.core_dumped) == (3, None, False)
    repeated = (
        "pid", "ppid", "uid", "exec_id", "parent_exec_id", "comm", "exe", "argv",
        "argv_truncated", "cwd", "hostname", "cgroup", "start_ts", "forked", "degraded",
    )  # fmt: skip
    for name in repeated:
        assert getattr(ended, name) == getattr(started, name), name

    # The kernel's clock and the wall clock are read one after the other.
    tolerance = 5_000
    times = [parse_timestamp(ts) for ts in (started.start_ts, started.ts, ended.ts)]
    assert before - tolerance <= times[0] <= times[1] <= times[2] <= after + tolerance
    assert ended.duration_us == pytest.approx(times[2] - times[0], abs=1)


def test_all_256_exit_codes(watch: Watcher, storm: Path) -> None:
    with cgroup() as path, watch(path) as sink:
        children = truth(run_in(path, storm, "codes"))
    assert [child.exit_code for child in children] == list(range(256))
    for child in children:
        exit_event = sink.only(child.pid, "exit")
        assert (exit_event.exit_code, exit_event.signal) == (child.exit_code, None)
        assert exit_event.argv == ["storm", "exit", child.label, "codes"]
        assert len(sink.of(child.pid, "exec")) == 1


def test_signals_are_no_exit_codes_and_core_dumps_are_told(
    watch: Watcher, storm: Path, tmp_path: Path
) -> None:
    with cgroup() as path, watch(path) as sink:
        children = truth(run_in(path, storm, "signals", cwd=tmp_path))
    assert len(children) == 40
    assert {child.core_dumped for child in children if child.label == "plain"} == {False}
    for child in children:
        event = sink.only(child.pid, "exit")
        assert (event.exit_code, event.signal) == (None, child.signal)
        assert event.core_dumped == child.core_dumped
    if Path("/proc/sys/kernel/core_pattern").read_text().strip() == "core":
        assert any(child.core_dumped for child in children)


@pytest.mark.parametrize("group_dead_argument", [None, False])
def test_a_process_ends_when_its_last_thread_does(
    storm: Path, group_dead_argument: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the way older kernels need, whose tracepoint does not tell whether the group is dead."""
    monkeypatch.setattr(
        "producers.process.observer.attach",
        lambda settings: attach(settings, group_dead_argument=group_dead_argument),
    )
    codes = {"thread-exec": 7, "leader-exit": 9, "leader-return": 0, "thread-race": 0}
    children = {}
    with cgroup() as path, observing(cgroup_prefixes=[path]) as sink:
        for scenario in codes:
            children[scenario] = truth(run_in(path, storm, scenario, "60"))
    for scenario, code in codes.items():
        assert len(children[scenario]) == (60 if scenario == "thread-race" else 1)
        for child in children[scenario]:
            assert child.exit_code == code
            assert sink.only(child.pid, "exit").exit_code == code, scenario


def test_a_program_started_by_a_thread_keeps_the_process(watch: Watcher, storm: Path) -> None:
    with cgroup() as path, watch(path) as sink:
        (child,) = truth(run_in(path, storm, "thread-exec"))
    first, second = sink.of(child.pid, "exec")
    assert second.argv == ["storm", "exit", "7", "thread-exec"]
    assert first.exec_id == second.exec_id
    assert sink.only(child.pid, "exit").argv == second.argv


def test_two_execs_in_one_process_are_two_rows_and_one_exit(watch: Watcher, storm: Path) -> None:
    with cgroup() as path, watch(path) as sink:
        (child,) = truth(run_in(path, storm, "re-exec"))
    assert [(event.action, event.argv) for event in sink.of(child.pid)] == [
        ("exec", ["storm", "again", "x"]),
        ("exec", ["storm", "exit", "8", "third"]),
        ("exit", ["storm", "exit", "8", "third"]),
    ]
    assert len({(event.exec_id, event.start_ts) for event in sink.of(child.pid)}) == 1


def test_a_child_that_never_execs_is_an_exit_without_arguments(watch: Watcher, storm: Path) -> None:
    with cgroup() as path, watch(path) as sink:
        (child,) = truth(run_in(path, storm, "fork-only", cwd=Path("/usr/lib")))
    (event,) = sink.of(child.pid)
    parent = sink.events[0]
    assert (event.action, event.exit_code, event.argv, event.forked) == ("exit", 6, [], True)
    assert (event.ppid, event.parent_exec_id) == (parent.pid, parent.exec_id)
    assert (event.comm, event.cwd, event.cgroup) == ("storm", "/usr/lib", path)
    assert not event.degraded


def test_an_orphan_is_still_its_parents_child(watch: Watcher, storm: Path) -> None:
    with cgroup() as path, watch(path) as sink:
        orphan, middle = truth(run_in(path, storm, "double-fork"))
        deadline = time.monotonic() + 10
        while not sink.of(orphan.pid, "exit") and time.monotonic() < deadline:
            time.sleep(0.01)
    event = sink.only(orphan.pid, "exit")
    assert event.exit_code == 4
    assert event.argv == ["storm", "exit", "4", "orphan"]
    assert event.ppid == middle.pid
    assert event.parent_exec_id == sink.only(middle.pid, "exit").exec_id


def test_a_script_names_its_interpreter_and_itself(watch: Watcher, tmp_path: Path) -> None:
    script = tmp_path / "greet.sh"
    script.write_text("#!/bin/sh -e\nexit 12\n")
    script.chmod(0o755)
    with cgroup() as path, watch(path) as sink:
        assert run_in(path, script, "you", cwd=tmp_path).returncode == 12
    started, ended = sink.events
    assert started.comm == "greet.sh"
    assert started.exe == os.path.realpath("/bin/sh")
    assert started.argv == ["/bin/sh", "-e", str(script), "you"]
    assert ended.exit_code == 12


def test_ten_thousand_processes_at_full_speed_are_all_there(watch: Watcher, storm: Path) -> None:
    count = 10_000
    with cgroup() as path, watch(path) as sink:
        result = run_in(path, storm, "flood", str(count), "2", "flood-mark")
        assert result.returncode == 0, result.stderr
    assert sink.losses == []
    mine = [event for event in sink.events if event.argv[-1:] == ["flood-mark"]]
    children = [event for event in mine if event.argv[1] == "exit"]
    for action in ("exec", "exit"):
        numbers = Counter(int(each.argv[3]) for each in children if each.action == action)
        assert numbers == Counter(range(count)), action
    for event in children:
        if event.action == "exit":
            assert event.exit_code == int(event.argv[3]) % 251
    exec_ids = {event.exec_id for event in children}
    assert len(exec_ids) == count


def test_processes_that_were_there_before_say_what_they_are_when_they_exit(tmp_path: Path) -> None:
    child = subprocess.Popen(
        ["/bin/sh", "-c", "read line; exit 5", "--password=hunter2"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
    )
    with observing() as sink:
        child.communicate(b"\n")
    assert child.returncode == 5
    (event,) = sink.of(child.pid)
    assert (event.action, event.exit_code, event.degraded) == ("exit", 5, False)
    assert event.argv == ["/bin/sh", "-c", "read line; exit 5", "--password=***"]
    assert (event.exe, event.cwd) == (os.path.realpath("/bin/sh"), str(tmp_path))
    assert event.parent_exec_id == ProcessNames(NODE).of_living(os.getpid())


def test_arguments_are_cut_at_4_kib_and_say_so(watch: Watcher) -> None:
    fits = "x" * (4096 - len("/bin/true") - 2)
    with cgroup() as path, watch(path) as sink:
        run_in(path, "/bin/true", fits)
        run_in(path, "/bin/true", fits + "y")
        run_in(path, "/bin/true", *["z" * 1000] * 100)
    whole, cut, many = (event for event in sink.events if event.action == "exec")
    assert (whole.argv, whole.argv_truncated) == (["/bin/true", fits], False)
    # Only the final NUL is missing; what the argument was is not certain then.
    assert (cut.argv, cut.argv_truncated) == (["/bin/true", fits + "y"], True)
    assert many.argv_truncated
    assert many.argv[:5] == ["/bin/true", *["z" * 1000] * 4]
    assert sum(len(argument) + 1 for argument in many.argv) == 4097


def test_names_that_are_not_utf_8_are_escaped_without_loss(watch: Watcher, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9\\x41"
    Path(os.fsdecode(folder)).mkdir()
    with watch() as sink:
        child = subprocess.Popen([b"/bin/true", b"\xff\xfe", b"tab\there"], cwd=folder)
        child.wait()
    event = sink.only(child.pid, "exec")
    assert event.argv == ["/bin/true", "\\xff\\xfe", "tab\there"]
    assert event.cwd == str(tmp_path) + "/caf\\xe9\\x5cx41"


def test_the_working_directory_is_right_across_mounts(watch: Watcher, tmp_path: Path) -> None:
    """A tmpfs inside a tmpfs, a bind mount of a folder in it, and a change of root."""
    tmp_path.chmod(0o755)
    script = f"""
        set -e
        mount -t tmpfs none {tmp_path}
        mkdir -p {tmp_path}/a/b {tmp_path}/bound {tmp_path}/root/usr {tmp_path}/root/home/me
        mount -t tmpfs none {tmp_path}/a/b
        mkdir -p {tmp_path}/a/b/c/d
        cd {tmp_path}/a/b/c/d && /bin/true inner
        mount --bind {tmp_path}/a/b/c {tmp_path}/bound
        cd {tmp_path}/bound/d && /bin/true bound
        cd / && /bin/true root
        mount --bind /usr {tmp_path}/root/usr
        ln -s usr/lib {tmp_path}/root/lib
        ln -s usr/lib64 {tmp_path}/root/lib64
        cd {tmp_path}/root/home/me && chroot {tmp_path}/root /usr/bin/env -C /home/me true inside
    """
    with cgroup() as path, watch(path) as sink:
        result = run_in(path, "unshare", "--mount", "/bin/sh", "-c", script)
        assert result.returncode == 0, result.stderr
    found = {event.argv[-1]: event.cwd for event in sink.events if event.action == "exec"}
    assert found["inner"] == f"{tmp_path}/a/b/c/d"
    assert found["bound"] == f"{tmp_path}/bound/d"
    assert found["root"] == "/"
    assert found["inside"] == "/home/me"
    execs = [event for event in sink.events if event.action == "exec"]
    assert [event.exe for event in execs if event.argv[-1] == "inside"] == [
        os.path.realpath("/usr/sbin/chroot"),
        "/usr/bin/env",
        "/usr/bin/true",
    ]


def test_deep_folders_are_followed_and_deeper_ones_are_cut_visibly(
    watch: Watcher, tmp_path: Path
) -> None:
    deep = tmp_path.joinpath(*["d" * 100] * 30)
    deeper = tmp_path.joinpath(*[f"{level}" for level in range(70)])
    for folder in (deep, deeper):
        folder.mkdir(parents=True)
    with watch() as sink:
        fits = subprocess.Popen(["/bin/true"], cwd=deep)
        fits.wait()
        cut = subprocess.Popen(["/bin/true"], cwd=deeper)
        cut.wait()
    assert sink.only(fits.pid, "exec").cwd == str(deep)
    event = sink.only(cut.pid, "exec")
    assert event.cwd.startswith(".../")
    assert str(deeper).endswith(event.cwd.removeprefix("..."))
    assert event.degraded


def test_the_host_name_is_that_of_the_uts_namespace(watch: Watcher) -> None:
    with cgroup() as path, watch(path) as sink:
        result = run_in(
            path, "unshare", "--uts", "/bin/sh", "-c", "hostname jcode-a-1-2; /bin/true"
        )
        assert result.returncode == 0, result.stderr
    program = next(event for event in sink.events if event.argv == ["/bin/true"])
    assert program.hostname == "jcode-a-1-2"


def test_the_user_is_the_one_who_ran_the_program(watch: Watcher) -> None:
    with watch() as sink:
        child = subprocess.Popen(["/bin/sh", "-c", "exit 0"], user=65534, cwd="/")
        child.wait()
    assert {event.uid for event in sink.of(child.pid)} == {65534}


def test_stopping_hands_over_what_the_kernel_still_holds(storm: Path) -> None:
    """With an interval so long that nothing was read before."""
    with cgroup() as path, observing(cgroup_prefixes=[path], drain_interval_ms=1000) as sink:
        run_in(path, storm, "exit", "0")
    assert [event.action for event in sink.events] == ["exec", "exit"]


def test_no_event_is_older_than_the_watermark_promised(storm: Path) -> None:
    class CheckingSink(ListSink):
        def emit_many(self, kind: str, events: list) -> None:  # type: ignore[type-arg]
            if self.watermarks:
                promised = format_timestamp(self.watermarks[-1])
                assert all(event.ts >= promised for event in events)
            super().emit_many(kind, events)

    with cgroup() as path, observing(CheckingSink(), cgroup_prefixes=[path]) as sink:
        assert run_in(path, storm, "flood", "500", "2", "mark").returncode == 0
    assert len(sink.events) > 1000
    assert sink.watermarks == sorted(sink.watermarks)


def test_a_failure_while_observing_makes_it_unready_and_is_told() -> None:
    class BrokenSink(ListSink):
        def emit_many(self, kind: str, events: list) -> None:  # type: ignore[type-arg]
            raise RuntimeError("the sink is broken")

    observer = ProcessObserver(NODE, ProcessSettings(fallback=False))
    observer.start(BrokenSink())
    deadline = time.monotonic() + 10
    while observer.ready() is None and time.monotonic() < deadline:
        subprocess.run(["/bin/true"], check=True)
    assert "the sink is broken" in (observer.ready() or "")
    assert observer.failure == "RuntimeError: the sink is broken"
    observer.stop()
