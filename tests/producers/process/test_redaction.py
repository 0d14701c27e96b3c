"""Secrets do not leave the process; everything else does, unchanged."""

import time

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producers.process.redaction import MASK, RedactionSettings, Redactor
from producers.process.redaction_rules import TOOLS

REDACTOR = Redactor(RedactionSettings())

REDACTED = [
    (["x", "--password=hunter2"], ["x", "--password=***"]),
    (["x", "--password", "hunter2", "next"], ["x", "--password", "***", "next"]),
    (["x", "-token", "hunter2"], ["x", "-token", "***"]),
    (["x", "--db.password=hunter2"], ["x", "--db.password=***"]),
    (["env", "DB_PASSWORD=hunter2", "x"], ["env", "DB_PASSWORD=***", "x"]),
    (["env", "PGPASSWORD=hunter2", "psql"], ["env", "PGPASSWORD=***", "psql"]),
    (["env", "db_pass=hunter2"], ["env", "db_pass=***"]),
    (["x", "AWS_SECRET_ACCESS_KEY=hunter2"], ["x", "AWS_SECRET_ACCESS_KEY=***"]),
    (["x", "apiKey=hunter2"], ["x", "apiKey=***"]),
    (["x", "--from-literal=password=hunter2"], ["x", "--from-literal=password=***"]),
    (["x", '{"user": "a", "password": "hunter 2"}'], ["x", '{"user": "a", "password": "***"}']),
    (["x", "Server=h;Password=hunter2;Port=1"], ["x", "Server=h;Password=***;Port=1"]),
    (["x", "https://bob:hunter2@host/p"], ["x", "https://bob:***@host/p"]),
    (["x", "postgres://u:p@ss@host/db"], ["x", "postgres://u:***@host/db"]),
    (["x", "https://ghtoken@github.com/x"], ["x", "https://***@github.com/x"]),
    (["x", "https://h/?token=hunter2&a=1"], ["x", "https://h/?token=***&a=1"]),
    (["x", "--url=https://u:pw@h/"], ["x", "--url=https://u:***@h/"]),
    (["curl", "-H", "Authorization: Bearer abc.def"], ["curl", "-H", "Authorization: ***"]),
    (["curl", "-H", "X-Api-Key: hunter 2"], ["curl", "-H", "X-Api-Key: ***"]),
    (["curl", "-u", "bob:hunter2", "h"], ["curl", "-u", "***", "h"]),
    (["curl", "-ubob:hunter2", "h"], ["curl", "-u***", "h"]),
    (["/usr/bin/mysql", "-u", "root", "-phunter2"], ["/usr/bin/mysql", "-u", "root", "-p***"]),
    (["sudo", "mysqldump", "-phunter2", "db"], ["sudo", "mysqldump", "-p***", "db"]),
    (["docker", "login", "-u", "me", "-p", "hunter2"], ["docker", "login", "-u", "me", "-p", MASK]),
    (["sshpass", "-p", "hunter 2", "ssh", "-p", "22"], ["sshpass", "-p", MASK, "ssh", "-p", "22"]),
    (["sh", "-c", "mysql -phunter2 | wc"], ["sh", "-c", "mysql -p*** | wc"]),
    (["sh", "-c", "sshpass -p 'hunter 2' ssh h"], ["sh", "-c", "sshpass -p '***' ssh h"]),
    (["sh", "-c", "x --token hunter2; y"], ["sh", "-c", "x --token *** y"]),
    (["sh", "-c", "export TOKEN=hunter2 && y"], ["sh", "-c", "export TOKEN=*** && y"]),
    (["x", "ghp_0123456789abcdefghij"], ["x", "***"]),
    (["x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdef"], ["x", "***"]),
    (["x", "-----BEGIN RSA PRIVATE KEY-----\nMIIE"], ["x", "***"]),
]

UNTOUCHED = [
    ["gcc", "-O2", "-o", "compass", "pass.c", "-lkeyutils"],
    ["ssh", "-p", "22", "git@host"],
    ["mkdir", "-p", "a/b"],
    ["git", "clone", "ssh://git@github.com/x/y"],
    ["mysql", "-p", "db"],
    ["docker", "run", "-p", "80:80", "image"],
    ["x", "--password-file=/run/secrets/db", "--token-path", "/t", "--secret-name=db"],
    ["x", "--password", "--user", "root"],
    ["x", "--no-password", "value"],
    ["train", "--tokenizer", "llama", "--max-tokens", "100"],
    ["x", "SSH_AUTH_SOCK=/tmp/agent"],
    ["python3", "-m", "http.server", "8000"],
    ["x", "https://host:8080/path?a=b", "a=b", "key=value"],
    ["x", ""],
    [""],
    [],
]


