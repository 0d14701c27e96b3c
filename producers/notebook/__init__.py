"""An IPython extension that reports each cell run: when, how long, where, and whether it failed.

``%load_ext producers.notebook``, or for every notebook ``c.InteractiveShellApp.extensions``. Never
the code is reported, nor its output. This folder works alone: besides nats-py it needs nothing but
the standard library, so an image for notebooks carries a copy of it, under any name.

It never blocks or breaks a cell: a thread of its own publishes, from a bounded queue. While the
broker is away the queue keeps the newest cells; what it drops is counted and published as a loss
when the broker is back. What a kernel still holds when it ends lies in a folder until the user's
next kernel sends it. Only a kernel that is killed takes its queue with it.

Environment: ``TENWATCH_BROKER_SERVERS`` (URLs, comma-separated or a JSON list),
``TENWATCH_PRODUCER_NODE`` (the Kubernetes node's name, by the downward API),
``TENWATCH_CREDENTIALS_FILE`` (JSON: ``{"nats": {"user", "password"}}``; a login of role
``notebook``, which may publish ``raw.process.<node>`` and ``raw.loss.<node>`` and nothing else),
``TENWATCH_BROKER_TLS_CA`` (a PEM file, where the server's authority is a private one), and
``TENWATCH_NOTEBOOK_FOLDER`` (for what a kernel leaves behind; default: one of the user's own in the
folder for temporary files).
"""

import atexit
import importlib.util
import os
import sys
from typing import Any

from .cells import CellReporter
from .settings import NotConfiguredError, Settings

_reporter: CellReporter | None = None


def load_ipython_extension(shell: Any) -> None:
    """Begin to report cells (``%load_ext``). A missing setting is said once, and nothing breaks."""
    global _reporter
    if _reporter is not None:
        return
    try:
        if importlib.util.find_spec("nats") is None:
            raise NotConfiguredError("nats-py is not installed (pip install nats-py)")
        reporter = CellReporter(Settings.from_environment(os.environ))
    except NotConfiguredError as error:
        print(f"tenwatch: {error}; cells are not reported", file=sys.stderr)
        return
    _reporter = reporter
    shell.events.register("pre_run_cell", reporter.cell_starts)
    shell.events.register("post_run_cell", reporter.cell_ended)
    atexit.register(reporter.stop)


def unload_ipython_extension(shell: Any) -> None:
    """Report no more (``%unload_ext``)."""
    global _reporter
    reporter, _reporter = _reporter, None
    if reporter is not None:
        shell.events.unregister("pre_run_cell", reporter.cell_starts)
        shell.events.unregister("post_run_cell", reporter.cell_ended)
        atexit.unregister(reporter.stop)
        reporter.stop()


def status() -> dict[str, Any]:
    """How the reporting goes: counts, and what keeps it from going; empty when not loaded."""
    if _reporter is None:
        return {}
    return {
        "published": _reporter.published,
        "queued": _reporter.queued,
        "dropped": _reporter.dropped,
        "errors": _reporter.errors,
        "problem": _reporter.problem,
    }
