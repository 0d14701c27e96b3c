"""``/ping``, ``/ready`` and ``/metrics`` over HTTP."""

from collections.abc import Callable

from aiohttp import web

from stream.worker.metrics import CONTENT_TYPE


class HealthServer:
    """Answers probes and scrapes. ``ready`` gives the reasons against being ready."""

    def __init__(self, ready: Callable[[], list[str]], metrics: Callable[[], str]) -> None:
        self._ready = ready
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self.port = 0
        """The port that was bound."""

    async def start(self, host: str, port: int) -> None:
        """Listen; raises ``OSError`` if the address is taken."""
        application = web.Application(client_max_size=1024)
        application.add_routes(
            [
                web.get("/ping", self._ping),
                web.get("/ready", self._answer_ready),
                web.get("/metrics", self._answer_metrics),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _ping(self, request: web.Request) -> web.Response:
        return web.Response(text="pong\n")

    async def _answer_ready(self, request: web.Request) -> web.Response:
        reasons = self._ready()
        return web.json_response(
            {"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200
        )

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics().encode(), headers={"Content-Type": CONTENT_TYPE})
