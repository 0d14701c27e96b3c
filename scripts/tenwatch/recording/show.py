"""What ``tenwatch record`` prints."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import msgspec

from stream.contract.timestamps import format_timestamp
from tenwatch.recording.reader import Recording
from tenwatch.recording.record import RecordReport


def show_progress(report: RecordReport) -> None:
    """One line on a terminal that is written over."""
    if sys.stderr.isatty():
        text = f"\r{report.events:,} events, {report.bytes / 1e6:,.1f} MB"
        print(text, end="", file=sys.stderr, flush=True)


def print_report(report: RecordReport, *, as_json: bool) -> None:
    """What was recorded by this call."""
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if report.missed_messages:
        print(
            f"tenwatch record: up to {report.missed_messages} messages between the earlier end and "
            "now are missing: the stream no longer holds them",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps(asdict(report)))
        return
    print(
        f"recorded {report.events} events in {report.messages} messages of {report.stream} into "
        f"{report.folder}: {report.bytes / 1e6:.1f} MB, {report.seconds:.1f} s"
    )


def print_info(folder: Path, *, as_json: bool) -> None:
    """What a recording holds."""
    recording = Recording(folder)
    frames = [frame.entry for frame in recording.frames]
    found = msgspec.to_builtins(recording.description) | {
        "files": len({frame.file for frame in recording.frames}),
        "frames": len(frames),
        "messages": recording.messages,
        "events": recording.events,
        "bytes": sum(entry.size for entry in frames),
        "torn_bytes": recording.torn_bytes,
        "first_seq": frames[0].first_seq if frames else None,
        "last_seq": frames[-1].last_seq if frames else None,
        "first_ts": format_timestamp(frames[0].first_time_ns // 1000) if frames else None,
        "last_ts": format_timestamp(frames[-1].last_time_ns // 1000) if frames else None,
    }
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name + ':':11} {', '.join(value) if isinstance(value, list) else value}")
