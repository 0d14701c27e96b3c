"""Rows of 10-second windows, as they lie on ``buckets.<kind>.<node>`` and in ClickHouse.

A row holds absolute values, never increments: the row with the highest ``version`` is the truth.
Rows of one node are partial for every scope that spans nodes (workload, namespace, student…);
sums across nodes are made in SQL.
"""

from typing import Final, Literal

from msgspec import Struct

WINDOW_SECONDS: Final = 10

Scope = Literal[
    "container", "pod", "workload", "namespace", "student", "assignment", "node", "host"
]
"""``host`` is what runs on the node outside any pod; ``node`` is everything on it."""


class BucketRow(Struct, kw_only=True, omit_defaults=True):
    """The fields that rows of every kind share. Metrics of the kind follow in the same object."""

    kind: str
    scope: Scope
    node: str
    window_start: str
    """``2026-01-02T03:04:10Z``: aligned to the epoch."""
    window_end: str
    final: bool = False
    version: int
    """Strictly increasing per row; see :func:`bucket_version`."""
    late: int = 0
    """Events that came after the window had closed and corrected this row."""
    samples: int = 0
    """Events (or samples) that the row was made of."""
    namespace: str = ""
    workload_kind: str = ""
    workload: str = ""
    pod: str = ""
    pod_uid: str = ""
    container: str = ""
    container_id: str = ""
    course: str = ""
    division: str = ""
    student: str = ""
    assignment: str = ""


_COMMIT_BITS: Final = 47


def bucket_version(incarnation: int, commit: int, final: bool) -> int:
    """Pack a version into 64 bits: incarnation (16), commit number (47), final (1).

    The incarnation rises when a stream is made anew or a run is promoted. A provisional row
    carries the number of the commit that is yet to come, so the final row of that commit is newer.
    """
    if not 0 <= incarnation < 1 << 16 or not 0 <= commit < 1 << _COMMIT_BITS:
        raise ValueError(f"incarnation {incarnation} or commit {commit} does not fit a version")
    return (incarnation << (_COMMIT_BITS + 1)) | (commit << 1) | int(final)
