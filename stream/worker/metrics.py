"""Numbers of a worker in Prometheus' text format (version 0.0.4)."""

from collections.abc import Iterator
from typing import Final

from stream.worker.app import WorkerApp

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[str, float]
"""Labels as they are written (or none), and the value."""


def metrics_text(worker: WorkerApp) -> str:
    """All metrics, with their help."""
    return "".join(
        f"# HELP tenwatch_worker_{name} {text}\n# TYPE tenwatch_worker_{name} {kind}\n"
        + "".join(f"tenwatch_worker_{name}{labels} {value:g}\n" for labels, value in samples)
        for name, kind, text, samples in _metrics(worker)
        if samples
    )


def _metrics(worker: WorkerApp) -> Iterator[tuple[str, str, str, list[Sample]]]:
    processors = sorted(worker.processors.items())
    health = worker.jetstream.health()
    events: dict[str, int] = {}
    dead: dict[str, int] = {}
    for _, processor in processors:
        for kind, count in processor.counts.events.items():
            events[kind] = events.get(kind, 0) + count
        for reason, count in processor.counts.dead.items():
            dead[reason] = dead.get(reason, 0) + count
    yield (
        "events_total",
        "counter",
        "Events enriched.",
        [(f'{{kind="{kind}"}}', count) for kind, count in sorted(events.items())],
    )
    yield (
        "dead_total",
        "counter",
        "Events refused, or counted in no bucket.",
        [(f'{{reason="{reason}"}}', count) for reason, count in sorted(dead.items())],
    )
    for name, text, values in (
        ("messages_total", "Messages of RAW read.",
         [p.counts.messages for _, p in processors]),
        ("unresolved_total", "Events whose pod stayed unknown.",
         [p.counts.unresolved for _, p in processors]),
        ("never_arrived_total", "Events that a producer sent and that never came.",
         [p.counts.missing for _, p in processors]),
        ("repeats_total", "Events that had come before.",
         [p.windows.counts.repeats for _, p in processors]),
        ("late_total", "Events that corrected a closed window.",
         [p.windows.counts.late for _, p in processors]),
        ("too_late_total", "Events too late to correct their window.",
         [p.windows.counts.too_late for _, p in processors]),
        ("clamped_total", "Events whose time was far ahead of their producer's clock.",
         [p.windows.counts.clamped for _, p in processors]),
        ("final_rows_total", "Final bucket rows.",
         [p.windows.counts.final_rows for _, p in processors]),
        ("provisional_rows_total", "Provisional bucket rows.",
         [p.windows.counts.provisional_rows for _, p in processors]),
    ):  # fmt: skip
        yield name, "counter", text, [("", float(sum(values)))]
    yield (
        "raw_purged_total",
        "counter",
        "Messages dropped from RAW after they were committed.",
        [("", worker.purged)],
    )
    yield (
        "provisional_dropped_total",
        "counter",
        "Messages of provisional rows that were not published.",
        [("", worker.provisional_dropped)],
    )
    yield (
        "commits_total",
        "counter",
        "Commits of state, rows and offset.",
        [("", health["commits"])],
    )
    yield (
        "held_events",
        "gauge",
        "Events that wait for metadata.",
        [(_partition(number), processor.enricher.waiting()) for number, processor in processors],
    )
    yield (
        "lag_messages",
        "gauge",
        "Messages of RAW stored and not yet processed.",
        [(_partition(number), each["lag"]) for number, each in health["partitions"].items()],
    )
    yield (
        "watermark_lag_seconds",
        "gauge",
        "Wall clock less the oldest watermark.",
        [(_partition(number), worker.clock_lag(number)) for number, _ in processors],
    )
    yield (
        "clock_ahead_seconds",
        "gauge",
        "Nodes whose clock is ahead of the broker's.",
        [
            (f'{{node="{_escaped(node)}"}}', ahead)
            for _, processor in processors
            for node, ahead in sorted(processor.counts.clock_ahead.items())
        ],
    )
    yield (
        "rules_bad",
        "gauge",
        "1 while the rules file can't be used as it is.",
        [("", float(bool(worker.rules.problem)))],
    )


def _partition(number: int) -> str:
    return f'{{partition="{number}"}}'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
