"""An observer whose truth is known: it counts what it emits, at the pace it is told."""

import argparse
import logging
import sys
import threading
import time
from pathlib import Path

from producers.base.observer import EventSink
from producers.base.runner import run_producer
from producers.base.settings import ProducerSettings, RunSettings, SpoolSettings
from stream.broker.settings import BrokerSettings
from stream.contract.kinds.file import FileEvent
from stream.contract.kinds.process import ProcessEvent
from stream.contract.timestamps import format_timestamp


class CountingObserver:
    """Emits ``process`` and ``file`` events, ``per_second`` in all, from one thread."""

    kinds: tuple[str, ...] = ("process", "file")

    def __init__(
        self,
        per_second: float,
        limit: int | None = None,
        path_bytes: int = 40,
        bridged: bool = False,
    ) -> None:
        self.per_second = per_second
        self.limit = limit
        self.path = "/" + "x" * path_bytes
        self.bridged = bridged
        self.emitted = dict.fromkeys(self.kinds, 0)
        self.last_ts_us = 0
        self.done = threading.Event()
        """Set when as many as ``limit`` are emitted."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: EventSink) -> None:
        self._thread = threading.Thread(target=self._run, args=(sink,), daemon=True)
        self._thread.start()

    def _run(self, sink: EventSink) -> None:
        began = time.monotonic()
        done = 0
        while not self._stop.is_set() and (self.limit is None or done < self.limit):
            due = int((time.monotonic() - began) * self.per_second)
            due = due if self.limit is None else min(due, self.limit)
            while done < due and not self._stop.is_set():
                now = max(time.time_ns() // 1000, self.last_ts_us)
                self.last_ts_us = now
                ts = format_timestamp(now)
                if done % 2:
                    sink.emit("file", FileEvent(ts=ts, action="created", path=self.path))
                    self.emitted["file"] += 1
                else:
                    sink.emit(
                        "process",
                        ProcessEvent(
                            ts=ts, action="exec", pid=done, ppid=1, uid=0, exec_id=f"e{done}",
                            comm="test", exe="/usr/bin/test", argv=["test", str(done)],
                        ),
                    )  # fmt: skip
                    self.emitted["process"] += 1
                done += 1
            for kind in self.kinds:
                sink.watermark(kind, self.last_ts_us)
            sink.filtered("process", 3)
            if done == self.limit:
                self.done.set()
            self._stop.wait(0.005)

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def ready(self) -> str | None:
        return None

    def degraded(self) -> list[str]:
        return []

    def metrics(self) -> dict[str, float]:
        return {"counting_emitted_total": float(sum(self.emitted.values()))}


def main() -> int:
    """The same as a process, to be killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--credentials", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--per-second", type=float, default=500)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--path-bytes", type=int, default=40)
    parser.add_argument("--max-bytes", type=int, default=64 * 1024 * 1024)
    parser.add_argument("--segment-bytes", type=int, default=1024 * 1024)
    parser.add_argument("--policy", default="drop_oldest")
    parser.add_argument("--progress-seconds", type=float, default=0.2)
    parser.add_argument("--health-port", type=int, default=0)
    parser.add_argument("--bridged", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    settings = RunSettings(
        "counting",
        ProducerSettings(
            node=arguments.node,
            progress_seconds=arguments.progress_seconds,
            health_port=arguments.health_port,
            batch_idle_age_seconds=0.2,
            stop_seconds=5,
            publish_timeout_seconds=2,
        ),
        SpoolSettings(
            folder=arguments.folder,
            max_bytes=arguments.max_bytes,
            segment_bytes=arguments.segment_bytes,
            policy=arguments.policy,
        ),
        BrokerSettings(
            servers=tuple(arguments.server.split(",")),
            credentials_file=arguments.credentials,
            reconnect_wait_seconds=0.1,
            ping_interval_seconds=0.5,
        ),
    )
    observer = CountingObserver(
        arguments.per_second, arguments.limit, arguments.path_bytes, arguments.bridged
    )

    def mark() -> None:
        observer.done.wait()
        (Path(arguments.folder) / "done").touch()

    threading.Thread(target=mark, daemon=True).start()
    code = run_producer([observer], settings)
    (Path(arguments.folder) / "emitted").write_text(str(observer.emitted))
    return code


if __name__ == "__main__":
    sys.exit(main())
