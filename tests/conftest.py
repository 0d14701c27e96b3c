"""Options and fixtures that every test may use."""

import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.nats_server import NatsServer
from tests.support.polling import eventually as eventually_function


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")
    parser.addoption(
        "--rounds", type=int, default=1, help="how often to repeat each repeated fault (default 1)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often a test repeats its fault; each round with another seed."""
    return int(request.config.getoption("--rounds"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Under CI nothing that can run may be skipped: a skipped test is a failed one."""
    outcome = yield
    report = outcome.get_result()
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped under CI, where it must run: {reason}"


@pytest.fixture
def eventually() -> Callable[..., object]:
    """``await eventually(predicate, deadline, what)``; see :mod:`tests.support.polling`."""
    return eventually_function


@pytest.fixture
def make_nats_server(tmp_path: Path) -> Iterator[Callable[..., NatsServer]]:
    """Makes servers (not started yet) that are stopped after the test."""
    made: list[NatsServer] = []

    def make(**options: object) -> NatsServer:
        server = NatsServer(tmp_path / f"nats-{len(made)}", **options)  # type: ignore[arg-type]
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def nats_server(make_nats_server: Callable[..., NatsServer]) -> NatsServer:
    """A running nats-server with a user of every role; see :mod:`tests.support.nats_server`."""
    return make_nats_server().start()


@pytest.fixture(autouse=True)
def own_temporary_folder() -> Iterator[None]:
    """chDB, where a test opens it in this process, moves the temporary folder beside its store."""
    variable, folder = os.environ.get("TMPDIR"), tempfile.tempdir
    yield
    tempfile.tempdir = folder
    if variable is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = variable
