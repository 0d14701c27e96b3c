"""Roll-ups equal what the last final rows say, however often and late they are made."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sinks.maintenance import rollups
from sinks.maintenance.rollups import HOUR, MINUTE, roll_up
from sinks.store.client import Store

HOUR_START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def make_rows(versions: int) -> list[dict[str, Any]]:
    dice = random.Random(5)
    rows = []
    for number in range(90):
        start = HOUR_START + timedelta(seconds=10 * number + 3000)
        for node in ("n1", "n2"):
            for version in range(1, versions + 1):
                cpu = dice.randrange(10_000_000)
                rows.append(
                    {
                        "kind": "cgroup", "scope": "namespace", "node": node, "namespace": "shop",
                        "window_start": text(start),
                        "window_end": text(start + timedelta(seconds=10)),
                        "final": version > 1, "version": version * 2, "samples": 1 + number % 3,
                        "late": version // 3, "cpu_us": cpu, "measured_us": 9_000_000 + number,
                        "memory_bytes_last": dice.randrange(1000),
                        "memory_bytes_mean": dice.random() * 1000,
                        "memory_bytes_max": dice.randrange(1000), "io_read_bytes": number,
                    }
                )  # fmt: skip
    return rows


def expected(rows: list[dict[str, Any]], seconds: int) -> dict[tuple[int, str], dict[str, Any]]:
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["node"], row["window_start"])
        if key not in last or row["version"] > last[key]["version"]:
            last[key] = row
    longer: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in last.values():
        if row["final"]:
            moment = int(datetime.fromisoformat(row["window_start"]).timestamp())
            longer.setdefault((moment // seconds * seconds, row["node"]), []).append(row)
    out = {}
    for key, mine in longer.items():
        mine.sort(key=lambda row: str(row["window_start"]))
        samples = sum(row["samples"] for row in mine)
        out[key] = {
            "cpu_us": sum(row["cpu_us"] for row in mine),
            "cpu_millicores": pytest.approx(
                1000 * sum(row["cpu_us"] for row in mine) / sum(row["measured_us"] for row in mine)
            ),
            "memory_bytes_last": mine[-1]["memory_bytes_last"],
            "memory_bytes_mean": pytest.approx(
                sum(row["memory_bytes_mean"] * row["samples"] for row in mine) / samples
            ),
            "memory_bytes_max": max(row["memory_bytes_max"] for row in mine),
            "io_read_bytes": sum(row["io_read_bytes"] for row in mine),
            "samples": samples,
            "late": sum(row["late"] for row in mine),
            "net_rx_bytes": None,
        }
    return out


def rolled(store: Store, table: str) -> dict[tuple[int, str], dict[str, Any]]:
    return {
        (int(row.pop("start")), row.pop("node")): row
        for row in store.writer.dictionaries(
            "SELECT toUnixTimestamp(window_start) AS start, node, cpu_us, cpu_millicores, "
            "memory_bytes_last, memory_bytes_mean, memory_bytes_max, io_read_bytes, samples, late, "
            f"net_rx_bytes FROM tenwatch.{table} FINAL"
        )
    }


@pytest.mark.parametrize(("target", "seconds"), [(MINUTE, 60), (HOUR, 3600)])
def test_roll_ups_follow_corrections_and_never_count_twice(
    store: Store, insert: Any, target: rollups.Target, seconds: int
) -> None:
    insert("buckets_10s", make_rows(1))
    assert roll_up(store, store.writer, target) == 0, "no row is final yet"
    insert("buckets_10s", make_rows(2))
    assert roll_up(store, store.writer, target) > 0
    assert rolled(store, target.table) == expected(make_rows(2), seconds)
    insert("buckets_10s", make_rows(3))
    roll_up(store, store.writer, target)
    roll_up(store, store.writer, target)
    assert rolled(store, target.table) == expected(make_rows(3), seconds)


def test_only_windows_with_new_rows_are_made_anew(
    store: Store, insert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(2)
    insert("buckets_10s", rows)
    assert roll_up(store, store.writer, MINUTE) == 15
    monkeypatch.setattr(rollups, "SLACK_SECONDS", 0)
    assert roll_up(store, store.writer, MINUTE) == 0
    insert("buckets_10s", [rows[-1] | {"version": 99, "cpu_us": 1}])
    assert roll_up(store, store.writer, MINUTE) == 1
    (last,) = [row for key, row in rolled(store, "buckets_1m").items() if key[1] == "n2"][-1:]
    assert last["late"] == 0


def test_the_view_of_minutes_adds_nodes_up(store: Store, insert: Any) -> None:
    insert("buckets_10s", make_rows(2))
    roll_up(store, store.writer, MINUTE)
    parts = expected(make_rows(2), 60)
    for start, node, cpu in store.writer.rows(
        "SELECT toUnixTimestamp(window_start), node, cpu_us FROM tenwatch.buckets_minutes "
        "WHERE scope = 'namespace'"
    ):
        assert node == "__all__"
        assert cpu == parts[start, "n1"]["cpu_us"] + parts[start, "n2"]["cpu_us"]
