"""What was in a file: at a time, between two times, and back on disk."""

from sinks.snapshots.contents import FileAt, Version, content_at, difference, tree_at, versions
from sinks.snapshots.restore import Restored, restore

__all__ = [
    "FileAt",
    "Restored",
    "Version",
    "content_at",
    "difference",
    "restore",
    "tree_at",
    "versions",
]
