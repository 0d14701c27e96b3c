"""Settings of the hostpath producer (section ``hostpath``)."""

from typing import Annotated

from msgspec import Meta, Struct


class HostPathSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which folders to take inventory of, how often, and how much of them."""

    roots: tuple[str, ...] = ()
    """Folders to list, absolute. Default: none, and nothing is observed. One that does not exist
    is reported as missing."""

    interval_seconds: Annotated[float, Meta(gt=0)] = 60.0
    """Seconds between scans. Default: 60; a scan costs a system call per entry."""

    heartbeat_seconds: Annotated[float, Meta(gt=0)] = 3600.0
    """Seconds after which an unchanged folder is listed again. Default: an hour, so that a listing
    is never older than that in any table."""

    depth_limit: Annotated[int, Meta(ge=1)] = 16
    """Levels of folders to look into; 1 is the folder itself. Default: 16."""

    entry_limit: Annotated[int, Meta(ge=1)] = 20_000
    """Entries of one root that are listed, the shallow ones first; what lies beyond is left out,
    and the listing says so (``truncated``). Default: 20000, a listing of some 2 MB."""
