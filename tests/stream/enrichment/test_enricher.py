"""Enrichment of whole logs: joins, waits in event time, and the same result after every restart."""

from typing import Any

import msgspec
import pytest

from stream.contract.kinds.cgroup import CgroupEvent
from stream.contract.kinds.file import FileEvent
from stream.contract.kinds.pod import PodContainer, PodEvent
from stream.contract.kinds.process import ProcessEvent
from stream.contract.kinds.snapshot import SnapshotEvent
from stream.enrichment.identity import parse_rules
from stream.worker.processor import Processor
from tests.support.raw_log import MemoryStore, RawLog, Run, at, process

NODE = "node-a"
UID = "3f1d2c4b-0a1b-4c2d-8e3f-001122334455"
CONTAINER = "ab" * 32
CGROUP = f"/kubepods/burstable/pod{UID}/{CONTAINER}"
RULES = parse_rules(
    """
rules:
  - field: hostname
    pattern: '^jcode-(?P<course>[^-]+)-(?P<division>[^-]+)-(?P<student>[^-]+)'
  - field: [path, cwd]
    pattern: '/(?P<assignment>hw[0-9]+)(?:/|$)'
""",
    "rules",
)


def execed(seconds: float, name: str = "p1", **fields: Any) -> ProcessEvent:
    values: dict[str, Any] = {
        "action": "exec", "pid": 100, "ppid": 1, "uid": 0, "exec_id": name, "comm": "sh",
        "exe": "/usr/bin/dash", "argv": ["sh"], "cgroup": CGROUP, "hostname": "web-0",
    }  # fmt: skip
    return ProcessEvent(ts=at(seconds), **{**values, **fields})


def pod(seconds: float, **fields: Any) -> PodEvent:
    values: dict[str, Any] = {
        "action": "observed", "pod_uid": UID, "pod": "web-0", "namespace": "shop",
        "workload_kind": "StatefulSet", "workload": "web",
        "containers": [PodContainer(name="app", container_id=CONTAINER)],
    }  # fmt: skip
    return PodEvent(ts=at(seconds), **{**values, **fields})


def of_kind(run: Run, kind: str) -> list[dict[str, Any]]:
    return run.lines(f"events.{kind}.")


def test_a_process_is_joined_to_its_pod_container_and_workload() -> None:
    log = RawLog()
    log.add(NODE, pod(0))
    log.add(NODE, execed(1))
    (line,) = of_kind(process(log.messages()), "process")
    wanted = {
        "namespace": "shop", "pod": "web-0", "pod_uid": UID, "container": "app",
        "container_id": CONTAINER, "workload_kind": "StatefulSet", "workload": "web",
        "resolved": True, "class": "shell", "purpose": "other",
        "log_partition": 0, "log_offset": 2, "log_line": 0,
    }  # fmt: skip
    assert {name: line.get(name) for name in wanted} == wanted


def test_a_line_is_passed_on_byte_for_byte_with_fields_appended() -> None:
    log = RawLog()
    log.add(NODE, execed(0, cgroup="/user.slice"))
    (raw,) = log.messages()
    raw.payload = raw.payload[:-2] + b',"new_field":{"a":[1, 2]}}\n'
    run = process([raw])
    (message,) = run.published
    assert message.payload.startswith(raw.payload[:-2])
    assert msgspec.json.decode(message.payload)["new_field"] == {"a": [1, 2]}


def test_host_processes_are_resolved_and_in_no_pod() -> None:
    log = RawLog()
    log.add(NODE, execed(0, cgroup="/system.slice/ssh.service"))
    (line,) = of_kind(process(log.messages()), "process")
    assert line["resolved"] is True
    assert "pod_uid" not in line
    assert "namespace" not in line


def test_late_metadata_is_waited_for() -> None:
    log = RawLog()
    log.add(NODE, execed(1))
    log.progress(NODE, "process", 2)
    log.progress(NODE, "process", 3)
    log.add(NODE, pod(3.5))
    log.progress(NODE, "process", 4)
    run = process(log.messages())
    (line,) = of_kind(run, "process")
    assert (line["pod"], line["resolved"], line["log_offset"]) == ("web-0", True, 1)


