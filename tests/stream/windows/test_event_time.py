"""When windows close, what is late, and what a dead, silent or wrong producer does to whom."""

from typing import Any

import pytest

from stream.contract.kinds.file import FileEvent
from stream.contract.kinds.loss import LossEvent
from stream.contract.kinds.process import ProcessEvent
from stream.windows.settings import WindowSettings
from tests.support.raw_log import RawLog, Run, at, pack, process, window_text

A, B = "node-a", "node-b"


def save(log: RawLog, node: str, seconds: float, **options: Any) -> FileEvent:
    event = FileEvent(ts=at(seconds), action="modified", path=f"/{seconds}", size=1)
    log.add(node, event, **options)
    return event


def finals(run: Run, node: str = A, kind: str = "file") -> dict[str, int]:
    """Samples of each final node row, by window."""
    return {
        row["window_start"][11:19]: row["samples"]
        for row in run.last_rows().values()
        if row["final"] and (row["node"], row["kind"], row["scope"]) == (node, kind, "node")
    }


def clock(seconds: float) -> str:
    return window_text(seconds)[11:19]


def test_a_window_closes_when_progress_has_passed_its_end_by_the_grace() -> None:
    log = RawLog()
    save(log, A, 3)
    log.progress(A, "file", 11.9)
    assert finals(process(log.messages())) == {}
    log.progress(A, "file", 12)
    assert finals(process(log.messages())) == {clock(0): 1}


def test_events_count_in_the_window_of_their_own_time() -> None:
    log = RawLog()
    for seconds in (0, 9.999999, 10, 10.000001, 19, 25):
        save(log, A, seconds)
    log.progress(A, "file", 40)
    assert finals(process(log.messages())) == {clock(0): 2, clock(10): 3, clock(20): 1}


def test_an_exec_and_its_exit_count_where_each_of_them_happened() -> None:
    run = {"pid": 1, "ppid": 0, "uid": 0, "exec_id": "e", "comm": "sleep", "exe": "/usr/bin/sleep"}
    log = RawLog()
    log.add(A, ProcessEvent(ts=at(9), action="exec", **run))
    log.add(A, ProcessEvent(ts=at(21), action="exit", signal=11, duration_us=12_000_000, **run))
    log.progress(A, "process", 60)
    found = process(log.messages())
    first = found.row(scope="node", kind="process", window_start=window_text(0))
    last = found.row(scope="node", kind="process", window_start=window_text(20))
    assert (first["execs"], first["exits"], first["run_us"]) == (1, 0, 0)
    assert (last["execs"], last["exits"], last["run_us"]) == (0, 1, 12_000_000)
    assert (last["crashes"], last["failures"]) == (1, 0)


def test_a_silent_node_does_not_hold_back_others() -> None:
    log = RawLog()
    save(log, A, 1)
    save(log, B, 1)
    for seconds in range(2, 30, 3):
        log.progress(B, "file", seconds)
    run = process(log.messages())
    assert finals(run, B) == {clock(0): 1}
    assert finals(run, A) == {}


def test_a_kind_is_closed_by_its_own_producer_only() -> None:
    log = RawLog()
    save(log, A, 1)
    log.progress(A, "process", 60)
    assert finals(process(log.messages())) == {}


def test_a_clock_an_hour_ahead_changes_nothing_for_other_nodes() -> None:
    def log(ahead: float) -> RawLog:
        log = RawLog()
        for seconds in range(0, 60, 2):
            save(log, A, seconds)
            save(log, B, seconds + ahead)
            log.progress(A, "file", seconds + 1)
            log.progress(B, "file", seconds + 1 + ahead)
        return log

    right, wrong = process(log(0).messages()), process(log(3600).messages())
    assert finals(wrong) == finals(right) != {}
    assert finals(wrong, B) == {clock(3600 + s): 5 for s in range(0, 50, 10)}


def test_a_clock_that_is_ahead_of_the_brokers_is_flagged() -> None:
    log = RawLog()
    log.progress(A, "file", 3600)
    log.progress(B, "file", 1)
    processor = process([]).processor
    stored_at = 1_800_000_001.5
    for offset, each in enumerate(log.messages()):
        processor.process(each.key, each.headers, each.payload, offset, stored_at)
    assert processor.counts.clock_ahead == {A: 3598.5}


def test_one_event_from_the_far_future_is_counted_at_its_producers_clock() -> None:
    log = RawLog()
    log.progress(A, "file", 4)
    save(log, A, 5)
    save(log, A, 86_400)
    log.progress(A, "file", 6)
    log.progress(A, "file", 30)
    run = process(log.messages())
    assert finals(run) == {clock(0): 2}
    assert run.row(scope="node", kind="file")["clamped"] == 1
    assert run.processor.windows.counts.clamped == 1


