"""What teachers ask, each answer computed a second way, in Python, from the same events."""

import random
import statistics
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sinks.queries import named_query
from sinks.store.client import Store

Event = dict[str, Any]
Ask = Callable[..., list[dict[str, Any]]]
START = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
END = START + timedelta(hours=2)
STUDENTS = [f"2026{number:02d}" for number in range(1, 8)]
CLASS = {"course": "os", "division": "1"}


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def make_files() -> list[Event]:
    """Two hours of work of a class: creations, saves, moves and deletions, in order of time."""
    dice = random.Random(7)
    events: list[Event] = []
    sizes: dict[tuple[str, str], int] = {}
    moment = START
    for seq in range(900):
        moment += timedelta(microseconds=dice.randrange(1, 16_000_000))
        student = dice.choice(STUDENTS[:-1])
        assignment = dice.choice(["hw1", "hw2"])
        root = f"/workspace/os-1-{student}/{assignment}"
        mine = [path for who, path in sizes if who == student and path.startswith(root)]
        event: Event = {"student": student, "assignment": assignment, **CLASS, "seq": seq}
        event |= {"ts": text(moment), "node": "n1", "boot": "b", "at": moment, "lines": 3}
        roll = dice.random()
        if roll < 0.05 and mine:
            path = dice.choice(mine)
            del sizes[student, path]
            event |= {"action": "deleted", "path": path}
        elif roll < 0.1 and mine:
            old = dice.choice(mine)
            new = f"{root}/moved{seq}.c"
            sizes[student, new] = sizes.pop((student, old))
            event |= {"action": "moved", "path": new, "old_path": old}
            event["size"] = sizes[student, new]
        else:
            path = f"{root}/f{dice.randrange(4)}.c"
            known = (student, path) in sizes
            sizes[student, path] = dice.randrange(0, 5000)
            event |= {"action": "modified" if known else "created", "path": path}
            event["size"] = sizes[student, path]
        events.append(event)
    return events


def make_processes() -> list[Event]:
    dice = random.Random(11)
    events: list[Event] = []
    for number in range(300):
        began = START + timedelta(seconds=dice.randrange(0, 7200))
        ended = began + timedelta(milliseconds=dice.randrange(1, 3000))
        student = dice.choice(STUDENTS[:-1])
        killed = dice.random() < 0.1
        event: Event = {
            **CLASS, "student": student, "assignment": dice.choice(["hw1", "hw2"]),
            "node": "n1", "boot": "b", "pid": 5000 + number, "ppid": 1, "uid": 1000,
            "exec_id": f"e{number}", "start_ts": text(began), "namespace": "ide",
            "purpose": dice.choice(["build", "run", "other"]),
            "exe": dice.choice(["/usr/bin/gcc", "/home/coder/a.out"]),
            "argv": ["x", str(number)], "sources": [f"m{number}.c"], "began": began,
        }  # fmt: skip
        events.append(event | {"action": "exec", "ts": text(began), "seq": 2 * number})
        if number % 20:
            ending: Event = {"action": "exit", "ts": text(ended), "seq": 2 * number + 1}
            ending["at"] = ended
            ending["duration_us"] = (ended - began) // timedelta(microseconds=1)
            ending |= {"signal": 11} if killed else {"exit_code": dice.choice([0, 0, 1])}
            events.append(event | ending)
    return events


def stored(events: list[Event]) -> list[Event]:
    """Without what only the test knows."""
    return [{k: v for k, v in each.items() if k not in ("at", "began")} for each in events]


@pytest.fixture(scope="module")
def files() -> list[Event]:
    return make_files()


@pytest.fixture(scope="module")
def processes() -> list[Event]:
    return make_processes()


@pytest.fixture(scope="module")
def ask(shared_store: Store, shared_insert: Any, files: Any, processes: Any) -> Ask:
    shared_insert("file_events", stored(files))
    shared_insert("process_events", stored(processes))

    def ask(name: str, **values: str) -> list[dict[str, Any]]:
        query = named_query(name)
        if any(each.name == "until" for each in query.parameters):
            values = {"since": START.isoformat(), "until": END.isoformat()} | values
        return shared_store.writer.dictionaries(query.sql, query.bind(values))

    return ask


def of(events: list[Event], **wanted: str) -> list[Event]:
    return [
        event for event in events
        if event["at"] < END and all(event[key] == value for key, value in wanted.items())
    ]  # fmt: skip