def test_metadata_that_does_not_come_leaves_the_line_unresolved() -> None:
    log = RawLog()
    log.add(NODE, execed(1))
    for second in range(2, 5):
        log.progress(NODE, "process", second)
    before = process(log.messages())
    assert of_kind(before, "process") == []
    assert before.processor.enricher.waiting() == 1
    log.progress(NODE, "process", 5.5)
    log.add(NODE, pod(6))
    log.add(NODE, execed(6, "p2", pid=101))
    run = process(log.messages())
    first, second = of_kind(run, "process")
    assert "resolved" not in first
    assert (first["pod_uid"], first["container_id"]) == (UID, CONTAINER)
    assert (second["pod"], second["resolved"]) == ("web-0", True)


def test_a_line_from_the_far_future_is_not_waited_for() -> None:
    log = RawLog()
    log.progress(NODE, "process", 0.5)
    log.add(NODE, execed(86_400))
    run = process(log.messages())
    assert len(of_kind(run, "process")) == 1
    early = RawLog()
    early.add(NODE, execed(86_400))
    early.progress(NODE, "process", 0.5)
    assert len(of_kind(process(early.messages()), "process")) == 1


def test_after_a_wait_in_vain_nothing_waits_for_the_same_pod() -> None:
    log = RawLog()
    log.add(NODE, execed(1))
    log.progress(NODE, "process", 6)
    log.add(NODE, execed(7, "p2"))
    run = process(log.messages())
    assert len(of_kind(run, "process")) == 2
    assert run.processor.enricher.waiting() == 0


def test_a_new_container_of_a_known_pod_is_waited_for() -> None:
    log = RawLog()
    log.add(NODE, pod(0, containers=[]))
    log.add(NODE, execed(1))
    log.add(NODE, pod(2))
    (line,) = of_kind(process(log.messages()), "process")
    assert line["container"] == "app"


def test_nobody_waits_when_the_pod_producer_has_stopped() -> None:
    log = RawLog()
    log.progress(NODE, "pod", 0, closing=True)
    log.add(NODE, execed(1))
    (line,) = of_kind(process(log.messages()), "process")
    assert "resolved" not in line


def test_only_the_same_kind_and_node_waits_behind_a_held_batch_and_in_order() -> None:
    log = RawLog()
    log.add(NODE, execed(1, "held"))
    log.add(NODE, execed(1.1, "behind", cgroup="/user.slice", pid=7))
    log.add("node-b", execed(1.2, "elsewhere", cgroup="/user.slice"))
    log.add(NODE, FileEvent(ts=at(1.3), action="created", path="/x", size=1))
    run = process(log.messages(1))
    assert [line["exec_id"] for line in of_kind(run, "process")] == ["elsewhere"]
    assert len(of_kind(run, "file")) == 1
    log.add(NODE, pod(2))
    run = process(log.messages(1))
    assert [line["exec_id"] for line in of_kind(run, "process")] == [
        "elsewhere", "held", "behind",
    ]  # fmt: skip


def test_a_held_batch_holds_its_watermark() -> None:
    log = RawLog()
    log.add(NODE, execed(1))
    for second in range(2, 40, 10):
        log.progress("node-b", "process", second)
    log.progress(NODE, "process", 3)
    log.add(NODE, execed(3.5, "p2"))
    run = process(log.messages())
    assert run.processor.enricher.waiting() == 2
    lanes = {(lane.node, lane.kind): lane for lane in run.processor.windows.lanes()}
    assert lanes[NODE, "process"].watermark == 0


def test_a_full_lane_lets_its_head_go() -> None:
    log = RawLog()
    for number in range(40):
        log.add(NODE, execed(1 + number / 1000, f"p{number}", pid=number))
    run = process(log.messages(1))
    assert 0 < len(of_kind(run, "process")) < 40
    log.add(NODE, pod(2))
    run = process(log.messages(1))
    assert [line["exec_id"] for line in of_kind(run, "process")] == [f"p{n}" for n in range(40)]


def test_deleted_pods_stay_joinable_for_ten_minutes() -> None:
    log = RawLog()
    log.add(NODE, pod(0))
    log.add(NODE, pod(1, action="deleted"))
    log.add(NODE, execed(30))
    log.progress(NODE, "process", 700)
    log.add(NODE, execed(700, "late", pid=5))
    log.progress(NODE, "process", 710)
    early, late = of_kind(process(log.messages()), "process")
    assert early["pod"] == "web-0"
    assert "pod" not in late


