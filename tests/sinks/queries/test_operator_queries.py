"""What operators ask, each answer computed a second way, in Python, from the same rows."""

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sinks.queries import named_queries, named_query
from sinks.store.client import Store

Row = dict[str, Any]
Ask = Callable[..., list[dict[str, Any]]]
WINDOW = timedelta(seconds=10)
NOW = datetime.now(UTC).replace(microsecond=0)
LAST = datetime.fromtimestamp(int(NOW.timestamp()) // 10 * 10, UTC)
COUNT = 40
PODS = [
    {"node": "n1", "namespace": "shop", "pod": "web-1", "pod_uid": "u1",
     "workload_kind": "Deployment", "workload": "web"},
    {"node": "n2", "namespace": "shop", "pod": "web-2", "pod_uid": "u2",
     "workload_kind": "Deployment", "workload": "web"},
    {"node": "n2", "namespace": "data", "pod": "db-0", "pod_uid": "u3",
     "workload_kind": "StatefulSet", "workload": "db"},
]  # fmt: skip


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def make_buckets() -> list[Row]:
    """What workers publish: parts of each node, a provisional row before most final ones."""
    dice = random.Random(3)
    rows: list[Row] = []

    def row(start: datetime, scope: str, metrics: Row, **key: str) -> None:
        whole = {
            "kind": "cgroup", "scope": scope, "window_start": text(start)[:19] + "Z",
            "window_end": text(start + WINDOW)[:19] + "Z", "samples": 2, **key,
        }  # fmt: skip
        base = int(start.timestamp()) * 10
        if dice.random() < 0.7:
            rows.append(whole | dict.fromkeys(metrics, 1) | {"version": base})
        rows.append(whole | metrics | {"version": base + 2, "final": start < LAST})

    for number in range(COUNT):
        start = LAST - number * WINDOW
        used: dict[str, list[Row]] = defaultdict(list)
        for pod in PODS:
            used[pod["node"]].append(pod | {"metrics": measured(dice)})
            row(start, "pod", used[pod["node"]][-1]["metrics"], **pod)
        for node, pods in used.items():
            host = measured(dice)
            row(start, "host", host, node=node)
            row(start, "node", total([host, *(pod["metrics"] for pod in pods)]), node=node)
            for namespace in {pod["namespace"] for pod in pods}:
                parts = [p["metrics"] for p in pods if p["namespace"] == namespace]
                row(start, "namespace", total(parts), node=node, namespace=namespace)
    return rows


def measured(dice: random.Random) -> Row:
    cpu = dice.randrange(10_000_000)
    return {
        "cpu_us": cpu, "measured_us": 10_000_000, "cpu_millicores": cpu / 10_000,
        "memory_bytes_last": dice.randrange(1 << 30), "memory_bytes_max": dice.randrange(1 << 31),
        "io_read_bytes": dice.randrange(1 << 20), "io_write_bytes": dice.randrange(1 << 20),
        "net_rx_bytes": dice.randrange(1 << 20), "net_tx_bytes": dice.randrange(1 << 20),
    }  # fmt: skip


def total(parts: list[Row]) -> Row:
    summed = {name: sum(part[name] for part in parts) for name in parts[0]}
    return summed | {"measured_us": 10_000_000}


def newest(rows: list[Row], scope: str) -> list[Row]:
    """The last version of each row of a scope."""
    last: dict[tuple[str, ...], Row] = {}
    for row in rows:
        if row["scope"] == scope:
            key = (row["node"], row.get("namespace", ""), row.get("pod", ""), row["window_start"])
            if key not in last or row["version"] > last[key]["version"]:
                last[key] = row
    return list(last.values())


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_buckets()


def event(seq: int, at: datetime, **fields: Any) -> Row:
    return {"ts": text(at), "node": "n1", "boot": "b", "seq": seq, **fields}


@pytest.fixture(scope="module")
def ask(shared_store: Store, shared_insert: Any, rows: list[Row]) -> Ask:
    shared_insert("buckets_10s", rows)
    shared_insert("pod_events", pods())
    shared_insert("hostpath_events", hostpaths())
    shared_insert("progress", progress())
    shared_insert("losses", losses())
    shared_insert("process_events", processes())
    shared_insert("file_events", files())
    shared_insert("snapshot_events", snapshots())

    def ask(name: str, **values: str) -> list[Row]:
        query = named_query(name)
        return shared_store.writer.dictionaries(query.sql, query.bind(values))

    return ask


def pods() -> list[Row]:
    observed = [
        event(n, NOW - timedelta(minutes=9), action="observed", phase="Running", **pod)
        for n, pod in enumerate(PODS)
    ]
    gone = event(9, NOW - timedelta(minutes=5), action="observed", pod_uid="u9", namespace="shop",
                 pod="old", workload="old", workload_kind="Job")  # fmt: skip
    return [*observed, gone, gone | {"seq": 10, "action": "deleted", "ts": text(NOW)}]


def hostpaths() -> list[Row]:
    base = NOW - timedelta(hours=3)
    listed = [{"path": name, "type": "file", "size": 10, "mode": 420} for name in "abc"]
    found = [
        event(0, base, action="listing", entries=listed[:2], part=0, parts=2),
        event(1, base, action="listing", entries=listed[2:], part=1, parts=2),
        event(2, base + timedelta(minutes=1), action="appeared", path="d", type="file", size=5),
        event(3, base + timedelta(minutes=2), action="vanished", path="a"),
        event(4, base + timedelta(minutes=3), action="changed", path="b", type="file", size=99),
        # A listing of which only one part has come is no listing yet.
        event(5, base + timedelta(minutes=4), action="listing", entries=listed[:1], parts=2),
    ]
    return [each | {"root": "/data"} for each in found]


def progress() -> list[Row]:
    def record(seq: int, at: datetime, **fields: Any) -> Row:
        return event(
            seq, at, producer="process", watermark=text(at), next_seq=seq, seen=seq + 7,
            filtered=5, emitted=seq, lost=2, **fields,
        )  # fmt: skip

    # Ahead of the clock, since other tests run before it is asked.
    soon = datetime.now(UTC) + timedelta(seconds=120)
    alive = [record(seq, soon + timedelta(seconds=seq)) for seq in range(5)]
    dead = [record(1, NOW - timedelta(minutes=2), degraded=["no BPF"]) | {"node": "n2"}]
    closed = [record(3, NOW, closing=True) | {"node": "n3"}]
    return alive + dead + closed


def losses() -> list[Row]:
    base = NOW - timedelta(minutes=30)
    return [
        event(0, base, stage="kernel", kind="process", reason="ring_full", count=12),
        event(1, base, stage="spool", kind="file", reason="spool_full", count=3,
              lost_boot="other", first_seq=4, last_seq=6),
        event(2, base, stage="kernel", kind="file", reason="producer_down"),
    ]  # fmt: skip


def processes() -> list[Row]:
    kill = LAST - 20 * WINDOW
    common = {"pid": 1, "ppid": 0, "uid": 0, "comm": "x", "container_id": "c1", "pod": "web-1",
              "namespace": "shop", "container": "app"}  # fmt: skip

    def exit_(seq: int, began: datetime, ended: datetime, name: str) -> Row:
        return event(
            seq, ended, action="exit", start_ts=text(began), exec_id=name, exe=name, argv=[name],
            exit_code=0, **common | {"pid": seq},
        )  # fmt: skip

    second = timedelta(seconds=1)
    return [
        exit_(1, kill - 300 * second, kill - 200 * second, "long-before"),
        exit_(2, kill - 90 * second, kill - 30 * second, "just-before"),
        exit_(3, kill - 5 * second, kill + 3 * second, "victim"),
        exit_(4, kill + 60 * second, kill + 70 * second, "after"),
        event(5, kill - 600 * second, action="exec", exec_id="init", exe="init", argv=["init"],
              start_ts=text(kill - 600 * second), **common | {"pid": 5}),
    ]  # fmt: skip


def files() -> list[Row]:
    base = NOW - timedelta(minutes=20)
    path = "/w/main.c"
    return [
        event(0, base, action="created", path=path, size=3, writer_pid=2,
              writer_exec_id="just-before"),
        event(1, base + timedelta(seconds=9), action="modified", path=path, size=4, writer_pid=77),
        event(2, base + timedelta(seconds=19), action="deleted", path=path),
    ]  # fmt: skip


def snapshots() -> list[Row]:
    base = NOW - timedelta(minutes=20)
    return [
        event(n, base + timedelta(seconds=9 * n), path="/w/main.c", hash=f"blake2b:{n}", size=3 + n,
              encoding="utf-8", content=f"v{n}\n")
        for n in range(2)
    ]  # fmt: skip


@pytest.mark.parametrize("scope", ["node", "pod", "namespace", "cluster"])
def test_13_use_of_everything_over_the_last_seconds(ask: Ask, rows: list[Row], scope: str) -> None:
    # Some windows more than asked for, since the clock goes on while the test runs.
    found = ask("usage", scope=scope, window="10000")
    parts = newest(rows, "node" if scope == "cluster" else scope)
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in parts:
        node = "__all__" if scope in ("namespace", "cluster") else row["node"]
        groups[node, row.get("namespace", ""), row.get("pod", "")].append(row)
    assert {(r["node"], r["namespace"], r["pod"]) for r in found} == set(groups)
    for row in found:
        mine = groups[row["node"], row["namespace"], row["pod"]]
        assert row["io_read_bytes"] == sum(each["io_read_bytes"] for each in mine)
        cpu = sum(each["cpu_us"] for each in mine)
        assert row["cpu_millicores"] == pytest.approx(1000 * cpu / (COUNT * 10_000_000))
        last = [r for r in mine if r["window_start"] == text(LAST)[:19] + "Z"]
        assert row["memory_bytes"] == sum(each["memory_bytes_last"] for each in last)


def test_13_a_series_of_one_pod(ask: Ask, rows: list[Row]) -> None:
    since = LAST - 10 * WINDOW
    found = ask("usage_series", scope="pod", pod="db-0", since=since.isoformat(),
                until=LAST.isoformat())  # fmt: skip
    mine = sorted(
        (row for row in newest(rows, "pod") if row["pod"] == "db-0"),
        key=lambda row: str(row["window_start"]),
    )[-11:-1]
    assert [(row["window_start"], row["cpu_millicores"], row["final"]) for row in found] == [
        (datetime.fromisoformat(row["window_start"]), row["cpu_millicores"], True) for row in mine
    ]


def test_14_pods_of_a_namespace_with_their_use(ask: Ask, rows: list[Row]) -> None:
    found = ask("pods", namespace="shop", window="10000")
    assert [row["pod"] for row in found] == ["web-1", "web-2"]
    for row in found:
        cpu = sum(r["cpu_us"] for r in newest(rows, "pod") if r["pod"] == row["pod"])
        assert row["cpu_millicores"] == pytest.approx(1000 * cpu / (COUNT * 10_000_000))
    shown = ask("pods", namespace="shop", all="true")
    assert [(row["pod"], row["running"]) for row in shown] == [
        ("old", False), ("web-1", True), ("web-2", True),
    ]  # fmt: skip
    assert [row["pod"] for row in ask("pods", workload="db")] == ["db-0"]


def test_15_what_exists(ask: Ask) -> None:
    rows = ask("inventory")
    found = {(row["what"], row["namespace"], row["name"]): row["pods"] for row in rows}
    assert list(found) == sorted(found)
    assert found == {
        ("node", "", "n1"): 1, ("node", "", "n2"): 2, ("node", "", "n3"): 0,
        ("namespace", "shop", "shop"): 2, ("namespace", "data", "data"): 1,
        ("workload", "shop", "web"): 2, ("workload", "data", "db"): 1,
        ("workload", "shop", "old"): 0,
    }  # fmt: skip


def test_16_the_host_beside_its_pods(ask: Ask, rows: list[Row]) -> None:
    found = {row["node"]: row for row in ask("host_and_pods", window="10000")}
    assert set(found) == {"n1", "n2"}
    for node, row in found.items():
        host = sum(r["cpu_us"] for r in newest(rows, "host") if r["node"] == node)
        pods_ = sum(r["cpu_us"] for r in newest(rows, "pod") if r["node"] == node)
        assert row["host_cpu_millicores"] == pytest.approx(1000 * host / (COUNT * 10_000_000))
        assert row["pods_cpu_millicores"] == pytest.approx(1000 * pods_ / (COUNT * 10_000_000))
        assert row["node_cpu_millicores"] == pytest.approx(
            row["host_cpu_millicores"] + row["pods_cpu_millicores"]
        )


def test_17_a_folder_of_a_node_at_a_time(ask: Ask) -> None:
    def lay(at: str) -> dict[str, int]:
        return {r["path"]: r["size"] for r in ask("hostpath_at", node="n1", root="/data", at=at)}

    base = NOW - timedelta(hours=3)
    assert lay((base - timedelta(seconds=1)).isoformat()) == {}
    assert lay(base.isoformat()) == {"a": 10, "b": 10, "c": 10}
    assert lay((base + timedelta(seconds=61)).isoformat()) == {"a": 10, "b": 10, "c": 10, "d": 5}
    assert lay("now") == {"b": 99, "c": 10, "d": 5}
    changes = ask("hostpath_changes", node="n1")
    assert [(row["path"], row["action"]) for row in changes] == [
        ("d", "appeared"), ("a", "vanished"), ("b", "changed"),
    ]  # fmt: skip


def test_18_collectors_and_losses(ask: Ask) -> None:
    found = {row["node"]: row for row in ask("collectors")}
    assert {node: (row["alive"], row["closed"]) for node, row in found.items()} == {
        "n1": (True, False), "n2": (False, False), "n3": (False, True),
    }  # fmt: skip
    assert found["n1"]["emitted"] == 4
    assert found["n2"]["degraded"] == ["no BPF"]
    lost = [(r["kind"], r["reason"], r["count"], r["boot"], r["first_seq"]) for r in ask("losses")]
    assert sorted(lost, key=str) == [
        ("file", "producer_down", None, "b", None),
        ("file", "spool_full", 3, "other", 4),
        ("process", "ring_full", 12, "b", None),
    ]


def test_19_who_wrote_a_file(ask: Ask) -> None:
    found = ask("file_writers", path="/w/main.c")
    assert [(r["action"], r["writer_pid"], r["exe"]) for r in found] == [
        ("created", 2, "just-before"), ("modified", 77, None), ("deleted", None, None),
    ]  # fmt: skip


def test_19_what_ran_before_the_kernel_killed(
    ask: Ask, shared_store: Store, shared_insert: Any
) -> None:
    kill = LAST - 20 * WINDOW
    shared_insert("buckets_10s", [{
        "kind": "cgroup", "scope": "container", **PODS[0], "container": "app", "container_id": "c1",
        "window_start": text(kill)[:19] + "Z", "window_end": text(kill + WINDOW)[:19] + "Z",
        "final": True, "version": 5, "samples": 2, "oom_kills": 1,
    }])  # fmt: skip
    found = ask("before_oom")
    assert [row["exe"] for row in found] == ["init", "just-before", "victim"]
    assert {row["container"] for row in found} == {"app"}


def test_5_content_of_a_file_at_a_time(ask: Ask) -> None:
    base = NOW - timedelta(minutes=20)

    def at(seconds: int) -> Any:
        found = ask(
            "snapshot_at", path="/w/main.c", at=(base + timedelta(seconds=seconds)).isoformat()
        )
        return [(row["content"], row["deleted_ts"] is not None) for row in found]

    assert at(-1) == []
    assert at(0) == [("v0\n", False)]
    assert at(10) == [("v1\n", False)]
    assert at(30) == [("v1\n", True)]
    versions = ask("snapshot_versions", path="/w/main.c")
    assert [(row["what"], row["size"]) for row in versions] == [
        ("content", 3), ("content", 4), ("deleted", 0),
    ]  # fmt: skip


def test_every_question_has_a_query_and_every_parameter_its_default_works(
    ask: Ask,
) -> None:
    assert {number for query in named_queries().values() for number in query.questions} == set(
        range(1, 20)
    )
    for name, query in named_queries().items():
        required = {each.name: "x" for each in query.parameters if each.default is None}
        ask(name, **required)