def total_sizes(events: list[Event]) -> list[tuple[datetime, int, int]]:
    """Total size after each event, and its change, by replaying the events on a folder."""
    folder: dict[tuple[str, str], int] = {}
    totals = []
    before = 0
    for event in events:
        key = (event["student"], event["path"])
        if event["action"] == "deleted":
            folder.pop(key, None)
        else:
            if event["action"] == "moved":
                folder.pop((event["student"], event["old_path"]), None)
            folder[key] = event["size"]
        total = sum(folder.values())
        totals.append((event["at"], total, total - before))
        before = total
    return totals


def test_1_files_of_a_student_with_their_saves(ask: Ask, files: list[Event]) -> None:
    student = STUDENTS[2]
    mine = of(files, student=student, assignment="hw1")
    rows = ask("student_files", student=student, assignment="hw1")
    assert [row["path"] for row in rows] == sorted({event["path"] for event in mine})
    for row in rows:
        events = [event for event in mine if event["path"] == row["path"]]
        assert row["saves"] == sum(event["action"] != "deleted" for event in events)
        assert (row["first_ts"], row["last_ts"]) == (events[0]["at"], events[-1]["at"])
        assert row["last_action"] == events[-1]["action"]
    path = mine[0]["path"]
    saves = ask("file_saves", path=path, student=student)
    expected = [event for event in of(files, student=student) if event["path"] == path]
    assert [row["ts"] for row in saves] == [event["at"] for event in expected]


