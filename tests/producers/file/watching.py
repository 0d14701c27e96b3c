"""A file observer as a program, to be killed; prints each event as a line of JSON.

    watching.py DATA_FOLDER SETTINGS_AS_JSON [UID]

Prints ``ready`` first; stops in order when its standard input ends.
"""

import json
import os
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from producers.file.observer import FileObserver
from producers.file.settings import FileSettings
from stream.contract.event import Event


class Printer:
    """An event sink that writes through at once."""

    def __init__(self) -> None:
        self._lock = Lock()

    def _say(self, what: str, value: Any) -> None:
        with self._lock:
            os.write(1, msgspec.json.encode([what, value]) + b"\n")

    def emit(self, kind: str, event: Event) -> None:
        self._say(kind, event)

    def emit_many(self, kind: str, events: list[Event]) -> None:
        for event in events:
            self._say(kind, event)

    def filtered(self, kind: str, count: int = 1) -> None:
        pass

    def lost(self, kind: str, reason: str, count: int | None, **more: Any) -> None:
        self._say("loss", {"kind": kind, "reason": reason, "count": count})

    def watermark(self, kind: str, microseconds: int) -> None:
        self._say("watermark", microseconds)


data, settings = sys.argv[1:3]
if len(sys.argv) > 3:
    os.setgroups([])
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))
observer = FileObserver(msgspec.convert(json.loads(settings), FileSettings), Path(data))
printer = Printer()
observer.start(printer)
printer._say("ready", {"why_not": observer.ready(), "degraded": observer.degraded()})
sys.stdin.read()
observer.stop()
printer._say("metrics", observer.metrics())
