"""What ``tenwatch replay`` prints, and with whose rights it works."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stream.broker.connection import BrokerConnection
from stream.broker.credentials import Credentials
from stream.broker.jetstream import JetStream
from stream.broker.settings import BrokerSettings
from tenwatch.access import open_admin_sql, read_admin_login
from tenwatch.embedded.instance import Instance, find_instance
from tenwatch.replaying.feed import FeedProgress
from tenwatch.replaying.replay import Outcome, Replay, ReplayOptions, forget_rows
from tenwatch.replaying.run import Run, delete_streams
from tenwatch.replaying.speed import parse_speed
from tenwatch.replaying.time_range import parse_range
from tenwatch.sql_client import Result
from tenwatch.tables import print_table

NOT_EQUAL = 1


def read_options(
    start: str | None,
    end: str | None,
    last: str | None,
    kinds: list[str] | None,
    nodes: list[str] | None,
    speed: str,
    name: str | None,
    keep: bool,
    config: Path | None,
    source: str = "jetstream",
) -> ReplayOptions:
    """Check what was asked for; raises :class:`~tenwatch.errors.UsageError`."""
    return ReplayOptions(
        run=Run.named(name),
        range=parse_range(start, end, last, time.time_ns() // 1000),
        speed=parse_speed(speed),
        kinds=tuple(kinds or ()),
        nodes=tuple(nodes or ()),
        config=config,
        keep_streams=keep,
        source=source,
    )


async def replay(data: Path | None, options: ReplayOptions, *, verify: bool, as_json: bool) -> int:
    """Run it, show it, print the outcome; gives the exit code."""
    instance = find_instance(data)
    console = Console(stderr=True)
    async with _connection(instance) as connection:
        with Progress(
            TextColumn("[progress.description]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        ) as bar:
            task = bar.add_task(f"run {options.run.name}", total=None, rate="")
            began = time.monotonic()

            def show(progress: FeedProgress) -> None:
                seconds = max(time.monotonic() - began, 1e-9)
                bar.update(
                    task,
                    total=progress.total_messages,
                    completed=progress.read_messages,
                    rate=f"{progress.fed_events / seconds:,.0f} events/s",
                )

            outcome = await Replay(
                instance,
                connection,
                open_admin_sql(instance),
                options,
                lambda sentence: print(f"tenwatch replay: {sentence}", file=sys.stderr),
                show,
            ).replay(with_verdict=verify)
    if as_json:
        print(json.dumps(asdict(outcome), default=str))
    else:
        _print(outcome)
    equal = outcome.verdict is None or outcome.verdict.equal
    return 0 if equal else NOT_EQUAL


def _print(outcome: Outcome) -> None:
    print(
        f"run {outcome.run}: fed {outcome.fed_events} events in {outcome.fed_messages} messages, "
        f"got {outcome.rows} rows, in {outcome.seconds:.1f} s"
    )
    print(f"its buckets: SELECT * FROM tenwatch.replay_buckets FINAL WHERE run = '{outcome.run}'")
    verdict = outcome.verdict
    if verdict is None:
        return
    if verdict.open_windows:
        print(
            f"not compared, since they are not final on both sides: {verdict.open_windows} windows"
        )
    if verdict.compared == 0:
        print("nothing to compare: no window of this range is final on both sides yet")
    elif verdict.equal:
        print(f"equal: {verdict.compared} live rows, every column")
    else:
        print(f"NOT equal: {verdict.differing} rows differ of {verdict.compared}; the first:")
        columns = list(verdict.first[0])
        rows = [[row[column] for column in columns] for row in verdict.first]
        told = [
            index
            for index, column in enumerate(columns)
            if column in ("side", "kind", "scope", "node", "window_start")
            or len({str(row[index]) for row in rows}) > 1
        ]
        print_table(
            Result(
                [columns[index] for index in told],
                ["String" for _ in told],
                [[row[index] for index in told] for row in rows],
            )
        )


async def remove_run(data: Path | None, name: str) -> None:
    """Delete a run's streams and rows."""
    run = Run.named(name)
    instance = find_instance(data)
    async with _connection(instance) as connection:
        await connection.wait_connected(10)
        streams = await delete_streams(JetStream(connection), run)
    store = open_admin_sql(instance)
    forget_rows(store, run)
    store.execute("DELETE FROM tenwatch.replay_runs WHERE run = {run:String}", {"run": run.name})
    print(f"removed run {run.name}: {len(streams)} streams and its rows")


def print_runs(data: Path | None) -> None:
    """All runs, newest first."""
    store = open_admin_sql(find_instance(data))
    print_table(
        store.rows(
            "SELECT run, state, range_start, range_end, fed_events, rows, round(seconds, 1) AS "
            "seconds, updated_at FROM tenwatch.replay_runs FINAL ORDER BY updated_at DESC"
        )
    )


def _connection(instance: Instance) -> BrokerConnection:
    login = read_admin_login(instance, "nats")
    return BrokerConnection(
        BrokerSettings(servers=(instance.nats,)),
        "tenwatch replay",
        Credentials(user=login.user, password=login.password),
    )
