"""audit, schema, dead, snapshot and forget, through the program itself."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream.broker.connection import BrokerConnection
from stream.broker.credentials import Credentials
from stream.broker.publisher import AckedPublisher
from stream.broker.settings import BrokerSettings
from stream.broker.wire import encode_headers
from stream.contract.batch import BatchIdentity
from stream.contract.boot import new_boot_id
from stream.contract.subjects import raw_subject
from stream.contract.timestamps import now_timestamp
from tests.support.instance import RunningInstance
from tests.support.polling import eventually_sync
from tests.support.program import run_program

MAIN = "int main(void) { return 0; }\n"
LATER = "int main(void) { return 1; }\n"


def publish(instance: RunningInstance, identity: BatchIdentity, payload: bytes) -> None:
    """Publish one RAW message with the administrator's login."""

    async def send() -> None:
        login = json.loads((instance.data / "secrets" / "admin.json").read_text())["nats"]
        settings = BrokerSettings(servers=(instance.facts["nats"],))
        credentials = Credentials(user=login["user"], password=login["password"])
        async with BrokerConnection(settings, "test", credentials) as connection:
            await connection.wait_connected(10)
            publisher = AckedPublisher(connection)
            subject = raw_subject(identity.kind, identity.node)
            await publisher.publish_wait(subject, payload, encode_headers(identity.headers()))
            await publisher.close()

    asyncio.run(send())


def process_line(node: str, boot: str, seq: int, comm: str) -> bytes:
    return orjson.dumps(
        {
            "ts": now_timestamp(), "node": node, "boot": boot, "seq": seq, "action": "exec",
            "pid": 1, "ppid": 0, "uid": 0, "exec_id": f"{boot}-{seq}", "comm": comm,
        }
    ) + b"\n"  # fmt: skip


def letters(instance: RunningInstance, node: str) -> list[dict[str, Any]]:
    listed = run_program("dead", "list", "--node", node, "--json", data=instance.data)
    return [json.loads(line) for line in listed.out.splitlines()]


def test_the_audit_balances_and_its_exit_code_says_so(shared: RunningInstance) -> None:
    def balanced() -> dict[str, Any]:
        ran = run_program("audit", "--rows", "--json", data=shared.data, code=None)
        assert ran.code == 0, ran.text[-3000:]
        found: dict[str, Any] = ran.json
        assert found["totals"]["stored"] > 0
        return found

    found = eventually_sync(balanced, deadline=30, what="the audit balances", interval=1)
    assert found["balanced"] is True
    assert {boot["node"] for boot in found["boots"]} >= {"here"}
    shown = run_program("audit", "--node", "here", "--kind", "progress", data=shared.data)
    assert "balanced: " in shown.text
    nothing = run_program("audit", "--node", "nowhere", data=shared.data, code=1)
    assert "nothing to audit" in nothing.text


def test_a_hole_in_the_ledger_is_not_balanced(shared: RunningInstance) -> None:
    boot = new_boot_id()
    for first in (0, 5):
        lines = b"".join(process_line("holey", boot, first + n, "x") for n in range(2))
        publish(shared, BatchIdentity("process", 1, "holey", boot, first, 2), lines)

    def stored() -> bool:
        sql = "SELECT sum(stored) AS n FROM tenwatch.ledger WHERE boot = {boot:String}"
        return int(shared.sql(sql, boot=boot)[0]["n"]) == 4

    eventually_sync(stored, deadline=30, what="both batches are booked")
    ran = run_program("audit", "--node", "holey", "--json", data=shared.data, code=1)
    (gap,) = ran.json["gaps"]
    assert (gap["first_seq"], gap["last_seq"], gap["count"]) == (2, 4, 3)
    shown = run_program("audit", "--node", "holey", data=shared.data, code=1)
    assert "NOT balanced" in shown.text
    assert "seq 2 to 4" in shown.text


def test_the_schema_is_applied_and_applying_again_changes_nothing(shared: RunningInstance) -> None:
    items = run_program("schema", "status", "--json", data=shared.data).json
    assert {"process", "buckets"} <= {item["name"] for item in items}
    assert {item["state"] for item in items} == {"applied"}
    assert run_program("schema", "apply", "--json", data=shared.data).json == []
    printed = run_program("schema", "print", "--cluster", "production").text
    assert "ON CLUSTER `production`" in printed
    assert "Distributed(`production`" in printed


