"""From the kernel to SQL, on real input: what the first page of the README promises."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import nats
import pytest

from tenwatch.embedded.child import confinement
from tenwatch.embedded.user import choose_user
from tests.support.instance import RunningInstance, start_instance
from tests.support.polling import eventually_sync

POLL_SECONDS = 0.5
BUCKET_SUMS = """
SELECT sum(execs) AS execs, sum(exits) AS exits, sum(failures) AS failures, sum(crashes) AS crashes
FROM tenwatch.buckets WHERE kind = 'process' AND scope = 'node'
"""
RAW_SUMS = """
SELECT countIf(action = 'exec') AS execs, countIf(action = 'exit') AS exits,
       countIf(action = 'exit' AND exit_code > 0) AS failures,
       countIf(action = 'exit' AND signal > 0) AS crashes
FROM tenwatch.process_events
"""


def compile_c(folder: Path, name: str, text: str) -> Path:
    source = folder / f"{name}.c"
    source.write_text(text)
    subprocess.run(["gcc", source.name, "-o", name], cwd=folder, check=True)
    return folder / name


def settled(instance: RunningInstance, marker: str, expected: int) -> None:
    """Wait until the store has the exits of all programs that carry the marker."""
    eventually_sync(
        lambda: (
            int(
                instance.sql(
                    "SELECT count() AS n FROM tenwatch.processes "
                    "WHERE action = 'exit' AND has(argv, {marker:String})",
                    marker=marker,
                )[0]["n"]
            )
            == expected
        ),
        deadline=40,
        what=f"{expected} processes with {marker} in the store",
        interval=POLL_SECONDS,
    )


def sums_agree(instance: RunningInstance) -> dict[str, int]:
    """Wait until the buckets' sums equal the raw counts; both are asked in the same moment."""

    def same() -> dict[str, int] | None:
        raw = {name: int(value or 0) for name, value in instance.sql(RAW_SUMS)[0].items()}
        buckets = {name: int(value or 0) for name, value in instance.sql(BUCKET_SUMS)[0].items()}
        assert raw == buckets
        return raw

    agreed = eventually_sync(
        same, deadline=40, what="bucket sums equal raw counts", interval=POLL_SECONDS
    )
    assert agreed is not None
    return agreed


def test_every_process_and_file_is_in_sql_and_the_buckets_agree(
    instance: RunningInstance, tmp_path: Path
) -> None:
    work = instance.watched / "work"
    work.mkdir()
    hello = compile_c(work, "hello", "int main(void) { return 0; }\n")
    crash = compile_c(work, "crash", "int main(void) { volatile int *p = 0; return *p; }\n")
    subprocess.run([hello, "the-hello"], cwd=work, check=True)
    assert (
        subprocess.run(["sh", "-c", "exit 3", "the-three"], cwd=work, check=False).returncode == 3
    )
    assert subprocess.run([crash, "the-crash"], cwd=work, check=False).returncode == -11
    for number in range(200):
        subprocess.run(["/bin/true", "one-of-many", str(number)], cwd=work, check=True)
    for number in range(500):
        folder = instance.watched / f"new{number % 25}" / f"deeper{number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{number}.txt").write_text("x" * number)

    settled(instance, "one-of-many", 200)
    many = instance.sql(
        "SELECT argv, cwd, exit_code, signal FROM tenwatch.processes "
        "WHERE has(argv, 'one-of-many') AND action = 'exit'"
    )
    assert {row["argv"][2] for row in many} == {str(number) for number in range(200)}
    assert {(row["cwd"], row["exit_code"], row["signal"]) for row in many} == {(str(work), 0, None)}

    def one(marker: str) -> dict[str, Any]:
        rows = instance.sql(
            "SELECT argv, cwd, exit_code, signal FROM tenwatch.processes "
            "WHERE has(argv, {marker:String})",
            marker=marker,
        )
        assert len(rows) == 1, rows
        return rows[0]

    settled(instance, "the-crash", 1)
    assert one("the-hello") == {
        "argv": [str(hello), "the-hello"], "cwd": str(work), "exit_code": 0, "signal": None,
    }  # fmt: skip
    assert (one("the-three")["exit_code"], one("the-three")["signal"]) == (3, None)
    assert (one("the-crash")["exit_code"], one("the-crash")["signal"]) == (None, 11)
    compiled = instance.sql(
        "SELECT argv, cwd, exit_code, sources, target FROM tenwatch.builds "
        "WHERE has(argv, 'hello.c')"
    )
    assert compiled, "the compiler run is a build"
    assert {"exit_code": 0, "cwd": str(work)}.items() <= compiled[0].items()
    assert compiled[0]["sources"] == ["hello.c"]

    def files() -> bool:
        rows = instance.sql(
            "SELECT path, argMax(size, ts) AS size FROM tenwatch.files "
            "WHERE path LIKE '%/file%.txt' GROUP BY path"
        )
        return {Path(row["path"]).name: int(row["size"]) for row in rows} == {
            f"file{number}.txt": number for number in range(500)
        }

    eventually_sync(files, deadline=40, what="all 500 files with their sizes")
    sums_agree(instance)


