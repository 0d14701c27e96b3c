"""What can go wrong in the program, each with the exit code that a script sees."""


class TenwatchError(Exception):
    """An expected failure: printed as one sentence on stderr, without a traceback."""

    exit_code = 1


class UsageError(TenwatchError):
    """The command was called with something that can't be."""

    exit_code = 2


class NotRunningError(TenwatchError):
    """No running instance could be found or reached."""

    exit_code = 3


class StartError(TenwatchError):
    """A part of the program didn't start."""

    exit_code = 4


class ConfinementError(TenwatchError):
    """A part can't be run without privileges on this machine."""

    exit_code = 4