def test_a_view_that_went_is_told_and_made_again(shared: RunningInstance) -> None:
    admin = json.loads((shared.data / "secrets" / "admin.json").read_text())["sql"]
    from tenwatch.sql_client import SqlClient

    client = SqlClient(shared.facts["sql"], admin["user"], admin["password"])
    client.execute("DROP VIEW tenwatch.hostpaths")
    client.execute(
        "ALTER TABLE tenwatch.schema_migrations DELETE WHERE name = 'hostpaths'",
        settings={"mutations_sync": 2},
    )
    items = run_program("schema", "status", "--json", data=shared.data, code=1).json
    assert [item["name"] for item in items if item["state"] == "pending"] == ["hostpaths"]
    done = run_program("schema", "apply", "--json", data=shared.data).json
    assert [item["name"] for item in done] == ["hostpaths"]
    assert shared.sql("SELECT count() AS n FROM tenwatch.hostpaths")
    run_program("schema", "status", data=shared.data)


def test_a_dead_letter_is_listed_shown_and_sent_again(shared: RunningInstance) -> None:
    boot, node = new_boot_id(), "mistaken"
    wrong = process_line(node, boot, 9, "mended")
    lines = [process_line(node, boot, 0, "good"), wrong, process_line(node, boot, 2, "good")]
    publish(shared, BatchIdentity("process", 1, node, boot, 0, 3), b"".join(lines))
    (letter,) = eventually_sync(
        lambda: letters(shared, node), deadline=30, what="the letter is stored", interval=0.5
    )
    assert (letter["stage"], letter["kind"], letter["reason"]) == ("worker", "process", "bad_line")
    shown = run_program("dead", "show", letter["id"], data=shared.data).text
    assert "seq 9 where the batch's headers give 1" in shown
    raw = run_program("dead", "show", letter["id"], "--raw", data=shared.data).out
    assert raw.strip() == wrong.strip()

    sure = run_program("dead", "resend", letter["id"], "--dry-run", "--json", data=shared.data).json
    assert (sure["events"], sure["letters"], sure["skipped"]) == (1, 1, {})
    sent = run_program("dead", "resend", "--node", node, "--json", data=shared.data).json
    assert (sent["events"], sent["duplicates"]) == (1, 0)
    again = run_program("dead", "resend", letter["id"], "--json", data=shared.data).json
    assert again["duplicates"] == 1

    def arrived() -> bool:
        rows = shared.sql(
            "SELECT comm, boot, seq FROM tenwatch.process_events WHERE node = {node:String} "
            "ORDER BY comm, seq",
            node=node,
        )
        return [(row["comm"], row["boot"], int(row["seq"])) for row in rows] == [
            ("good", boot, 0), ("good", boot, 2), ("mended", sent["boot"], 0),
        ]  # fmt: skip

    eventually_sync(arrived, deadline=30, what="the mended event is stored once")
    # The old one stays accounted for as dead, the new one as stored.
    found = run_program("audit", "--node", node, "--rows", "--json", data=shared.data).json
    assert (found["totals"]["dead"], found["totals"]["stored"]) == (1, 3)


def test_a_letter_that_is_no_json_is_not_sent_and_said_so(shared: RunningInstance) -> None:
    boot, node = new_boot_id(), "babbling"
    publish(shared, BatchIdentity("process", 1, node, boot, 0, 1), b"\xff not json \x1b[31m\n")
    (letter,) = eventually_sync(
        lambda: letters(shared, node), deadline=30, what="the letter is stored", interval=0.5
    )
    shown = run_program("dead", "show", letter["id"], data=shared.data)
    assert b"\x1b" not in shown.out
    ran = run_program("dead", "resend", letter["id"], "--json", data=shared.data, code=1)
    assert list(ran.json["skipped"]) == [letter["id"]]
    missing = run_program("dead", "show", "0000", data=shared.data, code=1)
    assert "there is no dead letter 0000" in missing.err
    assert run_program("dead", "resend", data=shared.data, code=2).err.startswith("tenwatch: name")


@pytest.fixture
def saved(shared: RunningInstance, request: pytest.FixtureRequest) -> Path:
    """A folder whose main.c was saved twice, both contents in the store."""
    folder = shared.watched / request.node.name[:20]
    folder.mkdir()
    path = folder / "main.c"
    for number, content in enumerate((MAIN, LATER), 1):
        path.write_text(content)
        eventually_sync(
            lambda wanted=number: (
                int(
                    shared.sql(
                        "SELECT count() AS n FROM tenwatch.snapshots WHERE path = {path:String}",
                        path=path,
                    )[0]["n"]
                )
                == wanted
            ),
            deadline=30,
            what=f"content {number} is stored",
        )
    return path


