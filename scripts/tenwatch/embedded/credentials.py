"""Logins of the embedded instance: made once, kept in files that only their role can read."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from stream.broker.permissions import Role, User, producer_name
from tenwatch.embedded.data_folder import DataFolder
from tenwatch.embedded.instance import write_private
from tenwatch.embedded.user import RoleUser
from tenwatch.errors import StartError

PASSWORD_BYTES = 24
SQL_READER = "reader"
SQL_ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Logins:
    """Users of the broker, and where each role finds its own login."""

    users: tuple[User, ...]
    files: dict[Role, Path]

    def user(self, role: Role) -> User:
        """The user of a role."""
        return next(user for user in self.users if user.role is role)


def ensure_logins(folder: DataFolder, node: str, owner: RoleUser) -> Logins:
    """Read the logins of an earlier start, or make them; writes every credentials file.

    Worker and sink run as ``owner`` and get files of their own. ``credentials.json`` holds what
    people may use: a tap of the broker and a reader of the store.
    """
    passwords = _passwords(folder.secrets / "passwords.json")
    names = {
        Role.ADMIN: "admin",
        Role.PRODUCER: producer_name(node),
        Role.WORKER: "worker",
        Role.SINK: "sink",
        Role.TAP: "tap",
    }
    users = tuple(
        User(
            name,
            role,
            passwords[f"nats-{role.value}"],
            node=node if role is Role.PRODUCER else "",
        )
        for role, name in names.items()
    )
    files: dict[Role, Path] = {}
    for user in users:
        content: dict[str, object] = {"nats": {"user": user.name, "password": user.password}}
        if user.role is Role.TAP:
            path = folder.credentials
            content["sql"] = {"user": SQL_READER, "password": passwords["sql-reader"]}
        else:
            path = folder.secrets / f"{user.role.value}.json"
        if user.role is Role.ADMIN:
            content["sql"] = {"user": SQL_ADMIN, "password": passwords["sql-admin"]}
        if user.role is Role.SINK:
            content["sql_users"] = [
                {"user": SQL_READER, "password": passwords["sql-reader"], "role": "reader"},
                {"user": SQL_ADMIN, "password": passwords["sql-admin"], "role": "admin"},
            ]
        confined = owner.privileged and user.role in (Role.WORKER, Role.SINK)
        write_private(
            path, json.dumps(content) + "\n", (owner.user_id, owner.group_id) if confined else None
        )
        files[user.role] = path
    return Logins(users, files)


def _passwords(path: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        known = {}
    except (OSError, ValueError) as error:
        raise StartError(
            f"{path} can't be read ({error}); remove it, and new passwords are made"
        ) from None
    wanted = [f"nats-{role.value}" for role in Role] + ["sql-reader", "sql-admin"]
    passwords = {name: known.get(name) or secrets.token_urlsafe(PASSWORD_BYTES) for name in wanted}
    if passwords != known:
        write_private(path, json.dumps(passwords) + "\n")
    return passwords
