"""A recording holds what the log held, and a replay of it gives the same buckets."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tenwatch.recording.reader import Recording
from tests.support.instance import RunningInstance
from tests.support.polling import eventually_sync
from tests.support.program import run_program


def load(instance: RunningInstance, prefix: str, events: int, rate: int = 100) -> dict[str, Any]:
    found: dict[str, Any] = run_program(
        "loadgen", "--nodes", "1", "--events", str(events), "--node-rate", str(rate),
        "--batch", "50", "--prefix", prefix, data=instance.data,
    ).json  # fmt: skip
    return found


def events_in(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for frame in Recording(folder).read()
        for message in frame
        if message.subject.split(".")[2] == kind
        for line in message.data.splitlines()
    ]


@pytest.mark.parametrize("stage", ["raw", "events"])
def test_every_event_of_a_node_is_recorded_once_in_order(
    shared: RunningInstance, tmp_path: Path, stage: str
) -> None:
    prefix = f"taken-{stage}"
    report = load(shared, prefix, 500)
    folder = tmp_path / "r"
    command = ("record", folder, "--stage", stage, "--node", f"{prefix}-0", "--json")

    def whole() -> dict[str, Any]:
        found: dict[str, Any] = run_program(*command, data=shared.data).json
        assert Recording(folder).events == sum(report["events"].values())
        return found

    eventually_sync(whole, deadline=30, what="all of it is in the stage", interval=0.5)
    again = run_program(*command, data=shared.data).json
    assert (again["messages"], again["missed_messages"]) == (0, 0)
    if stage == "raw":
        sequences = [event["seq"] for event in events_in(folder, "process")]
        assert sequences == list(range(report["events"]["process"]))
    info = run_program("record", folder, "--info", "--json").json
    assert info["events"] == sum(report["events"].values())


def test_a_killed_recorder_goes_on_where_it_was(shared: RunningInstance, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    command = [
        sys.executable, "-m", "tenwatch", "record", str(folder), "--follow",
        "--node", "killed-0", "--data", str(shared.data),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE) as recorder:
        try:
            first = load(shared, "killed", 300)
            eventually_sync(
                lambda: (folder / "recording.json").exists() and Recording(folder).messages > 0,
                deadline=30, what="something is recorded",
            )  # fmt: skip
        finally:
            os.kill(recorder.pid, signal.SIGKILL)
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE) as recorder:
        try:
            # More comes while nobody records, or while the second one does.
            second = load(shared, "killed", 200)
            expected = sum(first["events"].values()) + sum(second["events"].values())
            eventually_sync(
                lambda: Recording(folder).events == expected,
                deadline=30, what="the rest is recorded", interval=0.2,
            )  # fmt: skip
        finally:
            recorder.send_signal(signal.SIGTERM)
        assert recorder.wait(30) == 0
    for report in (first, second):
        sequences = [
            event["seq"]
            for event in events_in(folder, "process")
            if event["boot"] == report["boot"]
        ]
        assert sequences == list(range(report["events"]["process"]))


@pytest.mark.parametrize("source", ["recording", "clickhouse"])
def test_a_replay_equals_the_live_buckets(
    shared: RunningInstance, tmp_path: Path, source: str
) -> None:
    # Thirty simulated seconds: at least two windows begin in them.
    report = load(shared, f"again-{source}", 600, rate=20)
    folder = tmp_path / "r"
    run_program("record", folder, data=shared.data)
    start = report["first_ts"]

    def verified() -> dict[str, Any]:
        ran = run_program(
            "replay", "--source", folder if source == "recording" else source,
            "--from", start, "--to", report["last_ts"], "--verify", "--json",
            data=shared.data, code=None,
        )  # fmt: skip
        found: dict[str, Any] = ran.json
        assert found["verdict"]["compared"] > 0, ran.err
        return found

    found = eventually_sync(verified, deadline=60, what="windows are final", interval=1)
    assert found["verdict"]["differing"] == 0, found["verdict"]["first"]
    if source == "recording":
        assert found["fed_events"] == Recording(folder).events


def test_what_is_not_a_recording_of_the_log_is_refused(
    shared: RunningInstance, tmp_path: Path
) -> None:
    ran = run_program(
        "replay", "--source", tmp_path / "none", "--last", "1h", data=shared.data, code=1
    )
    assert "is not a recording" in ran.err
    run_program("record", tmp_path / "b", "--stage", "buckets", data=shared.data)
    ran = run_program(
        "replay", "--source", tmp_path / "b", "--last", "1h", data=shared.data, code=2
    )
    assert "only one of RAW can be replayed" in ran.err
