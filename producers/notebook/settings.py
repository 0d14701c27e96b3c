"""What the environment tells the extension: where to publish, and as whom."""

import json
import os
import ssl
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .messages import escape_token


class NotConfiguredError(Exception):
    """Something in the environment is missing; the message says what."""


@dataclass(frozen=True)
class Settings:
    """Where to publish, and as whom."""

    servers: tuple[str, ...]
    node: str
    login: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls_ca: str = ""
    folder: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the environment; raises :class:`NotConfiguredError`."""
        text = environment.get("TENWATCH_BROKER_SERVERS", "").strip()
        node = environment.get("TENWATCH_PRODUCER_NODE", "")
        if not text or not node:
            missing = "TENWATCH_PRODUCER_NODE" if text else "TENWATCH_BROKER_SERVERS"
            raise NotConfiguredError(f"{missing} is not set")
        login: dict[str, str] = {}
        path = environment.get("TENWATCH_CREDENTIALS_FILE", "")
        try:
            servers = json.loads(text) if text.startswith("[") else text.split(",")
            if path:
                login = dict(json.loads(Path(path).read_text())["nats"])
        except OSError as error:
            raise NotConfiguredError(f"{path} can't be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise NotConfiguredError(
                'TENWATCH_BROKER_SERVERS or the credentials file is not as expected: {"nats": …}'
            ) from None
        return cls(
            servers=tuple(str(each).strip() for each in servers),
            node=node,
            login={key: str(value) for key, value in login.items()},
            tls_ca=environment.get("TENWATCH_BROKER_TLS_CA", ""),
            folder=own_folder(environment.get("TENWATCH_NOTEBOOK_FOLDER", "")),
        )

    def options(self) -> dict[str, Any]:
        """Arguments of nats-py's ``connect``."""
        options: dict[str, Any] = {}
        if "password" in self.login:
            user = self.login.get("user", "")
            options = {"user": user, "password": self.login["password"],
                       "inbox_prefix": f"_INBOX_{escape_token(user)}"}  # fmt: skip
        elif "token" in self.login:
            options["token"] = self.login["token"]
        if "inbox_prefix" in self.login:
            options["inbox_prefix"] = self.login["inbox_prefix"]
        if self.tls_ca:
            options["tls"] = ssl.create_default_context(cafile=self.tls_ca)
        return options


def own_folder(path: str = "") -> Path | None:
    """A folder that is this user's alone; None when there can't be one."""
    folder = Path(path or f"{tempfile.gettempdir()}/tenwatch-cells-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if own else None
