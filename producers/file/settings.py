"""Settings of the file producer (section ``file``)."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from stream.contract.batch import MAXIMUM_SNAPSHOT_BYTES

DEFAULT_EXCLUDE: Final = (
    ".git",
    ".hg",
    ".svn",
    "node_modules",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
    ".venv",
    "venv",
    ".env",
    "env",
    "site-packages",
    "dist-packages",
    ".cache",
    "*.swp",
    "*.swx",
)

DEFAULT_SNAPSHOT_INCLUDE: Final = (
    "*.c",
    "*.h",
    "*.cc",
    "*.cpp",
    "*.hpp",
    "*.py",
    "*.ipynb",
    "*.java",
    "*.js",
    "*.ts",
    "*.go",
    "*.rs",
    "*.sh",
    "*.sql",
    "*.md",
    "*.txt",
    "Makefile",
    "CMakeLists.txt",
)


class FileSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to watch, what to leave out, and how patient to be.

    A pattern without ``/`` is compared with names at any depth; one with ``/`` with the path
    relative to the watched folder, where ``*`` stays within one folder and ``**`` spans folders.
    """

    roots: tuple[str, ...] = ()
    """Folders to watch, absolute, with everything beneath. Default: none, since only people know
    where their files are. A folder that does not exist yet is waited for."""

    include: tuple[str, ...] = ("*",)
    """Patterns of the files to report. Default: every file."""

    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    """Patterns of files and folders to leave out; a folder with all that it holds. Default: what
    tools write for themselves (version control, caches, installed packages, swap files)."""

    snapshot_include: tuple[str, ...] = DEFAULT_SNAPSHOT_INCLUDE
    """Patterns of the files whose content is published. Default: sources and texts. Files that
    usually hold secrets (``.env``, keys) are not among them; an empty list publishes none."""

    content_limit_bytes: Annotated[int, Meta(ge=0, le=MAXIMUM_SNAPSHOT_BYTES)] = 64 * 1024
    """Bytes of a file up to which it is read (for its hash, its lines and its snapshot). Default:
    64 KiB, more than people write by hand. At most 256 KiB, so that one fits a message."""

    quiet_ms: Annotated[int, Meta(ge=0, le=60_000)] = 600
    """Milliseconds without a further change after which a file counts as settled. Default: 600,
    longer than editors take to save."""

    maximum_delay_ms: Annotated[int, Meta(ge=0, le=600_000)] = 3000
    """Milliseconds after which a file that never rests is reported all the same. Default: 3000,
    a third of a window."""

    report_found: bool = True
    """Whether the very first scan of a folder reports what lies there, as ``found``. Default:
    yes, since differences of size need a first size."""

    method: Literal["auto", "fanotify", "inotify"] = "auto"
    """How the kernel is asked. Default: fanotify where it is permitted and works (it scales, and
    names the writer), else inotify."""

    open_writes: bool = False
    """Whether a file that a program keeps open and writes to is reported while it is open, at
    most once in ``maximum_delay_ms``. Default: no, the close reports it; each write would cost."""

    unlimited_kernel_queue: bool = False
    """Whether fanotify's queue in the kernel may grow without bound (FAN_UNLIMITED_QUEUE).
    Default: no (16384 events); an overflow is repaired by a scan, exhausted memory is not."""

    pending_limit: Annotated[int, Meta(ge=16)] = 40_000
    """Changed files that wait to settle. Default: 40000 (some 15 MB). At the limit the oldest are
    reported without waiting, then reading from the kernel waits."""

    tracked_limit: Annotated[int, Meta(ge=1)] = 1_000_000
    """Files whose last state is kept on disk. Default: a million (some 130 MB of disk). Files
    beyond are reported by the kernel's events alone."""

    rescan_seconds: Annotated[int, Meta(ge=0)] = 600
    """Seconds between scans that compare disk and state, 0 for none. Default: 600; it finds what
    no kernel event tells (writes of another node on NFS, files changed through another link)."""

    root_check_seconds: Annotated[float, Meta(gt=0)] = 1.0
    """Seconds between looks at whether a watched folder is still the same one. Default: 1."""

    root_grace_seconds: Annotated[float, Meta(ge=0)] = 2.0
    """Seconds that a watched folder must be missing before its files count as deleted. Default:
    2, so that a folder that is replaced is compared instead."""

    repeat_window_ms: Annotated[int, Meta(ge=0)] = 3000
    """After the producer was killed, changes of its last milliseconds are reported again, since
    nothing proves that they were published. Default: 3000, thrice the age of a batch."""