def test_contents_of_a_file_at_any_time(shared: RunningInstance, saved: Path) -> None:
    versions = run_program("snapshot", "list", saved, "--json", data=shared.data).json
    assert [each["what"] for each in versions] == ["content", "content"]
    assert [int(each["size"]) for each in versions] == [len(MAIN), len(LATER)]
    first = versions[0]["ts"]
    assert run_program("snapshot", "show", saved, data=shared.data).out == LATER.encode()
    earlier = run_program("snapshot", "show", saved, "--at", first, data=shared.data)
    assert earlier.out == MAIN.encode()
    changed = run_program("snapshot", "diff", saved, "--from", first, data=shared.data).text
    assert "-int main(void) { return 0; }" in changed
    assert "+int main(void) { return 1; }" in changed
    absent = run_program("snapshot", "show", "/no/such/file", data=shared.data, code=1)
    assert "no content of '/no/such/file'" in absent.err
    wrong = run_program("snapshot", "show", saved, "--at", "lunch", data=shared.data, code=2)
    assert "is not a time" in wrong.err


def test_a_folder_is_restored_and_nothing_is_overwritten(
    shared: RunningInstance, saved: Path, tmp_path: Path
) -> None:
    first = run_program("snapshot", "list", saved, "--json", data=shared.data).json[0]["ts"]
    tree = run_program("snapshot", "list", f"{saved.parent}/", "--json", data=shared.data).json
    assert [each["path"] for each in tree] == [str(saved)]
    command = ("snapshot", "restore", f"{saved.parent}/", "--at", first, "--into", tmp_path / "b")
    done = run_program(*command, "--json", data=shared.data).json
    assert done == {"written": ["main.c"], "refused": {}}
    assert (tmp_path / "b" / "main.c").read_text() == MAIN
    again = run_program(*command, data=shared.data, code=1)
    assert "was not written" in again.err


def test_what_is_forgotten_is_nowhere_and_the_audit_still_balances(
    shared: RunningInstance, saved: Path
) -> None:
    folder = saved.parent
    shutil.rmtree(folder)
    eventually_sync(
        lambda: shared.sql(
            "SELECT 1 FROM tenwatch.files WHERE path = {path:String} AND action = 'deleted'",
            path=saved,
        ),
        deadline=30,
        what="the deletion is stored",
    )
    command = ("forget", "path", folder, "--json")
    counted = run_program(*command, "--dry-run", data=shared.data).json
    assert counted["rows"]["snapshot_events"] == 2
    assert run_program(*command, "--yes", data=shared.data, code=2).err.startswith("tenwatch: say")
    done = run_program(*command, "--yes", "--reason", "a test", data=shared.data).json
    assert done["done"] and done["rows"] == counted["rows"]
    assert done["purged"]["RAW"] > 0
    for table in ("file_events", "snapshot_events"):
        rows = shared.sql(
            f"SELECT count() AS n FROM tenwatch.{table} WHERE startsWith(path, {{path:String}})",
            path=folder,
        )
        assert int(rows[0]["n"]) == 0, table
    assert run_program(*command, "--dry-run", data=shared.data).json["rows"] == {}
    # Neither does any stream of events hold it (a worker's state is its own, and the commands of
    # these tests have the path in their arguments, which are events of processes).
    field = f'"path":"{saved}"'.encode()
    held = [
        path
        for path in (shared.data / "nats").rglob("*.blk")
        if "STATE" not in str(path) and field in path.read_bytes()
    ]
    assert held == []

    def balanced() -> bool:
        ran = run_program("audit", "--node", "here", "--rows", data=shared.data, code=None)
        assert ran.code == 0, ran.text
        return True

    eventually_sync(balanced, deadline=30, what="the audit balances", interval=1)


def test_without_an_instance_every_command_says_what_to_do(tmp_path: Path) -> None:
    for command in (["audit"], ["schema", "status"], ["dead", "list"], ["snapshot", "list", "/a"]):
        ran = run_program(*command, data=tmp_path / "none", code=3)
        assert "start it with 'tenwatch up'" in ran.err
