"""Whose work it is, by the rules of the web-IDE course platform, and what a bad rules file says."""

from pathlib import Path

import pytest

import stream.enrichment
from stream.enrichment.errors import RulesError
from stream.enrichment.identity import Identity, IdentityRules, parse_rules, read_rules

RULES = Path(stream.enrichment.__file__).parent / "rules" / "web-ide-course.yaml"


@pytest.fixture(scope="module")
def rules() -> IdentityRules:
    return read_rules(RULES)


def who(rules: IdentityRules, kind: str = "process", **fields: str) -> Identity:
    return rules.identify(kind, lambda name: fields.get(name, ""))


@pytest.mark.parametrize(
    "hostname",
    [
        "jcode-os-1-202012345",
        "jcode-os-1-202012345-5d8f7c9b6-x2x4z",
        "jcode-os-1-202012345-0",
        "jcode-os-1-202012345.jcode.svc",
    ],
)
def test_the_host_name_says_course_division_and_student_whatever_the_suffix(
    rules: IdentityRules, hostname: str
) -> None:
    assert who(rules, hostname=hostname)[:3] == ("os", "1", "202012345")


@pytest.mark.parametrize(
    "hostname", ["web-0", "jcode-", "jcode-os-1", "jcode-os-1-", "xjcode-os-1-2", "jcode--1-2"]
)
def test_other_host_names_say_nothing(rules: IdentityRules, hostname: str) -> None:
    assert who(rules, hostname=hostname) == Identity()


@pytest.mark.parametrize(
    ("path", "assignment"),
    [
        ("/workspace/os-1-202012345/hw1/main.c", "hw1"),
        ("/workspace/os-1-202012345/hw1/hw1.c", "hw1"),
        ("/workspace/os-1-202012345/hw1/hw2/x.c", "hw1"),
        ("/workspace/os-1-202012345/hw21/main.c", "hw21"),
        ("/workspace/os-1-202012345/hw05/main.c", "hw05"),
        ("/workspace/os-1-202012345/hw1_backup/main.c", ""),
        ("/workspace/os-1-202012345/hw1-old/main.c", ""),
        ("/workspace/os-1-202012345/hw/main.c", ""),
        ("/workspace/os-1-202012345/hwx/main.c", ""),
        ("/workspace/os-1-202012345/hw1", ""),
        ("/workspace/os-1-202012345/notes.txt", ""),
    ],
)
def test_the_folder_says_the_assignment(rules: IdentityRules, path: str, assignment: str) -> None:
    assert who(rules, "file", path=path) == ("os", "1", "202012345", assignment)


def test_a_workspace_may_be_mounted_anywhere(rules: IdentityRules) -> None:
    assert who(rules, "file", path="/mnt/nfs/os-1-2020/hw3/a.c") == ("os", "1", "2020", "hw3")
    assert who(rules, "file", path="/usr/lib/x86_64-linux-gnu/libc.so") == Identity()
    assert who(rules, "file", path="/mnt/os-1-2-extra/hw3/a.c") == Identity()


@pytest.mark.parametrize(
    ("cwd", "exe", "source", "assignment"),
    [
        ("/home/coder/project/hw1", "/usr/bin/gcc", "/home/coder/project/hw1/hw1.c", "hw1"),
        ("/home/coder/project/hw1/src", "/usr/bin/gcc", "", "hw1"),
        ("/home/coder/project", "/usr/bin/gcc", "/home/coder/project/hw2/hw2.c", "hw2"),
        ("/home/coder/project", "/home/coder/project/hw1/hw1", "", "hw1"),
        ("/home/coder/project/hw21", "/home/coder/project/hw21/a.out", "", "hw21"),
        ("/home/coder/project/hw1_backup", "/usr/bin/gcc", "", ""),
        ("/home/coder", "/usr/bin/gcc", "", ""),
    ],
)
def test_a_process_works_on_the_assignment_of_its_folder_binary_or_source(
    rules: IdentityRules, cwd: str, exe: str, source: str, assignment: str
) -> None:
    found = who(rules, hostname="jcode-os-1-2020-abc", cwd=cwd, exe=exe, source=source)
    assert found == ("os", "1", "2020", assignment)


def test_the_first_value_found_stays(rules: IdentityRules) -> None:
    found = who(rules, hostname="jcode-os-1-2020", cwd="/workspace/db-2-2021/hw4")
    assert found == ("os", "1", "2020", "hw4")


def test_labels_conditions_kinds_and_fixed_values() -> None:
    rules = parse_rules(
        """
version: 7
rules:
  - field: 'label:team'
    pattern: '^(?P<student>.+)$'
    when: {namespace: '^exam$'}
    set: {assignment: final}
  - field: path
    kinds: [file]
    pattern: '^/x/(?P<course>\\w+)'
""",
        "r.yaml",
    )
    team = {"label:team": "red", "namespace": "exam", "path": "/x/ds/y"}
    assert who(rules, "file", **team) == ("ds", "", "red", "final")
    assert who(rules, "process", **team) == ("", "", "red", "final")
    assert who(rules, "process", **{**team, "namespace": "other"}) == Identity()
    assert rules.version.startswith("7@")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules:\n  - field: path\n    pattern: '('\n", "r.yaml:3: the pattern '(' is wrong"),
        ("rules:\n  - field: path\n", "r.yaml:2: the rule has no 'pattern'"),
        ("rules:\n  - pattern: x\n", "r.yaml:2: the rule has no 'field'"),
        (
            "rules:\n  - field: color\n    pattern: '(?P<student>x)'\n",
            "r.yaml:2: 'color' is not a field",
        ),
        ("rules:\n  - field: path\n    pattern: x\n", "r.yaml:3: fills nothing"),
        (
            "rules:\n  - field: path\n    pattern: '(?P<name>x)'\n",
            "r.yaml:3: 'name' can't be filled",
        ),
        (
            "rules:\n  - field: path\n    kinds: [files]\n    pattern: '(?P<student>x)'\n",
            "r.yaml:3: 'files' is not a kind",
        ),
        ("rules:\n  - field: path\n    field: cwd\n", "r.yaml:3: 'field' is there twice"),
        ("rule: []\n", "r.yaml:1: 'rule' is not known"),
        ("version: 1\n", "r.yaml:1: has no 'rules'"),
        ("rules: {}\n", "r.yaml:1: expected a list"),
        ("rules: [\n", "r.yaml: not valid YAML"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(RulesError) as refused:
        parse_rules(text, "r.yaml")
    assert str(refused.value).startswith(message)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="can't be read: No such file"):
        read_rules(tmp_path / "none.yaml")


def test_an_empty_file_identifies_nobody() -> None:
    assert who(parse_rules("", "r.yaml"), hostname="jcode-os-1-2020") == Identity()
