"""Which rows an event counts in, and that parts add up to the whole."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream.contract.kinds.file import FileEvent
from stream.contract.kinds.hostpath import HostPathEntry, HostPathEvent
from stream.contract.kinds.pod import PodContainer, PodEvent
from stream.contract.kinds.process import ProcessEvent
from stream.contract.kinds.snapshot import SnapshotEvent
from stream.enrichment.identity import parse_rules
from tests.support.raw_log import RawLog, Run, at, process

NODE = "node-a"
UIDS = [f"3f1d2c4b-0a1b-4c2d-8e3f-00112233445{n}" for n in range(4)]
RULES = parse_rules(
    """
rules:
  - {field: hostname, pattern: '^ide-(?P<course>\\w+)-(?P<division>\\w+)-(?P<student>\\w+)$'}
  - {field: [cwd, path], pattern: '/(?P<assignment>hw\\d+)/'}
""",
    "rules",
)


def with_pods() -> RawLog:
    log = RawLog()
    for number, uid in enumerate(UIDS):
        log.add(
            NODE,
            PodEvent(
                ts=at(0), action="observed", pod_uid=uid, pod=f"pod-{number}",
                namespace=f"ns-{number // 2}", workload_kind="Deployment",
                workload=f"app-{number // 2}",
                containers=[PodContainer(name="main", container_id=f"{number}" * 64)],
            ),
        )  # fmt: skip
    return log


def run_in(pod: int | None, **fields: Any) -> ProcessEvent:
    cgroup = "/user.slice" if pod is None else f"/kubepods/pod{UIDS[pod]}/{f'{pod}' * 64}"
    values: dict[str, Any] = {
        "action": "exec", "pid": 1, "ppid": 0, "uid": 0, "exec_id": "e", "comm": "x",
        "exe": "/usr/bin/ls", "cgroup": cgroup,
    }  # fmt: skip
    return ProcessEvent(ts=at(1), **{**values, **fields})


def finished(log: RawLog) -> Run:
    for kind in ("process", "file", "hostpath", "snapshot"):
        log.progress(NODE, kind, 60)
    return process(log.messages(), rules=RULES)


def samples(run: Run, kind: str = "process") -> dict[tuple[str, str], int]:
    names = ("container", "pod", "workload", "assignment", "student", "namespace")
    return {
        (row["scope"], next((row[name] for name in names if name in row), "")): row["samples"]
        for row in run.last_rows().values()
        if row["kind"] == kind
    }


def test_an_event_in_a_pod_counts_in_every_row_it_belongs_to() -> None:
    log = with_pods()
    log.add(NODE, run_in(0))
    assert samples(finished(log)) == {
        ("container", "main"): 1, ("pod", "pod-0"): 1, ("workload", "app-0"): 1,
        ("namespace", "ns-0"): 1, ("node", ""): 1,
    }  # fmt: skip


def test_what_runs_outside_pods_counts_for_the_host() -> None:
    log = with_pods()
    log.add(NODE, run_in(None))
    log.add(NODE, run_in(None, cgroup=f"/docker/{'d' * 64}"))
    assert samples(finished(log)) == {("host", ""): 2, ("container", ""): 1, ("node", ""): 2}


def test_students_and_their_assignments_have_rows_wherever_they_work() -> None:
    log = with_pods()
    for pod in (0, 1):
        log.add(NODE, run_in(pod, hostname="ide-os-1-ann", cwd="/p/hw1/"))
    log.add(NODE, run_in(2, hostname="ide-os-1-ann", cwd="/p/hw21/x"))
    log.add(NODE, run_in(3, hostname="ide-os-1-bob", cwd="/p"))
    run = finished(log)
    rows = [row for row in run.last_rows().values() if row["scope"] in ("student", "assignment")]
    assert {
        (row["scope"], row["student"], row.get("assignment", "")): row["samples"] for row in rows
    } == {
        ("student", "ann", ""): 3, ("student", "bob", ""): 1,
        ("assignment", "ann", "hw1"): 2, ("assignment", "ann", "hw21"): 1,
    }  # fmt: skip
    assert all("pod" not in row and "namespace" not in row for row in rows)


@given(st.lists(st.sampled_from([None, 0, 1, 2, 3]), max_size=30))
def test_the_node_is_its_pods_and_the_host(pods: list[int | None]) -> None:
    log = with_pods()
    for pod in pods:
        log.add(NODE, run_in(pod))
    rows = [row for row in finished(log).last_rows().values() if row["kind"] == "process"]

    def total(scope: str) -> int:
        return sum(row["execs"] for row in rows if row["scope"] == scope)

    assert total("node") == len(pods) == total("pod") + total("host")
    assert total("pod") == total("container") == total("workload") == total("namespace")


def test_file_rows_say_what_was_touched_and_by_how_much_it_grew() -> None:
    log = with_pods()
    for second, (action, path, size) in enumerate(
        [("created", "/hw1/a", 10), ("modified", "/hw1/a", 4), ("deleted", "/hw1/a", None),
         ("found", "/hw1/b", 7), ("modified", "/hw1/b", 9)]
    ):  # fmt: skip
        log.add(
            NODE,
            FileEvent(ts=at(second), action=action, path=path, size=size),  # type: ignore[arg-type]
        )
    row = finished(log).row(kind="file", scope="node")
    wanted = {
        "creates": 1, "modifies": 2, "deletes": 1, "moves": 0, "found": 1, "files_touched": 2,
        "bytes_delta": 10 - 6 - 4 + 2, "bytes_changed": 10 + 6 + 4 + 2,
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted


def test_hostpath_rows_hold_what_all_known_folders_hold_after_the_last_listing() -> None:
    def listing(seconds: float, root: str, sizes: list[int], **more: Any) -> HostPathEvent:
        entries = [
            HostPathEntry(path=str(n), type="file", size=size) for n, size in enumerate(sizes)
        ]
        return HostPathEvent(ts=at(seconds), action="listing", root=root, entries=entries, **more)

    log = with_pods()
    log.add(NODE, listing(1, "/a", [1, 2]))
    log.add(NODE, listing(2, "/b", [5], part=0, parts=2))
    log.add(NODE, listing(3, "/b", [7, 8], part=1, parts=2))
    log.add(NODE, HostPathEvent(ts=at(4), action="appeared", root="/b", path="x"))
    log.add(NODE, listing(12, "/a", [], missing=True))
    run = finished(log)
    first, second = (
        row
        for row in run.last_rows().values()
        if (row["kind"], row["scope"]) == ("hostpath", "node")
    )
    assert (first["entries"], first["entries_bytes"], first["appeared"]) == (5, 23, 1)
    assert (second["entries"], second["entries_bytes"]) == (3, 20)
    assert first["samples"] == 4


def test_snapshot_rows_count_contents_and_bytes() -> None:
    log = with_pods()
    for size in (3, 4):
        log.add(
            NODE,
            SnapshotEvent(
                ts=at(1), path="/x", hash="h", size=size, encoding="utf-8", content="x" * size
            ),
        )
    row = finished(log).row(kind="snapshot", scope="node")
    assert (row["snapshots"], row["snapshot_bytes"]) == (2, 7)
