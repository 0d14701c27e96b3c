"""Waiting and cancelling that cannot hang."""

import asyncio
from typing import Any


async def wait_event(event: asyncio.Event, timeout: float | None) -> bool:
    """Wait until ``event`` is set; False if that took longer than ``timeout`` seconds.

    Unlike ``asyncio.wait_for`` of Python 3.11 it never swallows a cancellation.
    """
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def stop_task(task: "asyncio.Task[Any] | None") -> None:
    """Cancel a task and wait for its end.

    Cancels again and again: nats-py swallows a cancellation that arrives while it flushes
    (2.16, ``Client._flush_pending``).
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
