"""config says where each value comes from, and everything that is wrong."""

import json
from pathlib import Path

import pytest

from stream.settings import Configuration
from tenwatch.configuring.check import MASK, masked, problems, settings
from tenwatch.configuring.documentation import document
from tenwatch.configuring.sections import SECTIONS
from tests.support.program import run_program


def load(tmp_path: Path, text: str, **environment: str) -> Configuration:
    path = tmp_path / "tenwatch.yaml"
    path.write_text(text)
    return Configuration.load(path, environment)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_says_what_it_is(section: str) -> None:
    text, fields = document(SECTIONS[section])
    assert text
    for field in fields:
        assert field.text, f"{section}.{field.name} has no text"
        assert not field.required, f"{section}.{field.name} has no default"


def test_the_explained_file_can_be_used_as_it_is(tmp_path: Path) -> None:
    printed = run_program("config", "explain").text
    path = tmp_path / "all.yaml"
    path.write_text(printed)
    assert run_program("config", "validate", "--config", path, "--json").json == []
    shown = run_program("config", "show", "--config", path, "--json").json
    assert {each["section"] for each in shown} == set(SECTIONS)
    assert all(each["source"].startswith(f"{path}:") for each in shown)
    # With the same values as without a file.
    plain = run_program("config", "show", "--json").json
    assert [each["value"] for each in shown] == [each["value"] for each in plain]
    assert {each["source"] for each in plain} == {"default"}


def test_all_problems_are_told_with_their_place(tmp_path: Path) -> None:
    text = (
        "store:\n  threads: many\n  fsync: yes\n  nonsense: 1\n"
        "spool:\n  policy: maybe\n"
        "kafka:\n  servers: []\n"
    )
    found = problems(load(tmp_path, text, TENWATCH_SINK_DRAIN="5", TENWATCH_SQL_PORT="x"))
    file = tmp_path / "tenwatch.yaml"
    assert any(each.startswith(f"{file}:4: store.nonsense is not a setting") for each in found)
    assert any(each.startswith(f"{file}:8: 'kafka' is not a section") for each in found)
    assert any(each.startswith("TENWATCH_SINK_DRAIN: ") for each in found)
    assert any(each.startswith("TENWATCH_SQL_PORT: sql.port: Expected `int`") for each in found)
    mended = problems(load(tmp_path, text.replace("  nonsense: 1\n", "")))
    assert any(each.startswith(f"{file}:2: store.threads: Expected `int`") for each in mended)
    assert not any("fsync" in each for each in mended)


def test_values_that_contradict_each_other_are_a_problem(tmp_path: Path) -> None:
    (found,) = problems(load(tmp_path, "windows:\n  allowed_lateness_seconds: 5\n"))
    assert "use at least 90" in found


def test_sources_are_file_then_environment_then_default(tmp_path: Path) -> None:
    configuration = load(
        tmp_path, "store:\n  threads: 3\n  database: other\n", TENWATCH_STORE_THREADS="4"
    )
    found = {each.name: (each.value, each.source) for each in settings(configuration, "store")}
    assert found["threads"] == (4, "TENWATCH_STORE_THREADS")
    assert found["database"] == ("other", f"{tmp_path / 'tenwatch.yaml'}:3")
    assert found["cluster"] == ("", "default")


def test_secrets_are_masked_and_names_of_files_are_not() -> None:
    assert masked("password", "hunter2") == MASK
    assert masked("api_token", "") == ""
    assert masked("credentials_file", "/etc/secret.json") == "/etc/secret.json"
    assert masked("token_file", "/etc/token") == "/etc/token"
    assert masked("nested", {"secret": "x", "other": 1}) == {"secret": MASK, "other": 1}


def test_exit_codes_and_messages_of_the_program(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("store:\n  threads: many\n")
    told = run_program("config", "validate", "--config", bad, code=1)
    assert f"{bad}:2: store.threads" in told.text
    assert f"{bad}:2" in run_program("config", "show", "--config", bad, code=2).err
    assert "is not a section" in run_program("config", "show", "nope", code=2).err
    missing = run_program("config", "validate", "--config", tmp_path / "none.yaml", code=2)
    assert "can't be read" in missing.err
    changed = run_program(
        "config", "show", "--changed", "--json", environment={"TENWATCH_SQL_PORT": "9000"}
    )
    assert [(each["name"], each["value"]) for each in json.loads(changed.out)] == [("port", 9000)]
