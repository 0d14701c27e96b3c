"""The table of program runs: what a restart makes of its state, and what a commit writes."""

from hypothesis import given
from hypothesis import strategies as st

from stream.contract.timestamps import MICROSECONDS, format_timestamp
from stream.enrichment.processes import SHARDS, ProcessFacts, ProcessRecord, ProcessTable

START = 1_800_000_000
FACTS = ProcessFacts(student="ada", class_name="compiler")
PIDS = range(1, 5)
IDS = [f"m-{number}" for number in range(4)]


def time(second: int) -> str:
    return format_timestamp((START + second) * MICROSECONDS)


def restarted(table: ProcessTable) -> ProcessTable:
    again = ProcessTable()
    for shard in reversed(range(SHARDS)):
        again.load_shard(shard, table.dump_shard(shard))
    return again


steps = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "end", "forget"]),
        st.sampled_from(PIDS),
        st.sampled_from(IDS),
        st.integers(0, 90),
    ),
    max_size=60,
)


def do(table: ProcessTable, step: tuple[str, int, str, int]) -> None:
    action, pid, exec_id, second = step
    match action:
        case "start":
            table.started(pid, ProcessRecord(exec_id, time(second), FACTS, "build", f"{second}"))
        case "end":
            table.ended(pid, exec_id, time(second))
        case _:
            table.forget_ended(time(second))


def said(run: ProcessRecord | None) -> object:
    return run and (run.exec_id, run.started, run.facts, run.purpose, run.build_id, run.ended)


def seen(table: ProcessTable) -> list[object]:
    """All answers that it can give, and how many runs it holds."""
    found = [table.find(pid, exec_id) for pid in PIDS for exec_id in IDS]
    moments = range(0, 91, 5)
    at = [table.at(pid, time(now), time(max(0, now - 10))) for pid in PIDS for now in moments]
    return [len(table), *map(said, found), *map(said, at)]


@given(steps, steps)
def test_a_restart_at_any_place_changes_no_answer(
    before: list[tuple[str, int, str, int]], after: list[tuple[str, int, str, int]]
) -> None:
    table = ProcessTable()
    for step in before:
        do(table, step)
    again = restarted(table)
    assert seen(again) == seen(table)
    for step in after:
        do(table, step)
        do(again, step)
        assert seen(again) == seen(table)


@given(steps)
def test_what_is_not_dirty_is_as_it_was_written(steps: list[tuple[str, int, str, int]]) -> None:
    table = ProcessTable()
    written = [table.dump_shard(shard) for shard in range(SHARDS)]
    for step in steps:
        table.dirty.clear()
        do(table, step)
        now = [table.dump_shard(shard) for shard in range(SHARDS)]
        changed = {shard for shard in range(SHARDS) if now[shard] != written[shard]}
        assert changed <= table.dirty
        written = now


def test_short_runs_are_written_with_the_seconds_they_ran_in() -> None:
    table = ProcessTable()
    for second in range(15):
        for pid in range(second * 100, second * 100 + 100):
            table.started(pid, ProcessRecord(f"m-{pid}", time(second), FACTS))
            table.ended(pid, f"m-{pid}", time(second))
    table.dirty.clear()
    table.started(1, ProcessRecord("m-last", time(15), FACTS))
    assert len(table.dirty) == 1
    (shard,) = table.dirty
    assert len(table.dump_shard(shard)) < 200
