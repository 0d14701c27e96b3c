"""Taking a partition over: the fence, and loading what the last owner committed."""

import asyncio
import base64
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from .connection import FAILED, Connection, is_transient, parse_reply
from .errors import ApiError, FencedError, JetStreamTransportError
from .names import Names, key_from_token
from .partition import Partition
from .reader import SECOND, Reader

if TYPE_CHECKING:
    from .table import PartitionTable, Table

logger = logging.getLogger(__name__)

NO_MESSAGE = 10037
_CHUNK = 2000


class SupersededError(JetStreamTransportError):
    """A later generation has fenced the partition already: this assignment is old."""


@dataclass(slots=True)
class StoredRecord:
    """A JSON record of the state stream and its sequence; ``{}`` and 0 if there is none."""

    sequence: int = 0
    value: dict[str, Any] = field(default_factory=dict)


async def read_record(connection: Connection, stream: str, subject: str) -> StoredRecord:
    """Return the last record of a subject, as the stream's leader has it.

    ``STREAM.MSG.GET`` goes to the leader; ``DIRECT.GET`` may be answered by a replica that is
    hundreds of commits behind. Asks again until answered.
    """
    try:
        answer = await connection.api_until_answered(
            f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}
        )
    except ApiError as error:
        if error.err_code == NO_MESSAGE:
            return StoredRecord()
        raise
    message = answer["message"]
    return StoredRecord(message["seq"], orjson.loads(base64.b64decode(message["data"])))


def state_stream_config(
    names: Names, partition: int, *, replicas: int, storage: str, max_bytes: int
) -> dict[str, Any]:
    """Return the configuration of a partition's state stream."""
    return {
        "name": names.state_stream(partition),
        "description": f"faust state of {names.app}, partition {partition}",
        "subjects": [f"{names.state_root(partition)}.>"],
        "storage": storage,
        "num_replicas": replicas,
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_msgs": -1,
        "max_bytes": max_bytes,
        "max_age": 0,
        "max_msg_size": -1,
        "max_consumers": -1,
        "duplicate_window": 2 * SECOND,
        "allow_atomic": True,
        "allow_msg_ttl": True,
        "allow_direct": True,
    }


async def fence(
    connection: Connection, names: Names, partition: int, generation: int, member: str
) -> tuple[int, str]:
    """Write an epoch record, after which no batch of an earlier owner is accepted.

    Returns its sequence and token. Raises :exc:`SupersededError` if a later generation has
    fenced the partition before.
    """
    stream, subject = names.state_stream(partition), f"{names.state_root(partition)}.epoch"
    epoch = uuid.uuid4().hex
    payload = orjson.dumps({"generation": generation, "member": member, "epoch": epoch})
    while True:
        current = await read_record(connection, stream, subject)
        if current.value.get("epoch") == epoch:
            return current.sequence, epoch
        if current.value.get("generation", 0) > generation:
            raise SupersededError(
                f"partition {partition} was fenced by {current.value.get('member')} in generation "
                f"{current.value['generation']}, after this worker's {generation}."
            )
        headers = {"Nats-Expected-Last-Subject-Sequence": str(current.sequence)}
        try:
            answer = await connection.client.request(subject, payload, timeout=3, headers=headers)
            return int(parse_reply(answer.data, subject)["seq"]), epoch
        except FAILED as error:
            # Refused because somebody else fenced, or not answered: the record tells.
            if isinstance(error, ApiError) and error.err_code != 10071 and not is_transient(error):
                raise
            logger.info("fencing partition %d: %r; reading the record", partition, error)
            await asyncio.sleep(connection.settings.retry_wait)


async def load(
    connection: Connection,
    names: Names,
    partition: Partition,
    tables: Mapping[str, "Table"],
    fence_sequence: int,
) -> list[tuple[int, int, str]]:
    """Fill a partition with what its state stream holds, up to the fence.

    Everything is read through one consumer until the fence itself has been read, so that a
    replica that lags can only make it slower, never make it miss something. Returns the
    outbox messages found: sequence, time stored (ns) and target subject. Raises
    :exc:`FencedError` if another worker has fenced meanwhile.
    """
    root = names.state_root(partition.number)
    data = asyncio.Event()
    reader = Reader(connection, names.state_stream(partition.number), [f"{root}.>"], 1, data.set)
    sinks = {f"t.{table.token}": _sink(partition, table) for table in tables.values()}
    outbox: list[tuple[int, int, str]] = []
    epoch: dict[str, Any] = {}
    at = len(root) + 1
    reader.start()
    try:
        sequence = 0
        while sequence < fence_sequence:
            records = reader.take(_CHUNK)
            if not records:
                data.clear()
                await data.wait()
                if reader.error is not None:
                    raise reader.error
                continue
            for sequence, stored, subject, payload, _ in records:
                kind, _, rest = subject[at:].rpartition(".")
                sink = sinks.get(kind)
                if sink is not None:
                    part, decode_key, decode = sink
                    key = decode_key(key_from_token(rest))
                    if payload:
                        part.load(key, decode(payload))
                    else:
                        part.discard(key)
                elif subject[at:] == "offset":
                    record = orjson.loads(payload)
                    partition.commits = record["commit"]
                    partition.offsets = record["offsets"]
                elif subject[at:] == "epoch":
                    epoch = orjson.loads(payload)
                elif subject[at:].startswith("out."):
                    outbox.append((sequence, stored, subject[at:].split(".", 3)[3]))
            await asyncio.sleep(0)
    finally:
        await reader.close()
    if epoch.get("epoch") != partition.epoch:
        raise FencedError(partition.number, str(epoch.get("member", "an unknown member")))
    partition.sequence = fence_sequence
    return outbox


def _sink(partition: Partition, table: "Table") -> tuple["PartitionTable", Any, Any]:
    return partition.tables[table.name], table.key_codec.decode, table.codec.decode
