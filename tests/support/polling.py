"""Waiting for something to become true, with a deadline instead of a sleep."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")


async def eventually(
    predicate: Callable[[], Result | Awaitable[Result]],
    deadline: float = 10.0,
    what: str = "",
    interval: float = 0.02,
) -> Result:
    """Call ``predicate`` (plain or async) until it gives something true; give that back.

    An ``AssertionError`` inside it counts as "not yet". After ``deadline`` seconds it fails with
    the last result or error.
    """
    end = time.monotonic() + deadline
    while True:
        problem: object
        try:
            result = predicate()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return result
            problem = result
        except AssertionError as error:
            problem = error
        if time.monotonic() > end:
            raise AssertionError(f"not so within {deadline} s: {what or predicate}: {problem!r}")
        await asyncio.sleep(interval)


def eventually_sync(
    predicate: Callable[[], Result], deadline: float = 10.0, what: str = "", interval: float = 0.02
) -> Result:
    """The same for tests without a loop."""
    end = time.monotonic() + deadline
    while True:
        problem: object
        try:
            result = predicate()
            if result:
                return result
            problem = result
        except AssertionError as error:
            problem = error
        if time.monotonic() > end:
            raise AssertionError(f"not so within {deadline} s: {what or predicate}: {problem!r}")
        time.sleep(interval)