@pytest.mark.parametrize("minutes", [1, 7, 30])
def test_2_code_size_grows_by_steps(ask: Ask, files: list[Event], minutes: int) -> None:
    mine = of(files, student=STUDENTS[1], assignment="hw2")
    steps: dict[datetime, int] = {}
    step = timedelta(minutes=minutes)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    for at, total, _ in total_sizes(mine):
        steps[epoch + (at - epoch) // step * step] = total
    rows = ask("code_growth", student=STUDENTS[1], assignment="hw2", minutes=str(minutes))
    assert {row["step"]: row["total_bytes"] for row in rows} == steps
    changes = [
        after - before for before, after in zip([0, *steps.values()], steps.values(), strict=False)
    ]
    assert [row["change_bytes"] for row in rows] == changes
    # Begun in the middle, the totals are the same.
    middle = START + timedelta(hours=1)
    late = ask(
        "code_growth", student=STUDENTS[1], assignment="hw2", minutes=str(minutes),
        since=middle.isoformat(),
    )  # fmt: skip
    assert late[-1]["total_bytes"] == rows[-1]["total_bytes"]
    assert late[0]["step"] == epoch


def test_3_size_of_a_file_at_each_save(ask: Ask, files: list[Event]) -> None:
    rows = ask("file_statistics", student=STUDENTS[0], prefix="/workspace/")
    assert rows
    for row in rows:
        events = [
            event for event in of(files, student=STUDENTS[0])
            if event["path"] == row["path"]
        ]  # fmt: skip
        sizes = [event["size"] for event in events if event["action"] != "deleted"]
        assert row["saves"] == len(sizes)
        assert row["mean_size"] == pytest.approx(statistics.fmean(sizes))
        assert (row["smallest_size"], row["largest_size"]) == (min(sizes), max(sizes))
        saves = ask("file_saves", path=row["path"], student=STUDENTS[0])
        assert [save["size"] for save in saves] == [event.get("size") for event in events]


def test_4_first_and_last_work_and_the_last_gap(ask: Ask, files: list[Event]) -> None:
    rows = {row["student"]: row for row in ask("work_span", assignment="hw1")}
    by_student = defaultdict(list)
    for event in of(files, assignment="hw1"):
        by_student[event["student"]].append(event["at"])
    assert set(rows) == set(by_student)
    for student, moments in by_student.items():
        row = rows[student]
        assert (row["first_ts"], row["last_ts"]) == (moments[0], moments[-1])
        assert row["span_seconds"] == int(moments[-1].timestamp()) - int(moments[0].timestamp())
        assert row["last_gap_seconds"] == int(moments[-1].timestamp()) - int(
            moments[-2].timestamp()
        )


@pytest.mark.parametrize(("name", "purpose"), [("builds", "build"), ("runs", "run")])
def test_6_and_7_builds_and_runs_with_their_outcome(
    ask: Ask, processes: list[Event], name: str, purpose: str
) -> None:
    rows = ask(name)
    exits = {e["exec_id"]: e for e in processes if e["action"] == "exit"}
    mine = [
        exits.get(event["exec_id"], event) for event in processes
        if event["action"] == "exec" and event["purpose"] == purpose
    ]  # fmt: skip
    expected = {
        tuple(event["argv"]): (
            "running" if event["action"] == "exec"
            else "crashed" if event.get("signal")
            else "succeeded" if event["exit_code"] == 0
            else "failed",
            event.get("exit_code"), event.get("signal"), event.get("duration_us"),
        )
        for event in mine
    }  # fmt: skip
    assert {
        tuple(row["argv"]): (row["outcome"], row["exit_code"], row["signal"], row["duration_us"])
        for row in rows
    } == expected
    assert {outcome for outcome, *_ in expected.values()} == {
        "running", "crashed", "succeeded", "failed",
    }  # fmt: skip
    assert [row["ts"] for row in rows] == sorted((row["ts"] for row in rows), reverse=True)


def test_8_sizes_of_a_class(ask: Ask, files: list[Event]) -> None:
    (row,) = ask("class_sizes", course="os", assignment="hw1")
    sizes, saves = [], []
    for student in STUDENTS:
        mine = of(files, student=student, assignment="hw1")
        if mine:
            sizes.append(total_sizes(mine)[-1][1])
            # A move changes two paths, and is one save of each.
            saves.append(len(mine) + sum(event["action"] == "moved" for event in mine))
    assert row["students"] == len(sizes)
    assert row["median_bytes"] == statistics.median(sizes)
    assert row["p90_bytes"] == pytest.approx(
        statistics.quantiles(sizes, n=10, method="inclusive")[8]
    )
    assert row["mean_bytes"] == pytest.approx(statistics.fmean(sizes))


def test_9_who_worked_most_recently(ask: Ask, files: list[Event], processes: list[Event]) -> None:
    newest: dict[str, datetime] = {}
    exits = {e["exec_id"] for e in processes if e["action"] == "exit"}
    for event in of(files):
        newest[event["student"]] = max(event["at"], newest.get(event["student"], START))
    for event in processes:
        moment = event.get("at", event["began"])
        counts = event["action"] == "exit" or event["exec_id"] not in exits
        if event["purpose"] != "other" and counts and moment < END:
            newest[event["student"]] = max(moment, newest.get(event["student"], START))
    expected = sorted(newest.items(), key=lambda each: each[1], reverse=True)[:3]
    rows = ask("recently_active", rows="3")
    assert [(row["student"], row["last_ts"]) for row in rows] == expected


def test_10_how_much_each_student_changed_between_two_times(ask: Ask, files: list[Event]) -> None:
    since = START + timedelta(minutes=40)
    rows = {row["student"]: row for row in ask("size_changes", since=since.isoformat())}
    for student in STUDENTS[:-1]:
        folder: dict[str, int] = {}
        changed = growth = 0
        for event in of(files, student=student):
            moves = [(event["path"], event.get("size", 0))]
            if event["action"] == "moved":
                moves.append((event["old_path"], 0))
            for path, size in moves:
                delta = size - folder.get(path, 0)
                folder[path] = size
                if event["at"] >= since:
                    changed += abs(delta)
                    growth += delta
        assert (rows[student]["changed_bytes"], rows[student]["growth_bytes"]) == (changed, growth)


def test_11_builds_and_runs_per_student(ask: Ask, processes: list[Event]) -> None:
    rows = ask("builds_and_runs", assignment="hw2")
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"build": 0, "run": 0})
    exits = {e["exec_id"]: e for e in processes if e["action"] == "exit"}
    for event in processes:
        last = exits.get(event["exec_id"], event)
        if (
            event["action"] == "exec"
            and event["assignment"] == "hw2"
            and event["purpose"] != "other"
            and last.get("at", last["began"]) < END
        ):
            counts[event["student"]][event["purpose"]] += 1
    assert {r["student"]: (r["builds"], r["runs"]) for r in rows} == {
        student: (count["build"], count["run"]) for student, count in counts.items()
    }
    mean = statistics.fmean(count["build"] for count in counts.values())
    assert rows[0]["mean_builds"] == pytest.approx(mean)


def test_12_code_size_at_each_build_or_run(
    ask: Ask, files: list[Event], processes: list[Event]
) -> None:
    student = STUDENTS[3]
    totals = total_sizes(of(files, student=student, assignment="hw1"))
    rows = ask("size_at_builds", student=student, assignment="hw1")
    exits = {e["exec_id"]: e for e in processes if e["action"] == "exit"}
    expected = []
    for event in processes:
        last = exits.get(event["exec_id"], event)
        moment = last.get("at", last["began"])
        mine = event["student"] == student and event["assignment"] == "hw1"
        if event["action"] == "exec" and mine and event["purpose"] != "other" and moment < END:
            before = [total for at, total, _ in totals if at <= event["began"]]
            expected.append((moment, before[-1] if before else 0))
    assert [(row["ts"], row["total_bytes"]) for row in rows] == sorted(expected)
    assert len({total for _, total in expected}) > 3
