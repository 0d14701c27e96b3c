"""doctor names what is broken, and the remedy."""

import shutil
from pathlib import Path
from typing import Any

from tests.support.instance import RunningInstance
from tests.support.program import run_program


def by_check(findings: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {finding["check"]: finding for finding in findings}


def test_it_looks_at_kernel_machine_broker_and_store(shared: RunningInstance) -> None:
    ran = run_program("doctor", "--watch", shared.watched, "--json", data=shared.data)
    found = by_check(ran.json)
    for check in (
        "version", "type information", "bcc", "BPF", f"fanotify on {shared.watched}", "inotify",
        "cgroups", "nats-server", "embedded store", "data folder", "disk", "open files", "memory",
        "clock", "parts", "JetStream", "stream RAW", "stream DEAD", "store",
    ):  # fmt: skip
        assert check in found, check
    assert found["BPF"]["found"].endswith("attached")
    assert found["store"]["state"] == "ok"
    assert all(each["remedy"] for each in ran.json if each["state"] == "broken")
    shown = run_program("doctor", "--quick", data=shared.data).text
    assert " 0 broken" in shown


def test_without_an_instance_the_machine_is_examined_alone(tmp_path: Path) -> None:
    found = by_check(run_program("doctor", "--quick", "--json", data=tmp_path / "none").json)
    assert found["running"]["state"] == "note"
    assert "tenwatch up" in found["running"]["remedy"]
    assert "store" not in found


def test_a_dead_broker_is_broken_and_the_exit_code_says_so(
    shared: RunningInstance, tmp_path: Path
) -> None:
    # An instance that was killed: its description is there, its ports are silent.
    ghost = tmp_path / "ghost"
    (ghost / "run").mkdir(parents=True)
    shutil.copytree(shared.data / "secrets", ghost / "secrets")
    text = (shared.data / "run" / "instance.json").read_text()
    for old, new in (
        (str(shared.data), str(ghost)),
        (shared.facts["nats"], "nats://127.0.0.1:9"),
        (shared.facts["sql"], "http://127.0.0.1:9"),
    ):
        text = text.replace(old, new)
    shutil.copy(shared.data / "credentials.json", ghost / "credentials.json")
    (ghost / "run" / "instance.json").write_text(text)
    ran = run_program("doctor", "--quick", "--json", data=ghost, code=1)
    found = by_check(ran.json)
    assert found["broker nats://127.0.0.1:9"]["state"] == "broken"
    assert found["store"]["state"] == "broken"
