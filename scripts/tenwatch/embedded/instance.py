"""How a running instance is found and reached by the other commands."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tenwatch.embedded.data_folder import DataFolder, default_data_folder
from tenwatch.errors import NotRunningError


@dataclass(frozen=True, slots=True)
class Instance:
    """What ``tenwatch up`` says of itself when everything is ready. No password is in it."""

    nats: str
    sql: str
    credentials: str
    data: str
    pids: dict[str, int]
    degraded: list[str]

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Login:
    """User and password for one of the two doors."""

    user: str
    password: str = field(repr=False)


def write_private(path: Path, text: str, owner: tuple[int, int] | None = None) -> None:
    """Replace a file atomically with one that only its owner can read."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    if owner is not None:
        os.chown(fresh, *owner)
    fresh.replace(path)


def find_instance(data: Path | None) -> Instance:
    """The instance of a data folder; raises :class:`NotRunningError` if there is none."""
    folder = DataFolder(data or default_data_folder())
    try:
        found: dict[str, Any] = json.loads(folder.instance.read_text("utf-8"))
        return Instance(**found)
    except FileNotFoundError:
        raise NotRunningError(
            f"nothing runs with the data folder {folder.root}; start it with 'tenwatch up', "
            "or name the folder of a running instance with --data"
        ) from None
    except PermissionError:
        raise NotRunningError(
            f"{folder.instance} can't be read by this user; run the command as the user who "
            "started 'tenwatch up' (sudo)"
        ) from None
    except (ValueError, TypeError):
        raise NotRunningError(
            f"{folder.instance} is not what this version writes; restart 'tenwatch up'"
        ) from None


def read_login(instance: Instance, door: str) -> Login:
    """The login for ``nats`` or ``sql``; raises :class:`NotRunningError` if it can't be read."""
    try:
        found = json.loads(Path(instance.credentials).read_text("utf-8"))[door]
        return Login(found["user"], found["password"])
    except PermissionError:
        raise NotRunningError(
            f"{instance.credentials} can't be read by this user; run the command as the user who "
            "started 'tenwatch up' (sudo)"
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise NotRunningError(
            f"{instance.credentials} does not hold a login for {door}: {error}"
        ) from None
