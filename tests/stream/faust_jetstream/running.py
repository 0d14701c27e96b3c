"""faust apps running in the test's own loop."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stream.faust_jetstream import JetStreamSettings, create_app

_numbers = itertools.count(1)


def make_app(
    app_id: str,
    url: str,
    folder: Path,
    *,
    member: str = "",
    partitions: int = 2,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """An app with short times, not started."""
    chosen = {
        "lease": 2.0,
        "heartbeat": 0.4,
        "commit_interval": 0.1,
        "revoke_timeout": 2.0,
        **settings,
    }
    return create_app(
        app_id,
        settings=JetStreamSettings(
            servers=[url],
            partitions=partitions,
            member_id=member or f"m{next(_numbers)}",
            **chosen,
        ),
        datadir=folder / "data",
        **(options or {}),
    )


@asynccontextmanager
async def running(*apps: Any) -> AsyncIterator[None]:
    """Start apps, wait until they are ready, stop them in the end."""
    started = []
    try:
        for app in apps:
            app.finalize()
            started.append(app)
            await app.start()
        yield
    finally:
        for app in reversed(started):
            await app.stop()
