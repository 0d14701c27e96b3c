"""What the sink says of itself over HTTP: ``/ping``, ``/ready`` and ``/metrics``."""

from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import web

from sinks.ingest.sink import Sink

PREFIX: Final = "tenwatch_sink"


class HealthServer:
    """Serves on loopback unless told otherwise. ``/ready`` says in words what is wrong."""

    def __init__(
        self,
        host: str,
        port: int,
        troubles: Callable[[], list[str]],
        metrics: Callable[[], str],
    ) -> None:
        self._host = host
        self._wanted_port = port
        self._troubles = troubles
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; OSError when the address is taken."""
        app = web.Application(client_max_size=1024)
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._show_metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._wanted_port).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="pong\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        troubles = self._troubles()
        if troubles:
            return web.Response(status=503, text="\n".join(troubles) + "\n")
        return web.Response(text="ready\n")

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            text=self._metrics(), headers={"Content-Type": "text/plain; version=0.0.4"}
        )


def metrics_text(sink: Sink, further: Iterable[tuple[str, str, str, float]] = ()) -> str:
    """All metrics in Prometheus' text form. ``further`` are name, type, help and value."""
    tables = sorted(sink.intakes.items())
    families: list[tuple[str, str, str, list[tuple[str, float]]]] = [
        ("stored_rows_total", "counter", "Rows stored since the start",
         [(name, each.stored_rows) for name, each in tables]),
        ("repeated_rows_total", "counter", "Rows that had been stored before and were left out",
         [(name, each.repeated_rows) for name, each in tables]),
        ("dead_rows_total", "counter", "Rows that the store refused, kept as dead letters",
         [(name, each.dead_rows) for name, each in tables]),
        ("inserts_total", "counter", "Inserts that succeeded",
         [(name, each.inserts) for name, each in tables]),
        ("failures_total", "counter", "Inserts that failed and are tried again",
         [(name, each.failures) for name, each in tables]),
        ("redelivered_total", "counter", "Messages delivered again while they were still held",
         [(name, each.redelivered) for name, each in tables]),
        ("held_messages", "gauge", "Messages that are not yet stored and acknowledged",
         [(name, len(each)) for name, each in tables]),
        ("lag_messages", "gauge", "Messages held here or still at the broker",
         [(name, len(each) + each.behind) for name, each in tables]),
        ("lag_seconds", "gauge", "Age of the oldest message that is held",
         [(name, each.lag_seconds()) for name, each in tables]),
    ]  # fmt: skip
    lines = []
    for name, kind, text, values in families:
        lines += [f"# HELP {PREFIX}_{name} {text}", f"# TYPE {PREFIX}_{name} {kind}"]
        lines += [f'{PREFIX}_{name}{{table="{table}"}} {value:g}' for table, value in values]
    singles = [
        ("insert_seconds_total", "counter", "Time spent in inserts", sink.writer.insert_seconds),
        ("inserted_bytes_total", "counter", "Bytes of the inserts that succeeded",
         float(sink.writer.bytes)),
        ("recovered_rows", "gauge", "Rows booked at the start that an earlier sink had stored",
         float(sink.recovered_rows)),
        *further,
    ]  # fmt: skip
    for name, kind, text, value in singles:
        lines += [
            f"# HELP {PREFIX}_{name} {text}",
            f"# TYPE {PREFIX}_{name} {kind}",
            f"{PREFIX}_{name} {value:g}",
        ]
    return "\n".join(lines) + "\n"