def test_cgroup_samples_are_joined_by_uid_and_keep_their_own_fields() -> None:
    log = RawLog()
    log.add(NODE, pod(0))
    log.add(NODE, CgroupEvent(ts=at(1), scope="pod", cgroup=CGROUP.rpartition("/")[0], pod_uid=UID))
    log.add(NODE, CgroupEvent(ts=at(1), scope="container", cgroup=CGROUP))
    log.add(NODE, CgroupEvent(ts=at(1), scope="node", cgroup="/"))
    run = process(log.messages())
    (message,) = [each for each in run.published if each.subject.startswith("events.cgroup")]
    assert message.payload.count(b'"pod_uid"') == 2
    by_pod, by_path, node = of_kind(run, "cgroup")
    assert by_pod["workload"] == by_path["workload"] == "web"
    assert (by_path["container"], by_path["container_id"]) == ("app", CONTAINER)
    assert node["resolved"] is True


def test_pods_are_not_given_their_own_fields_twice() -> None:
    log = RawLog()
    log.add(NODE, pod(0))
    run = process(log.messages())
    payload = run.published[0].payload
    assert payload.count(b'"namespace"') == payload.count(b'"pod_uid"') == 1


def test_a_file_belongs_to_the_process_that_wrote_it_and_to_its_student() -> None:
    log = RawLog()
    log.add(NODE, pod(0))
    student = {"hostname": "jcode-os-1-2020", "cgroup": CGROUP}
    log.add(NODE, execed(1, "vim", pid=50, exe="/usr/bin/vim", argv=["vim", "x.c"], **student))
    log.add(NODE, execed(3, "gcc", pid=50, exe="/usr/bin/gcc", argv=["gcc", "x.c"], **student))
    for seconds in (2, 4):
        log.add(
            NODE,
            FileEvent(
                ts=at(seconds), action="modified", path="/srv/hw3/x.c", size=9, writer_pid=50
            ),
        )
    first, second = of_kind(process(log.messages(), rules=RULES), "file")
    assert (first["writer_exec_id"], second["writer_exec_id"]) == ("vim", "gcc")
    wanted = {"pod": "web-0", "course": "os", "student": "2020", "assignment": "hw3"}
    assert {name: first.get(name) for name in wanted} == wanted


def test_a_further_exec_in_a_process_is_a_run_of_its_own() -> None:
    """``bash -c "gcc x.c"`` execs gcc in its own process, under the same ``exec_id``."""
    host = {"cgroup": "/user.slice", "pid": 50}
    gcc = {"exe": "/usr/bin/gcc", "argv": ["gcc", "x.c"]}
    log = RawLog()
    log.add(NODE, execed(1, "p", exe="/usr/bin/bash", argv=["bash", "-c", "gcc x.c"], **host))
    log.add(NODE, execed(2, "p", **gcc, **host))
    log.add(NODE, execed(3, "p", action="exit", exit_code=0, **gcc, **host))
    lines = of_kind(process(log.messages()), "process")
    assert [line["purpose"] for line in lines] == ["other", "build", "build"]
    assert [line.get("build_id") for line in lines] == [None, "p", "p"]


def test_what_a_program_forks_for_itself_is_no_run_of_its_own() -> None:
    log = RawLog()
    for forked in (False, True):
        log.add(
            NODE,
            ProcessEvent(
                ts=at(1), action="exit", pid=9, ppid=1, uid=0, exec_id=f"{forked}", comm="python3",
                cgroup="/user.slice", exit_code=1, forked=forked,
            ),
        )  # fmt: skip
    log.progress(NODE, "process", 60)
    run = process(log.messages())
    assert [line["purpose"] for line in of_kind(run, "process")] == ["run", "other"]
    row = run.row(kind="process", scope="node")
    assert (row["exits"], row["failures"], row["runs"]) == (2, 2, 1)


