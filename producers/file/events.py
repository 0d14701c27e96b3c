"""watchdog's events, with what the kernel told beside the path."""

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
)


class Origin:
    """What the kernel told of an event beside its path."""

    pid: int = 0
    """Process that did it, in the reader's PID namespace; 0 where the kernel didn't tell."""
    read_us: int = 0
    """Microseconds since the epoch when it was read from the kernel, which stamps none itself."""


class FileClosed(Origin, FileClosedEvent):
    """A file that was open for writing was closed."""


class FileCreated(Origin, FileCreatedEvent):
    """A name for a file appeared."""


class FileModified(Origin, FileModifiedEvent):
    """A file was written to."""


class FileDeleted(Origin, FileDeletedEvent):
    """A name of a file went."""


class FileMoved(Origin, FileMovedEvent):
    """A file got another name."""


class FolderCreated(Origin, DirCreatedEvent):
    """A folder appeared, made or moved here from outside."""

    may_hold_files: bool = True
    """Whether it may have held files when it was first watched."""


class FolderDeleted(Origin, DirDeletedEvent):
    """A folder went, with all beneath."""


class FolderMoved(Origin, DirMovedEvent):
    """A folder got another name, with all beneath."""


class QueueOverflowed(Origin, FileSystemEvent):
    """The kernel's queue was full: any number of events of the watched folder were lost."""

    event_type = "overflowed"
    is_directory = True


KernelEvent = (
    FileClosed
    | FileCreated
    | FileModified
    | FileDeleted
    | FileMoved
    | FolderCreated
    | FolderDeleted
    | FolderMoved
    | QueueOverflowed
)
