"""Output formats: which are served, under their own names, and their content types."""

from collections.abc import Iterable

from sinks.sql_endpoint.errors import UnknownFormatError
from sinks.sql_endpoint.words import words

# These need a schema or template file, speak another protocol, or report progress in their rows.
_REFUSED = words(
    """avroconfluent buffers capnproto customseparated customseparatedwithnames
    customseparatedwithnamesandtypes mysqlwire odbcdriver2 postgresqlwire protobuf protobuflist
    protobufsingle template"""
)
_CONTENT_TYPES = {
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwith": "text/csv; charset=UTF-8; header=present",
    "json": "application/json; charset=UTF-8",
    "ndjson": "application/x-ndjson; charset=UTF-8",
    "pretty": "text/plain; charset=UTF-8",
    "vertical": "text/plain; charset=UTF-8",
    "markdown": "text/markdown; charset=UTF-8",
    "values": "text/plain; charset=UTF-8",
    "xml": "application/xml; charset=UTF-8",
    "raw": "text/plain; charset=UTF-8",
    "line": "text/plain; charset=UTF-8",
    "tskv": "text/plain; charset=UTF-8",
}


class Formats:
    """The formats that the engine can write, less those that are not served."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {
            name.lower(): name for name in names if name.lower() not in _REFUSED and name.isalnum()
        }

    def require(self, name: str) -> str:
        """The format's own spelling; UnknownFormatError when it is not served."""
        known = self._names.get(name.lower())
        if known is None:
            raise UnknownFormatError(
                f"Unknown format {name[:50]}: it is not served here; ask system.formats"
            )
        return known


def content_type(name: str) -> str:
    """The Content-Type of a result, as ClickHouse's formats name theirs."""
    lowered = name.lower()
    matching = [start for start in _CONTENT_TYPES if lowered.startswith(start)]
    if not matching:
        return "application/octet-stream"
    return _CONTENT_TYPES[max(matching, key=len)]