def test_a_pid_that_was_used_again_is_not_confused() -> None:
    log = RawLog()
    log.add(NODE, execed(1, "old", pid=50, cgroup="/user.slice"))
    log.add(NODE, execed(2, "old", pid=50, cgroup="/user.slice", action="exit", exit_code=0))
    log.add(NODE, execed(5, "new", pid=50, cgroup="/user.slice"))
    for seconds in (1.5, 3, 6):
        log.add(
            NODE, FileEvent(ts=at(seconds), action="modified", path="/x", size=1, writer_pid=50)
        )
    lines = of_kind(process(log.messages()), "file")
    assert [line["writer_exec_id"] for line in lines] == ["old", "old", "new"]


def test_a_file_waits_for_its_writer_to_be_told() -> None:
    log = RawLog()
    log.progress(NODE, "process", 0.5)
    log.add(NODE, FileEvent(ts=at(1), action="created", path="/x", size=1, writer_pid=50))
    log.add(NODE, execed(0.9, "writer", pid=50, cgroup="/user.slice"))
    log.progress(NODE, "process", 1.5)
    (line,) = of_kind(process(log.messages()), "file")
    assert line["writer_exec_id"] == "writer"


def test_a_writer_that_nobody_saw_is_not_waited_for_beyond_the_process_producers_word() -> None:
    log = RawLog()
    log.add(NODE, FileEvent(ts=at(1), action="created", path="/x", size=1, writer_pid=50))
    log.progress(NODE, "process", 1.5)
    (line,) = of_kind(process(log.messages()), "file")
    assert "writer_exec_id" not in line


def test_files_in_a_pods_volume_belong_to_the_pod() -> None:
    path = f"/var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~empty-dir/d/x"
    log = RawLog()
    log.add(NODE, pod(0))
    log.add(NODE, FileEvent(ts=at(1), action="created", path=path, size=1))
    log.add(
        NODE,
        SnapshotEvent(ts=at(1), path=path, hash="h", size=1, encoding="utf-8", content="x"),
    )
    run = process(log.messages())
    assert of_kind(run, "file")[0]["pod"] == of_kind(run, "snapshot")[0]["pod"] == "web-0"


@pytest.mark.parametrize(
    ("steps", "deltas"),
    [
        ([("found", 10, 1), ("modified", 15, 3)], [(None, None), (5, 2)]),
        ([("created", 10, 1), ("modified", 4, 1)], [(10, 1), (-6, 0)]),
        ([("created", 10, 1), ("deleted", None, None)], [(10, 1), (-10, -1)]),
        ([("modified", 10, 1), ("created", 3, 1)], [(None, None), (-7, 0)]),
        ([("found", 10, None), ("modified", 12, 2)], [(None, None), (2, None)]),
        ([("deleted", None, None)], [(None, None)]),
    ],
)
def test_saves_say_by_how_much_a_file_grew(
    steps: list[tuple[Any, int | None, int | None]], deltas: list[tuple[int | None, int | None]]
) -> None:
    log = RawLog()
    for second, (action, size, lines) in enumerate(steps):
        log.add(NODE, FileEvent(ts=at(second), action=action, path="/x", size=size, lines=lines))
    found = of_kind(process(log.messages()), "file")
    assert [(line.get("size_delta"), line.get("lines_delta")) for line in found] == deltas


def test_a_moved_file_keeps_its_size_and_takes_the_place_of_another() -> None:
    log = RawLog()
    log.add(NODE, FileEvent(ts=at(0), action="created", path="/a", size=10))
    log.add(NODE, FileEvent(ts=at(1), action="created", path="/b", size=3))
    log.add(NODE, FileEvent(ts=at(2), action="moved", path="/b", old_path="/a", size=10))
    log.add(NODE, FileEvent(ts=at(3), action="deleted", path="/b"))
    found = of_kind(process(log.messages()), "file")
    assert [line["size_delta"] for line in found] == [10, 3, -3, -10]


