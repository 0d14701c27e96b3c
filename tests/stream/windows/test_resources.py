"""Resource buckets: increases of counters over measured time, gauges, and sums over pods."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.contract.bucket_metrics import BUCKET_METRICS
from stream.contract.kinds.cgroup import CgroupEvent
from stream.contract.kinds.pod import PodContainer, PodEvent
from tests.support.raw_log import RawLog, Run, at, process, window_text

NODE = "node-a"
UIDS = [f"3f1d2c4b-0a1b-4c2d-8e3f-00112233445{n}" for n in range(3)]


def sample(seconds: float, scope: Any = "node", pod: int = 0, **fields: Any) -> CgroupEvent:
    paths = {
        "node": "/",
        "pod": f"/kubepods/pod{UIDS[pod]}",
        "container": f"/kubepods/pod{UIDS[pod]}/{'ab' * 32}",
    }
    return CgroupEvent(
        ts=at(seconds), scope=scope, cgroup=paths[scope], cgroup_id=f"{scope}-{pod}", **fields
    )


def run_of(*events: Any, until: float = 60) -> Run:
    log = RawLog()
    for number, uid in enumerate(UIDS):
        log.add(
            NODE,
            PodEvent(
                ts=at(0), action="observed", pod_uid=uid, pod=f"web-{number}", namespace="shop",
                workload_kind="Deployment", workload="web" if number < 2 else "db",
                containers=[PodContainer(name="app", container_id="ab" * 32)],
            ),
        )  # fmt: skip
    for event in events:
        log.add(NODE, event)
    log.progress(NODE, "cgroup", until)
    return process(log.messages())


def row(run: Run, scope: str, seconds: float, **more: Any) -> dict[str, Any]:
    return run.row(kind="cgroup", scope=scope, window_start=window_text(seconds), **more)


def test_cpu_is_the_increase_over_the_measured_time_in_millicores() -> None:
    run = run_of(*(sample(s, cpu_usage_us=43_859_000 + s * 6_000) for s in (0, 10, 20, 30)))
    found = row(run, "node", 10)
    assert (found["cpu_millicores"], found["cpu_us"], found["measured_us"]) == (6, 60_000, 10**7)


def test_an_increase_is_spread_over_windows_and_sums_up_exactly() -> None:
    run = run_of(
        sample(3, cpu_usage_us=100, io_read_bytes=0), sample(28, cpu_usage_us=1101, io_read_bytes=7)
    )
    rows = [row(run, "node", seconds) for seconds in (0, 10, 20)]
    assert [each["measured_us"] for each in rows] == [7_000_000, 10_000_000, 8_000_000]
    assert sum(each["cpu_us"] for each in rows) == 1001
    assert sum(each["io_read_bytes"] for each in rows) == 7
    assert [each["cpu_us"] for each in rows] == [280, 400, 321]


def test_one_sample_gives_gauges_and_no_rate() -> None:
    found = row(run_of(sample(5, cpu_usage_us=5, memory_bytes=9)), "node", 0)
    assert found["memory_bytes_last"] == 9
    assert not {"cpu_millicores", "cpu_us", "measured_us", "io_read_bytes"} & set(found)


def test_a_counter_that_goes_back_counts_nothing_and_is_counted() -> None:
    run = run_of(
        sample(0, cpu_usage_us=500, io_read_bytes=1000),
        sample(10, cpu_usage_us=600, io_read_bytes=50),
        sample(20, cpu_usage_us=700, io_read_bytes=60),
    )
    first, second = row(run, "node", 0), row(run, "node", 10)
    assert (first["cpu_us"], second["cpu_us"]) == (100, 100)
    assert "io_read_bytes" not in first
    assert second["io_read_bytes"] == 10
    assert (first["counter_resets"], second["counter_resets"]) == (0, 1)


def test_a_cgroup_of_the_same_path_made_anew_is_another_one() -> None:
    old = sample(0, "pod", cpu_usage_us=10_000)
    new = [sample(s, "pod", cpu_usage_us=100 * s) for s in (10, 20)]
    for each in new:
        each.cgroup_id = "another"
    run = run_of(old, *new)
    assert "cpu_us" not in row(run, "pod", 0)
    assert row(run, "pod", 10)["cpu_us"] == 1000


def test_a_gap_too_long_has_no_rate() -> None:
    run = run_of(
        sample(0, cpu_usage_us=0),
        sample(70, cpu_usage_us=10**6),
        sample(75, cpu_usage_us=10**6 + 5),
        until=100,
    )
    found = row(run, "node", 70)
    assert (found["cpu_us"], found["sample_gaps"]) == (5, 1)
    assert "cpu_us" not in row(run, "node", 0)


def test_the_last_sample_of_a_cgroup_counts_and_its_path_can_come_back() -> None:
    run = run_of(
        sample(1, "pod", cpu_usage_us=0),
        sample(4, "pod", cpu_usage_us=300, last=True),
        sample(5, "pod", cpu_usage_us=1000),
        sample(6, "pod", cpu_usage_us=1001),
    )
    assert row(run, "pod", 0)["cpu_us"] == 301


def test_memory_is_last_mean_and_highest_of_the_samples() -> None:
    run = run_of(*(sample(s, memory_bytes=m, pids=m) for s, m in ((0, 10), (5, 40), (9, 16))))
    found = row(run, "node", 0)
    names = ("memory_bytes_last", "memory_bytes_mean", "memory_bytes_max", "pids_last", "pids_max")
    assert [found[name] for name in names] == [16, 22, 40, 16, 40]


def test_above_a_pod_the_highest_memory_is_that_of_one_tick_not_a_sum_of_maxima() -> None:
    samples = []
    for seconds, memories in ((0, (100, 10)), (5, (10, 100))):
        samples.append(sample(seconds))
        samples += [sample(seconds, "pod", n, memory_bytes=m) for n, m in enumerate(memories)]
    found = row(run_of(*samples), "workload", 0, workload="web")
    assert found["memory_bytes_max"] == found["memory_bytes_last"] == 110


def test_a_pod_that_ends_between_ticks_does_not_distort_the_sum() -> None:
    samples = [
        sample(0), sample(0, "pod", 0, memory_bytes=100), sample(0, "pod", 1, memory_bytes=50),
        sample(3, "pod", 1, memory_bytes=40, last=True),
        sample(5), sample(5, "pod", 0, memory_bytes=100),
    ]  # fmt: skip
    found = row(run_of(*samples), "namespace", 0)
    assert found["memory_bytes_last"] == 100
    assert found["memory_bytes_max"] == 150


def test_groups_are_sums_of_pods_over_the_time_that_any_was_measured() -> None:
    samples = []
    for seconds in (0, 10):
        samples.append(sample(seconds, cpu_usage_us=seconds * 10_000))
        for pod in range(3):
            samples.append(sample(seconds, "pod", pod, cpu_usage_us=seconds * 1000 * (pod + 1)))
            samples.append(
                sample(seconds, "container", pod, cpu_usage_us=seconds * 900 * (pod + 1))
            )
    run = run_of(*samples)
    assert row(run, "workload", 0, workload="web")["cpu_us"] == 30_000
    assert row(run, "workload", 0, workload="db")["cpu_us"] == 30_000
    assert row(run, "namespace", 0)["cpu_us"] == 60_000
    assert row(run, "namespace", 0)["cpu_millicores"] == 6
    assert row(run, "container", 0, pod="web-2")["cpu_us"] == 27_000
    assert row(run, "node", 0)["cpu_us"] == 100_000
    assert row(run, "host", 0)["cpu_us"] == 40_000


def test_halves_of_a_window_are_not_added_as_rates() -> None:
    """One pod for the first half, another for the second: one core in all, not two."""
    run = run_of(
        sample(0, "pod", 0, cpu_usage_us=0), sample(5, "pod", 0, cpu_usage_us=5_000_000),
        sample(5, "pod", 1, cpu_usage_us=0), sample(10, "pod", 1, cpu_usage_us=5_000_000),
    )  # fmt: skip
    assert row(run, "namespace", 0)["cpu_millicores"] == 1000
    assert row(run, "pod", 0, pod="web-0")["cpu_millicores"] == 1000


def test_network_belongs_to_pods_with_a_namespace_of_their_own() -> None:
    run = run_of(
        *(
            event
            for seconds in (0, 10)
            for event in (
                sample(seconds, net_rx_bytes=seconds * 1000),
                sample(seconds, "pod", 0, net_rx_bytes=seconds * 100),
                sample(seconds, "pod", 1, host_network=True),
            )
        )
    )
    assert row(run, "pod", 0, pod="web-0")["net_rx_bytes"] == 1000
    assert "net_rx_bytes" not in row(run, "pod", 0, pod="web-1")
    assert row(run, "namespace", 0)["net_rx_bytes"] == 1000
    assert "net_rx_bytes" not in row(run, "host", 0)


def test_a_container_outside_of_pods_has_a_row_of_its_own() -> None:
    log = RawLog()
    for seconds in (0, 10):
        log.add(
            NODE,
            CgroupEvent(
                ts=at(seconds), scope="container", cgroup=f"/docker/{'cd' * 32}",
                cpu_usage_us=seconds,
            ),
        )  # fmt: skip
    log.progress(NODE, "cgroup", 60)
    run = process(log.messages())
    assert row(run, "container", 0, container_id="cd" * 32)["cpu_us"] == 10


def test_every_metric_of_a_row_is_declared_for_its_kind() -> None:
    declared = {each.name: each.kinds for each in BUCKET_METRICS}
    base = {
        "kind", "scope", "node", "window_start", "window_end", "final", "late", "samples",
        "namespace", "workload_kind", "workload", "pod", "pod_uid", "container", "container_id",
    }  # fmt: skip
    everything = {
        name: 1
        for name in CgroupEvent.__struct_fields__
        if name.endswith(("_us", "_bytes", "_ops")) or name in ("pids", "oom_kills")
    }
    run = run_of(sample(0, "pod", **everything), sample(10, "pod", **everything), sample(10))
    metrics = {name for each in run.last_rows().values() for name in each} - base
    assert {name for name in metrics if "cgroup" not in declared[name]} <= {
        "pods_observed", "pods_deleted",
    }  # fmt: skip
    assert {name for name, kinds in declared.items() if "cgroup" in kinds} - metrics == {"clamped"}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 20_000_000), st.integers(0, 10**7), st.integers(0, 10**9)),
        min_size=2,
        max_size=12,
    ),
    st.integers(1, 5),
)
def test_the_sum_over_windows_is_what_the_counter_counted(
    steps: list[tuple[int, int, int]], batch: int
) -> None:
    log = RawLog()
    time = cpu = read = 0
    for elapsed, used, got in steps:
        time, cpu, read = time + elapsed, cpu + used, read + got
        log.add(NODE, sample(time / 1e6, cpu_usage_us=cpu, io_read_bytes=read))
    log.progress(NODE, "cgroup", time / 1e6 + 60)
    rows = [
        each
        for each in process(log.messages(batch)).last_rows().values()
        if each["scope"] == "node"
    ]
    assert sum(each.get("cpu_us", 0) for each in rows) == cpu - steps[0][1]
    assert sum(each.get("io_read_bytes", 0) for each in rows) == read - steps[0][2]
    assert sum(each.get("measured_us", 0) for each in rows) == time - steps[0][0]
    assert sum(each["samples"] for each in rows) == len(steps)
