from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sinks.sql_endpoint.endpoint_process import EndpointProcess


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointProcess]:
    """A served store that the tests share: none of them may leave anything in it."""
    folder: Path = tmp_path_factory.mktemp("sql-endpoint")
    with EndpointProcess(
        folder, query={"execution_seconds": 5.0, "memory_bytes": 400_000_000}
    ) as served:
        yield served
