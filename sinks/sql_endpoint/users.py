"""Who may ask: users, their keyed password hashes, and how a request names them."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping

from sinks.sql_endpoint.config import Role, User
from sinks.sql_endpoint.errors import AuthenticationFailedError, BadRequestError

_REFUSED = (
    "Authentication failed: the password is incorrect, or there is no user with that name. "
    "Give them as HTTP Basic, as X-ClickHouse-User and X-ClickHouse-Key, "
    "or as the parameters user and password."
)


class Account:
    """An authenticated user, without its password."""

    __slots__ = ("hidden_tables", "name", "role")

    def __init__(self, name: str, role: Role, hidden_tables: frozenset[str]) -> None:
        self.name = name
        self.role = role
        self.hidden_tables = hidden_tables


class Users:
    """All accounts of the endpoint.

    A password is kept as HMAC-SHA-256 under a key that lives only in this process: a memory dump
    or log of the table alone gives nothing to try passwords on. The passwords are generated, long
    and random, so that a slow hash would only cost every request its time.
    """

    def __init__(self, users: Iterable[User]) -> None:
        self._key = secrets.token_bytes(32)
        self._accounts: dict[str, tuple[bytes, Account]] = {}
        for user in users:
            if not user.name or not user.password:
                raise ValueError(f"user {user.name!r} needs a name and a password; give it both")
            if user.name in self._accounts:
                raise ValueError(f"user {user.name!r} is given twice; remove one of them")
            account = Account(user.name, user.role, user.hidden_tables)
            self._accounts[user.name] = (self._digest(user.password), account)
        if not self._accounts:
            raise ValueError("the SQL endpoint needs at least one user; add a reader")
        self._nobody = (secrets.token_bytes(32), None)

    def _digest(self, password: str) -> bytes:
        return hmac.digest(self._key, password.encode("utf-8", "surrogateescape"), hashlib.sha256)

    def authenticate(self, headers: Mapping[str, str], parameters: Mapping[str, str]) -> Account:
        """The account of a request; AuthenticationFailedError without naming what was wrong.

        An unknown name costs the same comparison as a known one.
        """
        name, password = credentials_of(headers, parameters)
        expected, account = self._accounts.get(name, self._nobody)
        matches = hmac.compare_digest(self._digest(password), expected)
        if account is None or not matches:
            raise AuthenticationFailedError(_REFUSED)
        return account


def credentials_of(headers: Mapping[str, str], parameters: Mapping[str, str]) -> tuple[str, str]:
    """User name and password of a request, in ClickHouse's three ways.

    X-ClickHouse-User/-Key first, then HTTP Basic, then the parameters `user` and `password`;
    mixing the ways is refused, as ClickHouse refuses it. Absent ones are `default` and empty.
    """
    authorization = headers.get("Authorization", "")
    by_header = "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers
    by_parameter = "user" in parameters or "password" in parameters
    if by_header + bool(authorization) + by_parameter > 1:
        raise BadRequestError(
            "credentials were given in more than one way (HTTP Basic, X-ClickHouse headers, "
            "parameters); give them in one"
        )
    if by_header:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", "")
    if authorization:
        return _basic(authorization)
    return parameters.get("user", "default"), parameters.get("password", "")


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise AuthenticationFailedError(
            f"the authorization scheme {scheme[:20]!r} is not served; use HTTP Basic"
        )
    try:
        decoded = base64.b64decode(value.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise AuthenticationFailedError(_REFUSED) from None
    name, _, password = decoded.partition(":")
    return name, password
