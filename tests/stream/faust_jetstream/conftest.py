"""Fixtures of the transport's tests: servers of their own, ended after the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stream.faust_jetstream.servers import Cluster, Server


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes running servers."""
    made: list[Server] = []

    def make(extra: str = "") -> Server:
        server = Server(tmp_path / f"nats-{len(made)}", extra=extra)
        made.append(server)
        return server.start()

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A running server."""
    return make_server()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A running cluster of three."""
    three = Cluster(tmp_path / "cluster")
    yield three.start()
    three.stop()
