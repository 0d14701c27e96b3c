"""Which user the parts run as that need no privileges."""

import os
import pwd
from dataclasses import dataclass

from tenwatch.errors import UsageError

PREFERRED = ("tenwatch", "nobody")
"""An account made for the program comes first; ``nobody`` exists everywhere."""


@dataclass(frozen=True, slots=True)
class RoleUser:
    """A user and group by number, and a name for people."""

    name: str
    user_id: int
    group_id: int
    privileged: bool
    """Whether the program may change users at all (it was started as root)."""


def choose_user(name: str | None) -> RoleUser:
    """The user of NATS, worker and sink.

    Started as root: ``name`` if given, else the first of :data:`PREFERRED` that exists. Otherwise
    everything runs as the user who started it. Raises :class:`UsageError` for an unknown name.
    """
    if os.geteuid() != 0:
        if name:
            raise UsageError(
                f"--user {name} works only when started as root; leave it out, or use sudo"
            )
        return RoleUser(str(os.geteuid()), os.geteuid(), os.getegid(), False)
    for candidate in (name,) if name else PREFERRED:
        try:
            found = pwd.getpwnam(candidate)
        except KeyError:
            continue
        if found.pw_uid == 0:
            raise UsageError(f"--user {candidate} is root; name a user without privileges")
        return RoleUser(found.pw_name, found.pw_uid, found.pw_gid, True)
    raise UsageError(
        f"there is no user {name or ' or '.join(PREFERRED)} on this machine; "
        "make one (useradd --system tenwatch) or name another with --user"
    )
