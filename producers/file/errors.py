"""What can be wrong with watching files."""


class FileObserverError(Exception):
    """Base of the errors of the file producer."""


class RootError(FileObserverError):
    """A folder to watch can't be watched as it is configured."""


class KernelWatchError(FileObserverError):
    """The kernel refuses a way of watching; the message says which, why, and what would help."""


class FolderUnreachableError(FileObserverError):
    """A watched folder can't be looked at now, so nothing can be said of its files."""


class StateError(FileObserverError):
    """The saved state can't be used."""