def test_what_a_build_starts_is_tied_to_it() -> None:
    host = {"cgroup": "/user.slice"}
    log = RawLog()
    make = execed(1, "make", pid=10, exe="/usr/bin/make", argv=["make"], **host)
    log.add(NODE, make)
    for number, name in enumerate(("gcc-a", "gcc-b")):
        child = {"ppid": 10, "parent_exec_id": "make", **host}
        gcc = {"exe": "/usr/bin/gcc", "argv": ["gcc", f"{number}.c"], "pid": 20 + number}
        log.add(NODE, execed(2, name, **gcc, **child))
        below = {"ppid": 20 + number, "parent_exec_id": name, "pid": 30 + number, **host}
        log.add(NODE, execed(3, f"as-{name}", exe="/usr/bin/as", argv=["as", "x.s"], **below))
        log.add(
            NODE,
            execed(4, name, action="exit", exit_code=0, **gcc, **child),
        )
    lines = of_kind(process(log.messages()), "process")
    assert {line["build_id"] for line in lines} == {"make"}
    assert [line["purpose"] for line in lines] == [
        "build", "build", "other", "build", "build", "other", "build",
    ]  # fmt: skip


def test_a_line_that_brings_what_only_a_worker_adds_is_refused_alone() -> None:
    log = RawLog()
    for number in range(3):
        log.add(NODE, execed(number, f"p{number}", cgroup="/user.slice", pid=number))
    (raw,) = log.messages()
    lines = raw.payload.splitlines()
    for field in (b'"student":"me"', b'"class":"user"', b'"log_offset":3', b'"resolved":null'):
        lines[1] = lines[1][:-1] + b"," + field + b"}"
        raw.payload = b"\n".join(lines) + b"\n"
        run = process([raw])
        assert [line["exec_id"] for line in of_kind(run, "process")] == ["p0", "p2"]
        (letter,) = run.lines("dead.")
        assert (letter["reason"], letter["seq"], letter["log_line"]) == ("bad_line", 1, 1)
        lines[1] = lines[1][: -len(field) - 2] + b"}"


def test_the_result_is_the_same_for_every_restart_and_batch_size() -> None:
    log = RawLog()
    log.add(NODE, pod(0, containers=[]))
    for number in range(60):
        known = number % 3
        cgroup = [CGROUP, "/user.slice", f"/kubepods/pod{UID[:-1]}{number % 10}/{CONTAINER}"][known]
        log.add(NODE, execed(number / 4, f"p{number}", pid=number % 7, cgroup=cgroup))
        log.add(
            NODE,
            FileEvent(
                ts=at(number / 4), action="modified", path=f"/hw{number % 5}/x",
                size=number * 7 % 50, writer_pid=number % 9,
            ),
        )  # fmt: skip
        if number % 4 == 0:
            log.progress(NODE, "process", number / 4)
        if number == 20:
            log.add(NODE, pod(5))
    log.progress(NODE, "process", 60)

    def result(batch: int, **options: Any) -> list[dict[str, Any]]:
        run = process(log.messages(batch), rules=RULES, **options)
        lines = [line for kind in ("process", "file") for line in of_kind(run, kind)]
        assert len(lines) == 120
        for line in lines:
            del line["log_offset"], line["log_line"]
        return sorted(lines, key=lambda line: (line["ts"], "path" in line, line["seq"]))

    plain = result(1)
    assert {bool(line.get("resolved")) for line in plain} == {True, False}
    assert result(1, restart=lambda offset: True, commit_every=1) == plain
    assert result(1, restart=lambda offset: offset % 11 == 3) == plain
    assert result(64, restart=lambda offset: offset % 5 == 2, commit_every=3) == plain


def test_other_rules_take_effect_at_a_commit_and_a_crash_repeats_with_the_rules_of_then() -> None:
    other = parse_rules(RULES.text.replace("jcode-", "ide-"), "other")
    student = execed(0, cgroup="/user.slice", hostname="jcode-os-1-2020")
    log = RawLog()
    log.add(NODE, student)
    (raw,) = log.messages()
    store = MemoryStore()
    processor = Processor(0, store, rules=RULES)
    store.commit()
    after_a_restart_with_a_new_file = Processor(0, MemoryStore(store.committed), rules=other)
    (again,) = after_a_restart_with_a_new_file.process(raw.key, raw.headers, raw.payload, 1)
    assert again.headers["Tenwatch-Rules"] == RULES.version
    assert b'"student":"2020"' in again.payload
    processor.use_rules(other)
    store.commit()
    later = Processor(0, MemoryStore(store.committed), rules=RULES)
    (message,) = later.process(raw.key, raw.headers, raw.payload, 1)
    assert message.headers["Tenwatch-Rules"] == other.version
    assert b'"student"' not in message.payload