@pytest.mark.parametrize("part", ["worker", "sink"])
def test_a_killed_part_comes_back_and_the_sums_are_still_exact(
    instance: RunningInstance, part: str
) -> None:
    script = 'for i in $(seq 400); do /bin/true load-of-the-kill "$i"; done; exit 7'
    load = subprocess.Popen(["sh", "-c", script])
    eventually_sync(
        lambda: instance.sql(
            "SELECT 1 FROM tenwatch.processes WHERE has(argv, 'load-of-the-kill') LIMIT 1"
        ),
        deadline=30,
        what="the load is under way",
    )
    before = instance.pid(part)
    os.kill(before, signal.SIGKILL)
    assert load.wait(60) == 7
    eventually_sync(
        lambda: instance.pid(part) not in (0, before), deadline=30, what="the part was restarted"
    )

    # Until a killed sink is back nothing answers.
    def answers() -> bool:
        with contextlib.suppress(OSError):
            return bool(instance.sql("SELECT 1 AS one"))
        return False

    eventually_sync(answers, deadline=60, what="SQL answers again")
    settled(instance, "load-of-the-kill", 400)
    assert sums_agree(instance)["exits"] >= 401
    losses = instance.sql("SELECT * FROM tenwatch.loss WHERE kind = 'process'")
    assert losses == []


async def test_a_plain_subscription_prints_readable_lines(instance: RunningInstance) -> None:
    login = instance.credentials["nats"]
    client = await nats.connect(
        instance.facts["nats"], user=login["user"], password=login["password"]
    )
    try:
        subscription = await client.subscribe("events.process.>")
        await client.flush()
        subprocess.run(["/bin/true", "seen-by-a-tap"], check=True)
        async with asyncio.timeout(20):
            async for message in subscription.messages:
                lines = [json.loads(line) for line in message.data.splitlines()]
                assert all(
                    line["node"] and line["argv"] is not None
                    for line in lines
                    if line["action"] == "exec"
                )
                if any("seen-by-a-tap" in line.get("argv", []) for line in lines):
                    break
    finally:
        await client.close()


def test_only_producers_keep_privileges(instance: RunningInstance) -> None:
    users = {}
    for part, pid in instance.facts["pids"].items():
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        users[part] = (int(fields["Uid"].split()[0]), int(fields["CapEff"], 16))
    for part in ("nats", "worker", "sink"):
        assert users[part][0] != 0, part
        assert users[part][1] == 0, part


def test_no_secret_is_in_argv_or_in_what_is_printed(instance: RunningInstance) -> None:
    secrets = [login["password"] for login in instance.credentials.values()]
    printed = json.dumps(instance.facts) + instance.logs()
    for pid in instance.facts["pids"].values():
        printed += Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    for secret in secrets:
        assert secret not in printed
    assert Path(instance.facts["credentials"]).stat().st_mode & 0o777 == 0o600


def test_a_stop_drains_everything_and_a_second_start_goes_on(instance: RunningInstance) -> None:
    for number in range(50):
        subprocess.run(["/bin/true", "before-the-stop", str(number)], check=True)
    assert instance.stop() == 0
    again = start_instance(instance.data, instance.watched)
    try:
        settled(again, "before-the-stop", 50)
        sums_agree(again)
    finally:
        assert again.stop() == 0


def test_without_root_it_runs_and_says_what_is_degraded(instance_folder: Path) -> None:
    nobody = choose_user("nobody")
    watched = instance_folder / "watched"
    watched.mkdir()
    os.chown(watched, nobody.user_id, nobody.group_id)
    os.chown(instance_folder, nobody.user_id, nobody.group_id)
    running = start_instance(
        instance_folder / "data", watched, before=[*confinement(nobody, []), "--"]
    )
    try:
        told = " ".join(running.facts["degraded"])
        for expected in ("CAP_BPF", "CAP_SYS_ADMIN", "run it as root"):
            assert expected in told, told
        (watched / "written").write_text("12345")
        eventually_sync(
            lambda: running.sql("SELECT 1 FROM tenwatch.files WHERE path LIKE '%/written'"),
            deadline=30,
            what="the file is in SQL",
            interval=POLL_SECONDS,
        )
    except BaseException:
        print(running.logs())
        raise
    finally:
        assert running.stop() == 0
