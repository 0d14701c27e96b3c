"""Who may ask: three ways to say who one is, one answer to whoever is not."""

import pytest

from sinks.sql_endpoint.config import Role, User
from sinks.sql_endpoint.errors import AuthenticationFailedError, BadRequestError
from sinks.sql_endpoint.users import Users
from tests.sinks.sql_endpoint.endpoint_process import EndpointProcess, basic

SECRET = "reader-password"


def test_basic_headers_and_parameters_are_accepted(endpoint: EndpointProcess) -> None:
    def ask(headers: dict[str, str], **parameters: str) -> bytes:
        return endpoint.ask("SELECT 1", user=None, headers=headers, **parameters).body

    assert ask(basic("reader", SECRET)) == b"1\n"
    assert ask({"X-ClickHouse-User": "reader", "X-ClickHouse-Key": SECRET}) == b"1\n"
    assert ask({}, user_="x") != b"1\n"
    by_parameter = endpoint.ask("SELECT 1", user=None, path=f"/?user=reader&password={SECRET}")
    assert by_parameter.body == b"1\n"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("reader", "wrong"),
        basic("nobody", SECRET),
        basic("", ""),
        basic("default", ""),
        basic("Reader", SECRET),
        basic("reader", f"{SECRET} "),
        basic("reader", "admin-password"),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic"},
        {"Authorization": f"Bearer {SECRET}"},
        {"X-ClickHouse-User": "reader"},
        {"X-ClickHouse-Key": SECRET},
        {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": ""},
    ],
)
def test_everyone_else_gets_the_same_answer(
    endpoint: EndpointProcess, headers: dict[str, str]
) -> None:
    answer = endpoint.ask("SELECT 1", user=None, headers=headers)
    assert (answer.status, answer.code) == (403, 516)
    assert "AUTHENTICATION_FAILED" in answer.text
    assert SECRET not in answer.text


def test_two_ways_at_once_are_refused(endpoint: EndpointProcess) -> None:
    answer = endpoint.ask("SELECT 1", headers={"X-ClickHouse-User": "admin"})
    assert answer.status == 400


def test_nothing_of_credentials_reaches_the_log(endpoint: EndpointProcess) -> None:
    endpoint.ask("SELECT 1", user=None, path=f"/?user=reader&password={SECRET}")
    endpoint.ask("SELECT nope", user=None, path="/?user=reader&password=wrong-password")
    endpoint.ask(f"SELECT * FROM nope -- {SECRET}")
    connection = endpoint.connection()
    connection.connect()
    connection.sock.sendall(
        f"GET /?user=reader&password={SECRET}\x01 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    )
    assert connection.sock.recv(1000).startswith(b"HTTP/1.")
    log = endpoint.log()
    assert SECRET not in log
    assert "wrong-password" not in log
    assert "password=" not in log


def test_hidden_tables_are_hidden_from_the_user_who_must_not_see_them(
    endpoint: EndpointProcess,
) -> None:
    assert endpoint.rows("SELECT content FROM snapshots") == [["private"]]
    for sql in (
        "SELECT content FROM snapshots",
        "SELECT content FROM tenwatch.snapshot_events",
        "SELECT 1 FROM processes WHERE comm IN (SELECT content FROM snapshots)",
        "SELECT 'private' IN tenwatch.snapshots",
        "WITH a AS (SELECT * FROM snapshot_events) SELECT * FROM a",
        "EXPLAIN ESTIMATE SELECT * FROM snapshots",
    ):
        answer = endpoint.ask(sql, user="student")
        assert (answer.code, "private" in answer.text) == (497, False), answer.text
    assert endpoint.rows("SELECT count() FROM processes", user="student") == [[1000]]


def test_a_table_of_users_keeps_no_password() -> None:
    users = Users([User("a", "very secret", Role.READER)])
    held = repr(vars(users)) + repr(users._accounts["a"][1].__slots__)
    assert "very secret" not in held
    assert "very secret" not in repr(User("a", "very secret"))
    assert users.authenticate({}, {"user": "a", "password": "very secret"}).name == "a"
    with pytest.raises(AuthenticationFailedError):
        users.authenticate({}, {"user": "a", "password": "very secre"})
    with pytest.raises(BadRequestError):
        users.authenticate({"X-ClickHouse-User": "a"}, {"user": "a"})


@pytest.mark.parametrize("users", [[], [User("a", "")], [User("", "b")], [User("a", "b")] * 2])
def test_a_table_of_users_that_opens_the_door_is_refused(users: list[User]) -> None:
    with pytest.raises(ValueError, match=r"user|password"):
        Users(users)
