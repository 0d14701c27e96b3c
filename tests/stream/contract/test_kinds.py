"""What was recorded with an earlier version of a schema is read by this one, field for field.

``samples/<kind>-<version>.ndjson`` are lines as producers of that version wrote them. They are
never changed: a new field gets a new line, a new major version a new file.
"""

import json
from pathlib import Path

import msgspec
import pytest

from stream.contract.batch import encode_lines
from stream.contract.event import Enrichment, Event, LogPosition
from stream.contract.kinds import KINDS
from stream.contract.timestamps import parse_timestamp

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.ndjson"))
PUBLIC_NAMES = {
    "process": "action pid ppid uid exec_id parent_exec_id comm exe argv argv_truncated cwd "
    "hostname cgroup start_ts duration_us exit_code signal core_dumped degraded",
    "file": "action path old_path size mtime hash lines writer_pid writer_exec_id truncated",
    "snapshot": "path hash size encoding content",
    "hostpath": "action root path type size mtime mode entries",
    "cgroup": "scope cgroup cpu_usage_us cpu_user_us cpu_system_us cpu_throttled_us memory_bytes "
    "memory_working_set_bytes memory_limit_bytes oom_kills io_read_bytes io_write_bytes "
    "io_read_ops io_write_ops net_rx_bytes net_tx_bytes pids",
    "loss": "stage kind reason count first_seq last_seq first_ts last_ts",
}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_recorded_lines_are_read_without_losing_a_field(sample: Path) -> None:
    kind, _, version = sample.stem.rpartition("-")
    definition = KINDS[kind]
    if definition.version != int(version):
        return  # an older major version: kept for those who must still read it
    lines = sample.read_bytes().splitlines()
    assert lines
    for line in lines:
        event = msgspec.json.decode(line, type=definition.event, strict=True)
        parse_timestamp(event.ts)
        again = json.loads(encode_lines([event]))
        recorded = json.loads(line)
        defaults = msgspec.structs.asdict(event)
        assert again.keys() <= recorded.keys()
        for name, value in recorded.items():
            assert again.get(name, defaults.get(name)) == value, name


def test_every_kind_has_a_recorded_sample() -> None:
    assert {path.stem for path in SAMPLES} >= {
        f"{kind}-{definition.version}" for kind, definition in KINDS.items()
    }


@pytest.mark.parametrize("kind", PUBLIC_NAMES)
def test_public_names_are_kept(kind: str) -> None:
    fields = {each.name for each in msgspec.structs.fields(KINDS[kind].event)}
    assert set(PUBLIC_NAMES[kind].split()) | {"ts", "node", "boot", "seq"} <= fields


@pytest.mark.parametrize("kind", KINDS)
def test_common_fields_come_first_and_nothing_collides_with_what_a_worker_adds(kind: str) -> None:
    names = [each.name for each in msgspec.structs.fields(KINDS[kind].event)]
    assert names[:4] == ["ts", "node", "boot", "seq"]
    position = {each.name for each in msgspec.structs.fields(LogPosition)}
    assert not position & set(names)
    if kind != "pod":  # a pod event is what the others are enriched from
        assert not {each.name for each in msgspec.structs.fields(Enrichment)} & set(names) - {
            "pod_uid", "container_id",
        }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_fields_of_a_newer_producer_are_passed_over(kind: str) -> None:
    sample = next(path for path in SAMPLES if path.stem == f"{kind}-1")
    line = sample.read_bytes().splitlines()[0]
    newer = line[:-1] + b',"a_field_of_tomorrow":{"x":[1]}}'
    assert msgspec.json.decode(newer, type=KINDS[kind].event) == msgspec.json.decode(
        line, type=KINDS[kind].event
    )


def test_a_line_without_a_required_field_is_refused() -> None:
    for definition in KINDS.values():
        with pytest.raises(msgspec.ValidationError, match="missing required field"):
            msgspec.json.decode(b"{}", type=definition.event)
    with pytest.raises(msgspec.ValidationError, match="missing required field `ts`"):
        msgspec.json.decode(b"{}", type=Event)