def test_a_clock_that_steps_forward_is_believed_at_its_next_progress() -> None:
    """So after a suspend, or when a producer comes back after an hour."""
    log = RawLog()
    save(log, A, 1)
    log.progress(A, "file", 2)
    save(log, A, 3600)
    held = process(log.messages())
    assert [row["samples"] for row in held.last_rows().values()] == []
    log.progress(A, "file", 3615)
    run = process(log.messages(), restart=lambda offset: offset == 3, commit_every=1)
    assert finals(run) == {clock(0): 1, clock(3600): 1}
    assert run.processor.windows.counts.clamped == 0


def test_a_late_event_corrects_its_window() -> None:
    log = RawLog()
    save(log, A, 1)
    log.progress(A, "file", 20)
    save(log, A, 2)
    run = process(log.messages(), commit_every=1)
    assert [row["samples"] for row in run.rows if row["scope"] == "node"] == [1, 2]
    row = run.row(scope="node", kind="file")
    assert (row["samples"], row["late"], row["final"]) == (2, 1, True)


def test_an_event_beyond_the_allowed_lateness_is_dead_and_counted_but_not_lost() -> None:
    log = RawLog()
    save(log, A, 1)
    log.progress(A, "file", 11 + 300)
    save(log, A, 2)
    log.progress(A, "file", 12 + 300)
    event = save(log, A, 3)
    run = process(log.messages())
    assert finals(run) == {clock(0): 2}
    assert run.processor.windows.counts.too_late == 1
    (letter,) = run.lines("dead.")
    assert (letter["reason"], letter["seq"]) == ("too_late", event.seq)
    assert len(run.lines("events.file")) == 3


def test_lateness_is_measured_against_the_nodes_own_watermark() -> None:
    """B was cut off for an hour, and its spool comes after A's present."""
    log = RawLog()
    for seconds in range(0, 3600, 10):
        save(log, A, seconds)
        log.progress(A, "file", seconds + 1)
    for seconds in range(0, 3600, 10):
        save(log, B, seconds)
        log.progress(B, "file", seconds + 1)
    run = process(log.messages())
    assert run.processor.windows.counts.too_late == 0
    assert run.lines("dead.") == []
    assert sum(finals(run, B).values()) == sum(finals(run, A).values()) == 358


def test_a_node_whose_progress_overtook_its_spool_loses_nothing() -> None:
    log = RawLog()
    for seconds in range(0, 3600, 30):
        save(log, A, seconds)
    events = log.events.copy()
    log.progress(A, "file", 3600)
    overtaking = pack([log.events[-1], *events], 16)
    later = RawLog()
    later._next = log._next
    later.progress(A, "file", 3700)
    run = process([*overtaking, *later.messages()])
    assert sum(finals(run).values()) == 120
    assert run.processor.windows.counts.late == run.processor.windows.counts.too_late == 0


def test_a_backlog_of_a_dead_boot_is_waited_for() -> None:
    """A new life reports while what the old one spooled is still on its way."""
    log = RawLog()
    save(log, A, 1, boot="boot-1")
    log.progress(A, "file", 2, boot="boot-1")
    log.progress(A, "file", 1000, boot="boot-2", oldest_age_ms=998_000, spooled_bytes=1)
    for seconds in range(3, 900, 30):
        save(log, A, seconds, boot="boot-1")
    log.progress(A, "file", 1001, boot="boot-2")
    run = process(log.messages())
    assert sum(finals(run).values()) == 31
    assert run.processor.windows.counts.too_late == 0


def test_repeats_are_dropped_and_counted_whole_or_in_part() -> None:
    log = RawLog()
    for number in range(10):
        save(log, A, number)
    again = pack(log.events, 4) + pack(log.events[3:], 5) + pack(log.events, 10)
    log.progress(A, "file", 60)
    run = process([*again, *log.messages()[-1:]])
    assert finals(run) == {clock(0): 10}
    assert len(run.lines("events.file")) == 10
    assert run.processor.windows.counts.repeats == 17


def test_events_that_never_come_are_reported_once_and_do_not_stop_the_watermark() -> None:
    log = RawLog()
    save(log, A, 1)
    log.skip(A, "file", 3)
    save(log, A, 2)
    for seconds in range(3, 80):
        log.progress(A, "file", seconds)
    run = process(log.messages())
    (loss,) = run.lines("loss.worker.")
    wanted = {"kind": "file", "count": 3, "first_seq": 1, "last_seq": 3, "lost_boot": "boot-1"}
    assert {name: loss[name] for name in wanted} == wanted
    assert finals(run) == {clock(0): 2}
    assert run.processor.counts.missing == 3


