"""Runs a program as an unprivileged user: ``python confine.py OPTIONS -- PROGRAM ARGUMENTS``.

The interpreter, the virtual environment or the checkout may lie below a folder that this user
can't enter (``/root``, say). Then the program gets a mount namespace of its own, in which such a
folder is empty but for the paths that the program needs. Nobody else sees a change.

Standard library only, and no import of Tenwatch: it runs as root, so it is short enough to read.
See mount_namespaces(7), credentials(7), and PR_SET_NO_NEW_PRIVS in prctl(2).
"""

import argparse
import ctypes
import os
import signal
import stat
import sys

CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV = 2, 4
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise SystemExit(f"confine: {what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _check(
        _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]),
        f"mount {source} on {target}",
    )


def _may_enter(path: str, user: int, group: int) -> bool:
    facts = os.stat(path)  # noqa: PTH116 - as below
    if facts.st_uid == user:
        return bool(facts.st_mode & stat.S_IXUSR)
    if facts.st_gid == group:
        return bool(facts.st_mode & stat.S_IXGRP)
    return bool(facts.st_mode & stat.S_IXOTH)


def _ancestors(path: str) -> list[str]:
    """Every folder above a path, from the root down."""
    found: list[str] = []
    while path != "/":
        path = os.path.dirname(path)  # noqa: PTH120 - pathlib would add 10 ms to every start
        found.append(path)
    return found[::-1]


def blocked_above(path: str, user: int, group: int) -> str | None:
    """The topmost folder above ``path`` that the user can't enter."""
    for folder in _ancestors(path):
        if not _may_enter(folder, user, group):
            return folder
    return None


def reveal(paths: list[str], user: int, group: int) -> None:
    """Make ``paths`` reachable for the user, in a mount namespace of this process alone."""
    hidden: dict[str, list[str]] = {}
    for path in paths:
        folder = blocked_above(path, user, group)
        if folder is not None:
            hidden.setdefault(folder, []).append(path)
    if not hidden:
        return
    _check(_libc.unshare(CLONE_NEWNS), "unshare the mount namespace")
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    for folder, needed in hidden.items():
        handles = [(path, os.open(path, os.O_PATH)) for path in sorted(set(needed))]
        _mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k")
        for path, handle in handles:
            os.makedirs(path, mode=0o755, exist_ok=True)  # noqa: PTH103 - as above
            _mount(f"/proc/self/fd/{handle}", path, None, MS_BIND | MS_REC)
            os.close(handle)


def main() -> None:
    """Parse, hide, drop, become the program."""
    parser = argparse.ArgumentParser(description="run a program as an unprivileged user")
    parser.add_argument("--user", type=int, required=True)
    parser.add_argument("--group", type=int, required=True)
    parser.add_argument("--path", action="append", default=[], help="must stay reachable")
    parser.add_argument("program", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    program = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    if not program or arguments.user == 0:
        parser.error("name a program, and a user that isn't root")
    os.umask(0o022)
    reveal([os.path.realpath(path) for path in arguments.path], arguments.user, arguments.group)
    os.umask(0o077)
    os.chdir("/")
    os.setgroups([])
    os.setresgid(arguments.group, arguments.group, arguments.group)
    os.setresuid(arguments.user, arguments.user, arguments.user)
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "forbid new privileges")
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0), "die with the supervisor")
    try:
        os.execv(program[0], program)  # noqa: S606 - this program's purpose
    except OSError as error:
        sys.exit(f"confine: {program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
