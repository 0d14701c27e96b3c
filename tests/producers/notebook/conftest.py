"""A broker with the login of a notebook, and a real IPython shell that has the extension loaded."""

import atexit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from stream.broker.permissions import Role, User
from tests.support.nats_server import NODE, NatsServer, default_users

LOGIN = f"notebook-{NODE}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    user = User(LOGIN, Role.NOTEBOOK, "notebook-password-of-a-test", node=NODE)
    running = NatsServer(tmp_path / "nats", users=[*default_users(), user])
    running.start()
    yield running
    running.stop()


@pytest.fixture
def environment(server: NatsServer, tmp_path: Path) -> dict[str, str]:
    """What a notebook's pod is given."""
    return {
        "TENWATCH_BROKER_SERVERS": f'["{server.url}"]',
        "TENWATCH_PRODUCER_NODE": NODE,
        "TENWATCH_CREDENTIALS_FILE": str(server.write_credentials(LOGIN)),
        "TENWATCH_NOTEBOOK_FOLDER": str(tmp_path / "left"),
    }


@pytest.fixture
def notebook(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Any]]:
    """Run a cell in a shell of its own; its current folder is the test's."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    atexit.unregister(shell.atexit_operations)
    shell.extension_manager.load_extension("producers.notebook")

    def run(code: str) -> Any:
        return shell.run_cell(code, store_history=False)

    run("pass")  # the cells of a test begin after this one, when everything is imported
    yield run
    shell.extension_manager.unload_extension("producers.notebook")
    shell.atexit_operations()