def test_what_a_producer_says_is_lost_is_not_waited_for() -> None:
    log = RawLog()
    log.skip(A, "file", 3)
    save(log, A, 2)
    log.add(
        A,
        LossEvent(
            ts=at(2), stage="spool", kind="file", reason="spool_full", count=3,
            first_seq=0, last_seq=2,
        ),
    )  # fmt: skip
    log.progress(A, "file", 15)
    run = process(log.messages())
    assert finals(run) == {clock(0): 1}
    assert run.lines("loss.worker.") == []
    (loss,) = run.lines("loss.spool.")
    assert (loss["count"], loss["log_offset"]) == (3, 2)


def test_losses_are_counted_in_buckets_that_follow_the_nodes_clock() -> None:
    log = RawLog()
    for count in (5, None):
        log.add(A, LossEvent(ts=at(1), stage="kernel", kind="process", reason="x", count=count))
    log.progress(A, "process", 16)
    assert finals(process(log.messages()), kind="loss") == {}
    log.progress(A, "process", 17)
    run = process(log.messages())
    row = run.row(kind="loss", scope="node")
    assert (row["losses"], row["lost"], row["lost_unknown"], row["final"]) == (2, 5, 1, True)


def test_a_dead_producers_windows_close_early_and_later_events_still_count() -> None:
    log = RawLog()
    save(log, A, 1)
    log.progress(A, "file", 2)
    run = process(log.messages(), idle=True)
    assert finals(run) == {clock(0): 1}
    row = run.row(kind="file", scope="node")
    processor = run.processor
    again = RawLog()
    again._next = log._next
    save(again, A, 3)
    again.progress(A, "file", 15)
    for offset, each in enumerate(again.messages(), 10):
        processor.process(each.key, each.headers, each.payload, offset)
    (message,) = processor.final_rows(99)
    assert b'"samples":2' in message.payload
    assert b'"late":0' in message.payload
    assert row["late"] == 0


def test_a_living_producer_is_not_idle() -> None:
    log = RawLog()
    save(log, A, 1)
    run = process(log.messages())
    windows = run.processor.windows
    assert not windows.close_idle()
    windows.now += WindowSettings().idle_seconds
    assert windows.close_idle()
    assert not windows.close_idle()


def test_two_lives_of_a_producer_at_once_are_both_waited_for_until_one_is_silent() -> None:
    log = RawLog()
    save(log, A, 1, boot="one")
    log.progress(A, "file", 2, boot="one")
    log.progress(A, "file", 13, boot="two")
    assert finals(process(log.messages())) == {}
    log.progress(A, "file", 18, boot="two")
    assert finals(process(log.messages())) == {clock(0): 1}


def test_a_life_that_ended_in_order_is_not_waited_for() -> None:
    log = RawLog()
    save(log, A, 1, boot="one")
    log.progress(A, "file", 2, boot="one", closing=True)
    log.progress(A, "file", 13, boot="two")
    assert finals(process(log.messages())) == {clock(0): 1}


def test_a_mass_close_spans_commits_and_closes_everything() -> None:
    log = RawLog()
    for number in range(400):
        save(log, A, number * 10)
    log.progress(A, "file", 5000)
    for seconds in range(8):
        log.progress(A, "file", 5001 + seconds)
    run = process(log.messages(1), commit_every=1)
    assert len(finals(run)) == 400
    assert run.store.largest_commit < 200
    at_once = process(log.messages(64), commit_every=1)
    assert at_once.last_rows() == run.last_rows()
    assert at_once.store.largest_commit < 300
    kept = [key for key in run.store.committed if key.startswith("window/")]
    assert kept == []


def test_a_batch_over_too_many_windows_is_refused_in_part() -> None:
    log = RawLog()
    for number in range(300):
        save(log, A, number * 10)
    run = process(log.messages(512))
    assert {each["reason"] for each in run.lines("dead.")} == {"too_many_windows"}
    assert len(run.lines("dead.")) == 100
    assert len(run.lines("events.file")) == 300


def test_closed_windows_leave_the_state_when_they_can_not_be_corrected_any_more() -> None:
    log = RawLog()
    for seconds in range(0, 1000, 5):
        save(log, A, seconds)
        log.progress(A, "file", seconds + 1)
    run = process(log.messages())
    kept = [key for key in run.store.committed if key.startswith("window/")]
    assert 30 <= len(kept) <= 34


@pytest.mark.parametrize("boots", [300])
def test_a_boot_forgotten_long_ago_is_refused_not_counted_twice(boots: int) -> None:
    log = RawLog()
    for number in range(boots):
        save(log, A, number / 100, boot=f"{number:05d}")
    log.progress(A, "file", 30, boot=f"{boots:05d}")
    run = process([*log.messages(), *log.messages()[:1]])
    assert {each["reason"] for each in run.lines("dead.")} == {"forgotten_boot"}
    assert finals(run) == {clock(0): boots}
