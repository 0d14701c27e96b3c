"""A setting's value, where it came from, and errors that name file, line and field."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct

from stream.broker.settings import BrokerSettings, StreamSettings
from stream.settings import Configuration, SettingsError


class Sample(Struct, frozen=True, kw_only=True):
    """Something of each type that sections use."""

    name: str = "default"
    count: int = 1
    ratio: float = 0.5
    on: bool = False
    words: tuple[str, ...] = ()
    table: dict[str, int] = {}


def load(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Configuration:
    path = tmp_path / "tenwatch.yaml"
    path.write_text(text)
    return Configuration.load(path, environment or {})


def test_flags_win_over_the_environment_over_the_file_over_defaults(tmp_path: Path) -> None:
    text = "sample:\n  name: file\n  count: 2\n  ratio: 0.2\n"
    environment = {"TENWATCH_SAMPLE_NAME": "environment", "TENWATCH_SAMPLE_COUNT": "3"}
    configuration = load(tmp_path, text, environment)
    found = configuration.section("sample", Sample, {"name": "flag", "count": None})
    assert found == Sample(name="flag", count=3, ratio=0.2)
    sources = {
        name: each.source
        for name, each in configuration.values("sample", Sample, {"name": "flag"}).items()
    }
    assert sources == {
        "name": "--name",
        "count": "TENWATCH_SAMPLE_COUNT",
        "ratio": f"{tmp_path}/tenwatch.yaml:4",
    }


def test_without_a_file_there_are_defaults() -> None:
    assert Configuration.load(None, {}).section("sample", Sample) == Sample()


def test_lists_and_mappings_come_from_the_environment_too() -> None:
    environment = {
        "TENWATCH_SAMPLE_WORDS": "[a, b]",
        "TENWATCH_SAMPLE_TABLE": "{x: 1}",
        "TENWATCH_SAMPLE_ON": "true",
        "TENWATCH_SAMPLE_RATIO": "2.5",
    }
    found = Configuration.load(None, environment).section("sample", Sample)
    assert found == Sample(words=("a", "b"), table={"x": 1}, on=True, ratio=2.5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sample:\n  count: many\n", r"tenwatch\.yaml:2: sample\.count: .*`int`"),
        ("other: {}\nsample:\n  name: x\n  ratio: [1]\n", r":4: sample\.ratio: .*`float`"),
        ("sample:\n  words: [a, 5]\n", r":2: sample\.words: "),
        ("sample:\n  table:\n    x: y\n", r":2: sample\.table: |:3: sample\.table: "),
        ("sample:\n  cuont: 3\n", r":2: sample\.cuont is not a setting; .*count"),
        ("sample: 5\n", r":1: sample: expected settings"),
        ("- a\n", r":1: expected sections"),
        ("sample: {\n", "not valid YAML"),
        ("sample:\n  on: maybe\n", r":2: sample\.on: "),
    ],
)
def test_an_error_names_file_line_and_field(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        load(tmp_path, text).section("sample", Sample)


def test_an_error_names_the_variable_or_the_flag() -> None:
    wrong = Configuration.load(None, {"TENWATCH_SAMPLE_COUNT": "many"})
    with pytest.raises(SettingsError, match=r"TENWATCH_SAMPLE_COUNT: sample\.count: "):
        wrong.section("sample", Sample)
    with pytest.raises(SettingsError, match="TENWATCH_SAMPLE_WORDS: not readable"):
        Configuration.load(None, {"TENWATCH_SAMPLE_WORDS": "[a"}).section("sample", Sample)
    with pytest.raises(SettingsError, match=r"--count: sample\.count: "):
        Configuration.load(None, {}).section("sample", Sample, {"count": "many"})


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.yaml: can't be read: No such file"):
        Configuration.load(tmp_path / "absent.yaml", {})


@pytest.mark.parametrize(
    ("model", "section", "text", "problem"),
    [
        (StreamSettings, "streams", "streams:\n  replicas: 2\n", r":2: streams\.replicas: "),
        (StreamSettings, "streams", "streams:\n  partitions: 0\n", r":2: streams\.partitions: "),
        (BrokerSettings, "broker", "broker:\n  connect_timeout_seconds: 0\n", r":2: broker\."),
    ],
)
def test_limits_of_our_sections_are_checked(
    tmp_path: Path, model: type, section: str, text: str, problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        load(tmp_path, text).section(section, model)


@given(st.text(max_size=60) | st.from_regex(r"sample:\n(  (name|count|on|words): .{0,12}\n){1,3}"))
@example("sample:\n  name: 2026-99-99\n")
@example("sample:\n  ? [a]\n  : 1\n")
@example("\x1f")
def test_any_text_is_a_configuration_or_a_settings_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(folder) / "x.yaml"
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
            Configuration.load(path, {}).section("sample", Sample)
        except SettingsError as error:
            assert "x.yaml" in str(error)
