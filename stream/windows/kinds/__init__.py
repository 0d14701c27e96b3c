"""The kinds of buckets. A new kind is one declaration here and one line in ``_KINDS``."""

from typing import Final

from stream.windows.kinds.base import BucketKind
from stream.windows.kinds.cgroup import CGROUP
from stream.windows.kinds.file import FILE
from stream.windows.kinds.hostpath import HOSTPATH
from stream.windows.kinds.loss import LOSS
from stream.windows.kinds.pod import POD
from stream.windows.kinds.process import PROCESS
from stream.windows.kinds.snapshot import SNAPSHOT

_KINDS: Final = (CGROUP, PROCESS, FILE, SNAPSHOT, HOSTPATH, POD, LOSS)

BUCKET_KINDS: Final[dict[str, BucketKind]] = {kind.name: kind for kind in _KINDS}
"""Declarations by kind of event; kinds that are not here make no buckets."""
