"""loadgen says exactly what the store must hold, and the buckets must add up to."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tenwatch.errors import UsageError
from tenwatch.loadgen.node import Message
from tenwatch.loadgen.run import DEFAULT_MIX, Load, LoadOptions, parse_mix
from tests.support.instance import RunningInstance
from tests.support.polling import eventually_sync
from tests.support.program import run_program

TABLES = {
    "process": "process_events", "file": "file_events", "hostpath": "hostpath_events",
    "cgroup": "cgroup_samples", "pod": "pod_events", "progress": "progress",
}  # fmt: skip


def of_load(prefix: str) -> str:
    assert prefix.replace("-", "").isalnum()
    return f"startsWith(node, '{prefix}-')"


def buckets(instance: RunningInstance, prefix: str, report: dict[str, Any]) -> dict[str, Any]:
    """The sums that the report speaks of, from the last rows of the buckets."""
    found: dict[str, Any] = {}
    for kind, sums in report["expected"].items():
        found[kind] = {}
        for metric in sums:
            scope, column = ("pod", "cpu_us") if metric == "pods_cpu_us" else ("node", metric)
            sql = (
                f"SELECT sum({column}) AS n FROM tenwatch.buckets_by_node WHERE kind = '{kind}' "
                f"AND scope = '{scope}' AND {of_load(prefix)}"
            )
            found[kind][metric] = int(instance.sql(sql)[0]["n"] or 0)
    return found


def test_the_store_and_the_buckets_hold_exactly_what_it_says(shared: RunningInstance) -> None:
    # A slow simulated rate, so that it spans several windows and samples.
    report = run_program(
        "loadgen", "--nodes", "2", "--events", "1501", "--node-rate", "30", "--batch", "20",
        "--prefix", "exact", data=shared.data,
    ).json  # fmt: skip
    assert sum(report["events"][kind] for kind in DEFAULT_MIX) == 1501
    assert report["events"]["cgroup"] > 40

    def stored() -> bool:
        for kind, count in report["events"].items():
            sql = f"SELECT count() AS n FROM tenwatch.{TABLES[kind]} WHERE {of_load('exact')}"
            assert int(shared.sql(sql)[0]["n"]) == count, kind
        return True

    eventually_sync(stored, deadline=60, what="every event is stored", interval=0.5)

    def counted() -> bool:
        assert buckets(shared, "exact", report) == report["expected"]
        return True

    eventually_sync(counted, deadline=60, what="the buckets add up", interval=0.5)
    left = shared.sql(
        f"SELECT count() AS n FROM tenwatch.process_events WHERE {of_load('exact')} "
        "AND (namespace != 'load' OR workload_kind != 'Deployment' OR NOT resolved)"
    )
    assert int(left[0]["n"]) == 0, "every process was joined to its pod"
    audit = run_program("audit", "--node", "exact-1", "--rows", "--json", data=shared.data).json
    assert audit["totals"]["dead"] == audit["totals"]["lost"] == 0


def test_a_rate_is_kept_and_its_events_are_of_now(shared: RunningInstance) -> None:
    report = run_program(
        "loadgen", "--nodes", "1", "--events", "60", "--rate", "30", "--prefix", "paced",
        data=shared.data,
    ).json  # fmt: skip
    assert report["seconds"] >= 2.0
    assert sum(report["events"][kind] for kind in DEFAULT_MIX) == 60

    def counted() -> bool:
        assert buckets(shared, "paced", report) == report["expected"]
        return True

    eventually_sync(counted, deadline=60, what="the buckets add up", interval=0.5)


def generated(seed: int, **changes: Any) -> tuple[list[Message], dict[str, Any]]:
    options = LoadOptions(
        nodes=2, prefix="n", events=2000, rate=None, node_rate=200, seed=seed, pods=3, batch=64,
        **changes,
    )  # fmt: skip

    async def all_of_it() -> tuple[list[Message], dict[str, Any]]:
        load = Load(options, now=1_800_000_000_000_000)
        messages = [message async for message in load.messages()]
        return [
            (subject, headers, payload.replace(load.boot.encode(), b"BOOT"), events)
            for subject, headers, payload, events in messages
        ], load.report().as_dict() | {"boot": "", "by_node": {}}

    return asyncio.run(all_of_it())


def test_the_same_seed_gives_the_same_load_and_another_one_another() -> None:
    first, report = generated(7)
    again, same = generated(7)
    assert [m[2] for m in first] == [m[2] for m in again]
    assert report == same
    assert [m[2] for m in generated(8)[0]] != [m[2] for m in first]


def test_shares_are_kept_over_the_whole_load() -> None:
    _, report = generated(1, mix=parse_mix("process=50,file=40,hostpath=10"))
    assert report["events"]["file"] == pytest.approx(800, abs=2)
    assert report["events"]["hostpath"] == pytest.approx(200, abs=2)
    for text in ("disk=3", "process", "process=x", "process=0", "process=-1"):
        with pytest.raises(UsageError):
            parse_mix(text)


def test_without_an_instance_it_says_so(tmp_path: Path) -> None:
    ran = run_program("loadgen", data=tmp_path / "none", code=3)
    assert "tenwatch up" in ran.err
