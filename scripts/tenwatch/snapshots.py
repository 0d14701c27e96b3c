"""What ``tenwatch snapshot`` prints and writes."""

import base64
import json
import sys
from dataclasses import asdict
from pathlib import Path

from sinks.errors import SnapshotError
from sinks.queries import named_query
from sinks.snapshots import FileAt, content_at, difference, restore, versions
from tenwatch.errors import UsageError
from tenwatch.sql_client import Result, SqlClient
from tenwatch.store_door import StoreDoor
from tenwatch.tables import print_table


def print_versions(
    store: SqlClient, path: str, since: str, until: str, student: str, *, as_json: bool
) -> None:
    """Versions of a file, oldest first."""
    found = versions(StoreDoor(store), path, student, since=since, until=until)
    if not found:
        raise SnapshotError(f"no content of {path!r} was kept between {since} and {until}")
    if as_json:
        print(json.dumps([asdict(each) for each in found]))
        return
    rows = [[each.ts, each.what, each.size, each.hash] for each in found]
    print_table(Result(["time (UTC)", "what", "bytes", "hash"], ["S", "S", "UInt64", "S"], rows))


def print_tree(store: SqlClient, prefix: str, at: str, student: str, *, as_json: bool) -> None:
    """Files below a folder that existed at a time."""
    query = named_query("snapshot_tree")
    result = store.rows(query.sql, query.bind({"prefix": prefix, "at": at, "student": student}))
    if as_json:
        print(json.dumps([dict(zip(result.columns, row, strict=True)) for row in result.data]))
    else:
        print_table(result)


def write_content(store: SqlClient, path: str, at: str, student: str, *, as_json: bool) -> None:
    """The bytes of a file; says on stderr when it was gone by then."""
    found = content_at(StoreDoor(store), path, at, student)
    if found.deleted_ts is not None:
        print(
            f"tenwatch snapshot: {path} was gone since {found.deleted_ts}; this is what it last "
            "held",
            file=sys.stderr,
        )
    if as_json:
        content = base64.b64encode(found.content).decode()
        print(json.dumps(asdict(found) | {"content": content, "encoding": "base64"}))
        return
    sys.stdout.buffer.write(found.content)
    sys.stdout.buffer.flush()


def write_difference(store: SqlClient, path: str, start: str, end: str, student: str) -> None:
    """A unified diff; nothing when both are the same."""
    door = StoreDoor(store)
    before = _at(door, path, start, student)
    after = _at(door, path, end, student)
    if before is None and after is None:
        raise SnapshotError(f"no content of {path!r} was kept at {start} or at {end}")
    text = difference(before, after)
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()


def _at(door: StoreDoor, path: str, at: str, student: str) -> FileAt | None:
    """The file, or None when it didn't exist then."""
    try:
        found = content_at(door, path, at, student)
    except SnapshotError:
        return None
    return found if found.deleted_ts is None else None


def restore_files(
    store: SqlClient, prefix: str, into: Path, at: str, student: str, *, as_json: bool
) -> int:
    """Write them, and say what was and wasn't; 1 if something wasn't."""
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{into} can't be made: {error.strerror}; name a folder") from None
    done = restore(StoreDoor(store), prefix, into, at, student)
    if not done.written and not done.refused:
        raise SnapshotError(f"no content below {prefix!r} was kept at {at}")
    if as_json:
        print(json.dumps(asdict(done)))
    else:
        for path in done.written:
            print(into / path)
        for path, why in done.refused.items():
            print(f"tenwatch snapshot: {path} was not written: {why}", file=sys.stderr)
    return int(bool(done.refused))
