"""An embedded store with its schema, in this process."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from sinks.store.client import Store
from sinks.store.migrations import apply_schema
from sinks.store.settings import StoreSettings

Insert = Callable[[str, list[dict[str, Any]]], None]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with its schema and nothing in it, to be copied."""
    folder = tmp_path_factory.mktemp("empty") / "store"
    with Store(StoreSettings(path=str(folder), fsync=False)) as store:
        apply_schema(store)
    return folder


def opened(empty_store: Path, folder: Path) -> Store:
    shutil.copytree(empty_store, folder, symlinks=True)
    return Store(StoreSettings(path=str(folder), fsync=False))


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Iterator[Store]:
    """A store of its own for one test."""
    with opened(empty_store, tmp_path / "store") as store:
        yield store


@pytest.fixture(scope="module")
def shared_store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for the tests of a module that only read it."""
    with opened(empty_store, tmp_path_factory.mktemp("shared") / "store") as store:
        yield store


def inserter(store: Store) -> Insert:
    """Gives a function that stores rows as the sink does."""
    number = [0]

    def insert(table: str, rows: list[dict[str, Any]]) -> None:
        number[0] += 1
        lines = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        store.writer.insert_lines(
            table, lines, insert_id=number[0], token=f"test-{table}-{number[0]}"
        )

    return insert


@pytest.fixture
def insert(store: Store) -> Insert:
    return inserter(store)


@pytest.fixture(scope="module")
def shared_insert(shared_store: Store) -> Insert:
    return inserter(shared_store)
