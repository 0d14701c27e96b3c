"""A recorded raw stream of a real node gives the same bytes of buckets, however it is processed.

``build-and-pod.raw.ndjson`` was recorded from the producers of one machine while somebody built and
ran programs in ``/srv/course`` and a container ran for some seconds; other processes of the machine
were left out, and sequences counted anew. ``build-and-pod.rows.ndjson`` is what its last rows are,
without their version. After a wanted change, write it anew with

    TENWATCH_WRITE_GOLDEN=1 pytest tests/stream/worker/test_golden.py
"""

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

import stream.enrichment
from stream.contract.batch import BatchIdentity
from stream.enrichment.identity import read_rules
from tests.support.raw_log import RawMessage, process

FOLDER = Path(__file__).parent / "golden"
RAW = FOLDER / "build-and-pod.raw.ndjson"
ROWS = FOLDER / "build-and-pod.rows.ndjson"
RULES = read_rules(Path(stream.enrichment.__file__).parent / "rules" / "web-ide-course.yaml")


def recorded() -> list[RawMessage]:
    return [
        RawMessage(each["key"], each["headers"], each["payload"].encode()) for each in _read(RAW)
    ]


def _read(path: Path) -> list[Any]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def events(kind: str) -> list[dict[str, Any]]:
    return [
        msgspec.json.decode(line)
        for each in recorded()
        if each.key.startswith(f"{kind}.")
        for line in each.payload.splitlines()
    ]


def repacked(lines: int) -> list[RawMessage]:
    """The same lines in other batches; neighbours of one kind are put together or cut apart."""
    found: list[RawMessage] = []
    for each in recorded():
        kind, node = each.key.split(".")
        for line in each.payload.splitlines(keepends=True):
            event = msgspec.json.decode(line)
            last = found[-1] if found else None
            if (
                last is not None
                and last.key == each.key
                and last.headers["Tenwatch-Boot"] == event["boot"]
                and len(last.payload.splitlines()) < lines
            ):
                first = int(last.headers["Tenwatch-First-Seq"])
                last.payload += line
                count = event["seq"] - first + 1
                last.headers = BatchIdentity(kind, 1, node, event["boot"], first, count).headers()
            else:
                identity = BatchIdentity(kind, 1, node, event["boot"], event["seq"], 1)
                found.append(RawMessage(each.key, identity.headers(), line))
    return found


def last_rows(messages: list[RawMessage], **options: Any) -> bytes:
    run = process(messages, rules=RULES, idle=True, **options)
    assert run.lines("dead.") == run.lines("loss.") == []
    return b"".join(msgspec.json.encode(row) + b"\n" for row in run.last_rows().values())


@pytest.fixture(scope="module")
def golden() -> bytes:
    if os.environ.get("TENWATCH_WRITE_GOLDEN"):
        ROWS.write_bytes(last_rows(recorded()))
    return ROWS.read_bytes()


def test_the_recorded_stream_gives_the_recorded_rows(golden: bytes) -> None:
    assert last_rows(recorded()) == golden


@pytest.mark.parametrize("lines", [1, 3, 50, 512])
def test_batches_of_any_size_give_the_same_bytes(golden: bytes, lines: int) -> None:
    assert last_rows(repacked(lines)) == golden


def test_a_worker_killed_at_random_points_gives_the_same_bytes(golden: bytes, rounds: int) -> None:
    for seed in range(3 * rounds):
        chance = random.Random(seed)
        killed = {chance.randrange(140) for _ in range(12)}
        rows = last_rows(
            recorded(), commit_every=chance.randrange(1, 20), restart=killed.__contains__
        )
        assert rows == golden


def test_provisional_rows_never_are_the_last_word(golden: bytes) -> None:
    assert last_rows(recorded(), provisional=True) == golden


def test_the_buckets_sum_up_to_the_raw_counts(golden: bytes) -> None:
    rows = [msgspec.json.decode(line) for line in golden.splitlines()]
    node = [row for row in rows if (row["kind"], row["scope"]) == ("process", "node")]
    raw = events("process")
    wanted = Counter(execs=0, exits=0, failures=0, crashes=0, run_us=0)
    for event in raw:
        wanted["execs" if event["action"] == "exec" else "exits"] += 1
        wanted["failures"] += bool(event.get("exit_code"))
        wanted["crashes"] += "signal" in event
        wanted["run_us"] += event.get("duration_us", 0)
    assert {name: sum(row[name] for row in node) for name in wanted} == wanted
    assert sum(row["samples"] for row in node) == len(raw)
    assert all(row["final"] for row in rows)


def test_what_the_student_did_is_what_the_rows_say(golden: bytes) -> None:
    """gcc, ./hw1 that returns 3, gcc, ./crash that dies, make with one gcc; all in hw1."""
    rows = [msgspec.json.decode(line) for line in golden.splitlines()]
    mine = [row for row in rows if row["scope"] == "assignment" and row["kind"] == "process"]
    assert {row["assignment"] for row in mine} == {"hw1"}
    assert {row["student"] for row in mine} == {"202012345"}
    assert sum(row["crashes"] for row in mine) == 1
    assert sum(row["builds"] for row in mine) == 4
    files = [row for row in rows if row["scope"] == "student" and row["kind"] == "file"]
    wanted = Counter(event["action"] for event in events("file"))
    assert sum(row["creates"] for row in files) == wanted["created"]
    assert sum(row["modifies"] for row in files) == wanted["modified"]
    assert sum(row["deletes"] for row in files) == wanted["deleted"]
    assert sum(row["moves"] for row in files) == wanted["moved"]


def test_the_containers_cpu_is_what_its_cgroup_counted(golden: bytes) -> None:
    rows = [msgspec.json.decode(line) for line in golden.splitlines()]
    for scope in ("pod", "container"):
        samples = [each for each in events("cgroup") if each["scope"] == scope]
        used = [each["cpu_usage_us"] for each in samples]
        counted = [
            row["cpu_us"] for row in rows if row["scope"] == scope and row["kind"] == "cgroup"
            and "cpu_us" in row
        ]  # fmt: skip
        assert sum(counted) == max(used) - min(used) > 0


def test_file_events_name_their_writers_and_the_pod_stays_unresolved(golden: bytes) -> None:
    run = process(recorded(), rules=RULES)
    by_path = {line["path"].rpartition("/")[2]: line for line in run.lines("events.file.")}
    executables = {line["exec_id"]: line.get("exe", "") for line in run.lines("events.process.")}
    writer = executables[by_path["hw1"]["writer_exec_id"]]
    assert writer.rpartition("/")[2] in ("x86_64-linux-gnu-ld.bfd", "x86_64-linux-gnu-ld")
    in_pod = [line for line in run.lines("events.process.") if line.get("pod_uid")]
    assert in_pod
    assert {line.get("resolved") for line in in_pod} == {None}
    assert {line["student"] for line in in_pod if line["action"] == "exec"} == {"202012345"}