@pytest.mark.parametrize(("argv", "expected"), REDACTED)
def test_a_secret_is_masked_in_its_place(argv: list[str], expected: list[str]) -> None:
    assert REDACTOR.redact(argv) == expected
    assert REDACTOR.may_hold_secret("\0".join(argv).encode())


@pytest.mark.parametrize("argv", UNTOUCHED)
def test_what_only_resembles_a_secret_is_left_alone(argv: list[str]) -> None:
    assert REDACTOR.redact(argv) == argv


def test_further_names_and_patterns_come_from_the_settings() -> None:
    redactor = Redactor(
        RedactionSettings(
            secret_names=["Licence-Code"], patterns=[r"pin(?P<secret>\d{4})", r"badge-\w+"]
        )
    )
    assert redactor.redact(["x", "--licence_code=77", "pin1234", "badge-77", "nothing"]) == [
        "x", "--licence_code=***", "pin***", "***", "nothing",
    ]  # fmt: skip
    assert redactor.may_hold_secret(b"nothing")


def test_it_can_be_switched_off() -> None:
    redactor = Redactor(RedactionSettings(enabled=False))
    assert redactor.redact(["--password=x"]) == ["--password=x"]
    assert not redactor.may_hold_secret(b"--password=x")


def test_a_pattern_that_is_none_is_refused_with_its_text() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"'\(' is not a regular expression"):
        msgspec.convert({"patterns": ["("]}, RedactionSettings)


words = st.text(max_size=30) | st.sampled_from(
    ["--password", "TOKEN=", "mysql", "curl", "-u", "-p", "://", "a:b@", '"', "'", "=", "Bearer x"]
)
arguments = st.lists(st.lists(words, max_size=6).map(" ".join) | words, max_size=8)


@given(arguments)
def test_the_number_of_arguments_never_changes(argv: list[str]) -> None:
    assert len(REDACTOR.redact(argv)) == len(argv)


@given(arguments)
@example(["7z", "-px"])
def test_the_quick_look_never_misses_what_the_rules_would_mask(argv: list[str]) -> None:
    if not REDACTOR.may_hold_secret("\0".join(argv).encode("utf-8", "surrogatepass")):
        assert REDACTOR.redact(argv) == argv


def test_the_quick_look_knows_every_tool() -> None:
    for tool in TOOLS:
        assert REDACTOR.may_hold_secret(f"{tool} login".encode())


secrets = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789_.+/", min_size=6).map("Zq7".__add__)
names = st.sampled_from(["password", "DB_PASSWORD", "api-key", "x.token", "clientSecret", "PASSWD"])


@given(secrets, names, st.sampled_from(["{n}={s}", "--{n}={s}", '"{n}": "{s}"', "-e{n}={s}"]))
def test_no_secret_behind_a_secret_name_survives(secret: str, name: str, form: str) -> None:
    argument = form.format(n=name, s=secret)
    for argv in (["x", argument], ["sh", "-c", f"run {argument} more"]):
        assert secret not in "\0".join(REDACTOR.redact(argv))


@given(secrets, names)
def test_no_secret_in_the_next_argument_survives(secret: str, name: str) -> None:
    assert REDACTOR.redact(["x", f"--{name}", secret, "y"]) == ["x", f"--{name}", MASK, "y"]


@given(secrets, st.sampled_from(["http", "https", "postgresql", "amqp", "redis"]))
def test_no_password_in_a_url_survives(secret: str, scheme: str) -> None:
    secret = secret.replace("/", "")
    (redacted,) = REDACTOR.redact([f"{scheme}://user:{secret}@host:1/path"])
    assert redacted == f"{scheme}://user:***@host:1/path"


@pytest.mark.parametrize(
    "hostile",
    ["a" * 4096, "a=" * 2048, "a:" * 2048, " " * 4096, "http://" * 585, "'\" " * 1365,
     "password " * 455, "-----BEGIN " * 372, "eyJ" * 1365, "mysql -pa " * 409, "://" + "@" * 4000],
)  # fmt: skip
def test_hostile_arguments_cannot_stall_it(hostile: str) -> None:
    """Quadratic expressions would take seconds for some of these; linear ones take milliseconds."""
    began = time.process_time()
    REDACTOR.redact(["x", hostile])
    assert time.process_time() - began < 0.25
