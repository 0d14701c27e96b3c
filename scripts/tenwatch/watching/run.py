"""Looks again every second, and listens to keys."""

import asyncio
import contextlib
import json
import os
import sys
import termios
import tty
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live

from tenwatch.errors import TenwatchError
from tenwatch.sql_client import SqlClient
from tenwatch.tables import PLAIN_WIDTH
from tenwatch.watching.usage import By, Picture, arranged, as_json, look
from tenwatch.watching.view import Choice, health_line, screen, usage_table

REFRESH_SECONDS = 1.0
SCOPES = {"n": By.node, "p": By.pod, "w": By.workload, "s": By.namespace, "u": By.student}
SORTS = {
    "c": "cpu_millicores", "m": "memory_bytes", "i": "io_write", "e": "execs", "f": "failures",
    "d": "file_changes", "a": "name",
}  # fmt: skip


def print_once(
    store: SqlClient, by: By, span: int, choice: Choice, limit: int | None, *, json_output: bool
) -> None:
    """One picture, for scripts and pipes."""
    picture = look(store, by, span)
    rows = arranged(picture, choice.sort, choice.text, reverse=choice.reverse)[:limit]
    if json_output:
        print(json.dumps(as_json(picture, rows)))
        return
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print(health_line(picture))
    console.print(usage_table(picture, rows, choice, console.width))


def press(key: str, by: By, choice: Choice) -> By | None:
    """What a key does to the choice; gives what rows are about now, None to quit."""
    if choice.typing:
        if key in "\r\n\x1b":
            choice.typing = False
            choice.text = "" if key == "\x1b" else choice.text
        elif key in "\x7f\b":
            choice.text = choice.text[:-1]
        elif key.isprintable():
            choice.text += key
        return by
    if key in "q\x03":
        return None
    if key in SORTS:
        choice.sort = SORTS[key]
    elif key == "r":
        choice.reverse = not choice.reverse
    elif key == "/":
        choice.typing = True
    elif key == "\x1b":
        choice.text = ""
    return SCOPES.get(key, by)


async def show_live(store: SqlClient, by: By, span: int, choice: Choice) -> None:
    """Until q is pressed. A store that doesn't answer is told on the screen, and asked again."""
    console = Console()
    wake = asyncio.Event()
    scope: By | None = by
    picture = await asyncio.to_thread(look, store, by, span)
    problem = ""

    def on_key() -> None:
        nonlocal scope
        keys = os.read(sys.stdin.fileno(), 256).decode("utf-8", "ignore")
        if not keys:
            scope = None  # the terminal is gone
        # An arrow or a function key is an escape sequence, which means nothing here.
        for key in "" if keys.startswith("\x1b") and len(keys) > 1 else keys:
            if scope is not None:
                scope = press(key, scope, choice)
        wake.set()

    def draw(live: Live, latest: Picture) -> None:
        rows = arranged(latest, choice.sort, choice.text, reverse=choice.reverse)
        size = (console.width, console.height)
        live.update(screen(latest, rows, choice, size, problem), refresh=True)

    with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        asyncio.get_running_loop().add_reader(sys.stdin, on_key)
        try:
            draw(live, picture)
            while scope is not None:
                wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REFRESH_SECONDS):
                        await wake.wait()
                if scope is None:
                    return
                # A key is answered at once with what is known; new numbers come with the second.
                if wake.is_set() and scope == picture.by:
                    draw(live, picture)
                    continue
                try:
                    picture = await asyncio.to_thread(look, store, scope, span)
                    problem = ""
                except TenwatchError as error:
                    problem = str(error)
                draw(live, picture)
        finally:
            asyncio.get_running_loop().remove_reader(sys.stdin)


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Keys come one by one and are not shown; afterwards the terminal is as it was."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
