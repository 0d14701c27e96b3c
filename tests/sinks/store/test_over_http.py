"""The same store through ClickHouse's HTTP interface: our own endpoint stands for a server."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sinks.audit import AuditOptions, run_audit
from sinks.errors import RowRejectedError, SchemaError, StoreAwayError
from sinks.forget import Subject, forget
from sinks.ingest.group import Group, Stage
from sinks.ingest.message import hold
from sinks.ingest.tables import SINK_TABLES
from sinks.ingest.writer import Writer
from sinks.queries import named_queries
from sinks.store.client import Store
from sinks.store.migrations import apply_schema, schema_status
from sinks.store.settings import StoreSettings
from stream.broker.subscription import Delivery
from stream.contract.subjects import events_subject
from tests.support.enriched import Batch, Producer

PROCESS = next(table for table in SINK_TABLES if table.name == "process")


class Server:
    """The endpoint of another process, with an empty database behind it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "tests.sinks.sql_endpoint.serving",
                json.dumps({"folder": str(folder / "server"), "tables": False}),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.url = json.loads(self._process.stdout.readline())["url"]

    def settings(self, user: str = "admin") -> StoreSettings:
        credentials = self._folder / f"{user}.json"
        credentials.write_text(json.dumps({"sql": {"user": user, "password": f"{user}-password"}}))
        return StoreSettings(url=self.url, credentials_file=str(credentials), timeout_seconds=20)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def remote(server: Server) -> Iterator[Store]:
    with Store(server.settings()) as store:
        assert apply_schema(store)
        yield store


@pytest.fixture
def store_group(remote: Store) -> Callable[..., Group]:
    def store_group(*batches: Batch) -> Group:
        writer = Writer(remote, SINK_TABLES)
        writer.start()
        held = [
            hold(PROCESS, Delivery(
                events_subject("process", each.identity.node), each.identity.headers(),
                each.payload, "", number, number, 1, 0, 0,
            ))
            for number, each in enumerate(batches)
        ]  # fmt: skip
        group = Group(PROCESS, held)
        writer.store([group])
        assert group.stage is Stage.STORED, group.error
        group.stage = Stage.REPORTED
        writer.book([group])
        assert group.stage is Stage.BOOKED, group.error
        return group

    return store_group


def test_the_schema_is_applied_once(remote: Store) -> None:
    assert apply_schema(remote) == []
    assert {item.state for item in schema_status(remote)} == {"applied"}


def test_batches_are_stored_once_and_bad_lines_are_left_out(
    remote: Store, store_group: Callable[..., Group]
) -> None:
    producer = Producer()
    batches = [producer.batch(20) for _ in range(3)]
    batches[1].lines[4] = b'{"ts":"nonsense\n'
    assert [letter.seq for letter in store_group(*batches).dead] == [24]
    again = store_group(*batches)
    assert (again.repeated, again.lines) == (59 + 1, 0)
    assert remote.writer.rows(
        "SELECT count(), uniqExact(seq) FROM tenwatch.processes WHERE boot = {boot:String}",
        {"boot": producer.boot},
    ) == [(59, 59)]


def test_a_reader_asks_every_query_and_writes_nothing(server: Server, remote: Store) -> None:
    assert remote.settings.url
    with Store(server.settings("reader")) as reader:
        for query in named_queries().values():
            required = {each.name: "x" for each in query.parameters if each.default is None}
            reader.writer.rows(query.sql, query.bind(required))
        assert run_audit(reader.writer, AuditOptions(node="nobody", rows=True)).boots == []
        with pytest.raises(StoreAwayError, match="INSERT is not served to this user"):
            reader.writer.insert_lines("process_events", b"{}\n", insert_id=1, token="x")


def test_an_admin_audits_and_erases(remote: Store, store_group: Callable[..., Group]) -> None:
    producer = Producer(node="erased", common={"student": "s77"})
    store_group(producer.batch(10))
    assert run_audit(remote.writer, AuditOptions(node="erased", rows=True)).exit_code == 0
    done = forget(
        remote.writer,
        Subject("student", "s77"),
        by="dean",
        reason="asked",
        settings=remote.settings,
    )
    assert done.rows["process_events"] == 10
    assert run_audit(remote.writer, AuditOptions(node="erased", rows=True)).exit_code == 0


def test_errors_have_their_class(server: Server, remote: Store, tmp_path: Path) -> None:
    insert: Any = remote.writer.insert_lines
    with pytest.raises(RowRejectedError):
        insert("process_events", b'{"seq":"x"}\n', insert_id=1, token="y")
    with pytest.raises(SchemaError):
        insert("no_such_table", b"{}\n", insert_id=1, token="z")
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"sql": {"user": "admin", "password": "guess"}}')
    with pytest.raises(StoreAwayError, match="AUTHENTICATION_FAILED"):
        Store(StoreSettings(url=server.url, credentials_file=str(wrong)))
    with pytest.raises(StoreAwayError):
        Store(StoreSettings(url="http://127.0.0.1:9", timeout_seconds=2))
