"""The streams of Tenwatch, defined once.

RAW holds what producers publish, of all kinds, so that the events of a node have one order.
EVENTS holds enriched events and losses, BUCKETS rows of windows, DEAD what was refused. RAW,
EVENTS and BUCKETS refuse when full (``discard: new``): nothing that was not read is deleted.
"""

from typing import Any, Final

from stream.broker.jetstream import JetStream, StreamInfo
from stream.broker.settings import StreamSettings
from stream.contract.subjects import BUCKETS, DEAD, EVENTS, LOSS, RAW, TAP

RAW_STREAM: Final = "RAW"
EVENTS_STREAM: Final = "EVENTS"
BUCKETS_STREAM: Final = "BUCKETS"
DEAD_STREAM: Final = "DEAD"
PARTITION: Final = "part"
"""First token of the subjects inside RAW: ``part.<partition>.<kind>.<node>``."""


def stream_definitions(settings: StreamSettings) -> list[dict[str, Any]]:
    """The configuration of each stream, as JetStream's API takes it."""
    return [
        _definition(RAW_STREAM, [f"{RAW}.*.*"], settings.raw_max_bytes, settings)
        | {
            "description": "raw events of every kind, as the producers publish them",
            "subject_transform": {
                "src": f"{RAW}.*.*",
                # The second wildcard, the node, chooses the partition.
                "dest": f"{PARTITION}.{{{{partition({settings.partitions},2)}}}}"
                ".{{wildcard(1)}}.{{wildcard(2)}}",
            },
        },
        _definition(EVENTS_STREAM, [f"{EVENTS}.*.*", f"{LOSS}.*.*"], settings.events_max_bytes,
                    settings)
        | {"description": "enriched events, and what was lost"},
        _definition(BUCKETS_STREAM, [f"{BUCKETS}.*.*"], settings.buckets_max_bytes, settings)
        | {
            "description": "rows of 10-second windows",
            # What a stream sources from an outbox is never published; so taps would see
            # provisional rows only.
            "republish": {"src": f"{BUCKETS}.>", "dest": f"{TAP}.{BUCKETS}.>"},
        },
        _definition(DEAD_STREAM, [f"{DEAD}.*.*"], settings.dead_max_bytes, settings)
        | {"description": "what could not be understood, with its reason", "discard": "old"},
    ]  # fmt: skip


def _definition(
    name: str, subjects: list[str], max_bytes: int, settings: StreamSettings
) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": subjects,
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_bytes": max_bytes,
        "num_replicas": settings.replicas,
        "duplicate_window": int(settings.duplicate_window_seconds * 1e9),
        "allow_direct": True,
    }


async def ensure_streams(
    jetstream: JetStream, settings: StreamSettings | None = None
) -> dict[str, StreamInfo]:
    """Create what is missing and bring the rest to the settings; gives each by name.

    Raises :class:`~stream.broker.errors.ConfigMismatchError` where RAW has another number of
    partitions, since the order of every node hangs on it.
    """
    return {
        definition["name"]: await jetstream.ensure_stream(definition, fixed=("subject_transform",))
        for definition in stream_definitions(settings or StreamSettings())
    }
