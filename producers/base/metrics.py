"""A producer's numbers in Prometheus's text format, made when they are asked for.

Labels are bounded: kinds come from the contract, reasons are fixed words (at most 32 per kind).
Source: prometheus.io, "Exposition formats".
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from producers.base.accounts import Account
from producers.base.observer import Observer
from producers.base.pipeline import Pipeline
from stream.broker.connection import BrokerConnection

_log = logging.getLogger("tenwatch.producer")
PREFIX: Final = "tenwatch_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[Mapping[str, str], float]


def render(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    """One metric: its help, its type (``counter`` or ``gauge``) and its samples."""
    lines = [f"# HELP {PREFIX}{name} {text}", f"# TYPE {PREFIX}{name} {kind}"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(each)}"' for key, each in labels.items())
        shown = repr(float(value)) if value % 1 else str(int(value))
        lines.append(f"{PREFIX}{name}{{{inner}}} {shown}" if inner else f"{PREFIX}{name} {shown}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def producer_metrics(
    pipeline: Pipeline,
    connection: BrokerConnection,
    observers: Iterable[Observer],
    ready: bool,
) -> str:
    """Every hop of an event in this producer, and what observers add of their own."""
    return "".join(
        [
            *_events(pipeline.accounts),
            *_spool(pipeline),
            *_publishing(pipeline, connection, ready),
            *_observers(observers),
        ]
    )


def _events(accounts: Mapping[str, Account]) -> Iterator[str]:
    def per_kind(field: str) -> list[Sample]:
        return [({"kind": kind}, getattr(each, field)) for kind, each in accounts.items()]

    yield render("events_seen_total", "counter", "Events that observers met.", per_kind("seen"))
    yield render(
        "events_filtered_total", "counter", "Events left out on purpose.", per_kind("filtered")
    )
    yield render("events_emitted_total", "counter", "Events that got a seq.", per_kind("emitted"))
    yield render(
        "events_lost_total",
        "counter",
        "Events lost before or after they got a seq, by reason.",
        [
            ({"kind": kind, "reason": reason}, count)
            for kind, each in accounts.items()
            for reason, count in each.reasons.items()
        ],
    )
    yield render(
        "watermark_timestamp_seconds",
        "gauge",
        "No later event of the kind is earlier than this; 0 while nothing is promised.",
        [({"kind": kind}, each.watermark / 1e6) for kind, each in accounts.items()],
    )


def _spool(pipeline: Pipeline) -> Iterator[str]:
    spool = pipeline.storage.spool
    gauges = {
        "queue_events": ("Events between the observers and the batches.", pipeline.queue.size),
        "spool_bytes": ("Bytes of the spool on disk.", spool.bytes_on_disk),
        "spool_unacknowledged_bytes": (
            "Bytes of the spool that the broker has not acknowledged.",
            spool.unacknowledged_bytes,
        ),
        "spool_writable": ("1 while the disk takes what is written.", not pipeline.spool_problem),
        "oldest_unacknowledged_seconds": (
            "Age of the oldest batch that the broker has not acknowledged.",
            pipeline.publisher.oldest_age_ms / 1000,
        ),
    }
    for name, (text, value) in gauges.items():
        yield render(name, "gauge", text, [({}, value)])
    yield render(
        "spool_damaged_bytes_total",
        "counter",
        "Bytes of the spool that could not be read: torn by a kill, or damaged by the disk.",
        [
            ({"how": "torn"}, pipeline.recovery.torn_bytes),
            ({"how": "damaged"}, spool.damaged_bytes),
        ],
    )


def _publishing(pipeline: Pipeline, connection: BrokerConnection, ready: bool) -> Iterator[str]:
    publisher = pipeline.publisher
    yield render(
        "events_published_total",
        "counter",
        "Events that the broker acknowledged, of this boot and earlier ones.",
        [({"kind": kind}, count) for kind, count in publisher.published.items()],
    )
    yield render(
        "batches_published_total",
        "counter",
        "Batches that the broker acknowledged.",
        [({"kind": kind}, count) for kind, count in publisher.batches.items()],
    )
    yield render(
        "batches_duplicate_total",
        "counter",
        "Batches that the broker had already.",
        [({}, publisher.duplicates)],
    )
    yield render(
        "published_bytes_total", "counter", "Bytes of published batches.", [({}, publisher.bytes)]
    )
    yield render(
        "publish_failures_total",
        "counter",
        "Batches that were not acknowledged, by reason; they are sent again.",
        [({"reason": reason}, count) for reason, count in publisher.failures.items()],
    )
    yield render(
        "broker_connected", "gauge", "1 while connected.", [({}, float(connection.connected))]
    )
    yield render(
        "broker_reconnects_total",
        "counter",
        "Connections made anew.",
        [({}, connection.reconnects)],
    )
    yield render("ready", "gauge", "1 while /ready says so.", [({}, float(ready))])


def _observers(observers: Iterable[Observer]) -> Iterator[str]:
    for observer in observers:
        try:
            metrics = observer.metrics()
        except Exception:
            # Its numbers are missing; those that tell of losses are ours.
            _log.exception("the observer of %s can't give its numbers", "/".join(observer.kinds))
            continue
        for name, value in metrics.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            yield render(name, kind, f"Of the observer {'/'.join(observer.kinds)}.", [({}, value)])
