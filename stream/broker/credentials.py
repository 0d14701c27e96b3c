"""The credentials file: JSON, readable by its owner (and group) only.

``{"nats": {"user": …, "password": …}}``, or instead of the two one of ``"token"``,
``"nkey_seed"``, ``"creds_file"`` (path of a decorated JWT). ``"inbox_prefix"`` may be given for
logins without a user name. Other top-level keys (``"sql"``) belong to others.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from stream.broker.errors import CredentialsError
from stream.broker.permissions import inbox_prefix

ENVIRONMENT: Final = "TENWATCH_CREDENTIALS_FILE"


class Credentials(Struct, frozen=True, kw_only=True):
    """How to log in to NATS. Its text never shows a secret."""

    user: str = ""
    password: str = ""
    token: str = ""
    nkey_seed: str = ""
    creds_file: str = ""
    inbox_prefix: str = ""

    def __repr__(self) -> str:
        return f"Credentials(by={self.method!r}, user={self.user!r})"

    @property
    def method(self) -> str:
        """``password``, ``token``, ``nkey``, ``creds`` or ``none``."""
        if self.password:
            return "password"
        if self.token:
            return "token"
        if self.nkey_seed:
            return "nkey"
        return "creds" if self.creds_file else "none"

    @property
    def inbox(self) -> str:
        """The prefix of this user's inboxes; the permissions allow no other."""
        return self.inbox_prefix or (inbox_prefix(self.user) if self.user else "_INBOX")

    def options(self) -> dict[str, Any]:
        """The arguments of nats-py's ``connect``."""
        options: dict[str, Any] = {"inbox_prefix": self.inbox}
        if self.password:
            options |= {"user": self.user, "password": self.password}
        elif self.token:
            options["token"] = self.token
        elif self.nkey_seed:
            options["nkeys_seed_str"] = self.nkey_seed
        elif self.creds_file:
            options["user_credentials"] = self.creds_file
        return options


class _File(Struct):
    nats: Credentials = Credentials()


def load_credentials(path: str = "", environment: Mapping[str, str] | None = None) -> Credentials:
    """Read the file at ``path``, else the one that ``TENWATCH_CREDENTIALS_FILE`` names.

    Without either there is no login. Raises :class:`CredentialsError`; its message never quotes
    the content.
    """
    environment = os.environ if environment is None else environment
    path = path or environment.get(ENVIRONMENT, "")
    if not path:
        return Credentials()
    try:
        with Path(path).open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(1024 * 1024)
    except OSError as error:
        raise CredentialsError(
            f"the credentials file {path} can't be read: {error.strerror}"
        ) from None
    if mode & 0o027:
        raise CredentialsError(
            f"the credentials file {path} has mode {mode:04o}, so others can read or change it; "
            f"run: chmod 600 {path}"
        )
    try:
        credentials = msgspec.json.decode(content, type=_File).nats
    except msgspec.DecodeError as error:
        # The decoder's message names a field or a position, never a value.
        raise CredentialsError(f"the credentials file {path} is not as expected: {error}") from None
    given = [
        name
        for name in ("password", "token", "nkey_seed", "creds_file")
        if getattr(credentials, name)
    ]
    if len(given) > 1:
        raise CredentialsError(
            f'the credentials file {path} gives {" and ".join(given)} under "nats"; keep one'
        )
    if credentials.password and not credentials.user:
        raise CredentialsError(f'the credentials file {path} has a password without "user"')
    return credentials
