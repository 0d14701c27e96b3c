"""Paths of the kernel are bytes; events are text. This is the one way from the first to the second.

Bytes that are not UTF-8 are written ``\\xNN``. A backslash that would read as such an escape is
written ``\\x5c`` itself, so that two different paths never become the same text.
"""

import re
from typing import Final

_LOOKS_ESCAPED: Final = re.compile(rb"\\(?=x[0-9a-f]{2})")
_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})")


def path_text(path: bytes) -> str:
    """The text of a path, injective; plain UTF-8 paths stay as they are."""
    if b"\\" in path:
        path = _LOOKS_ESCAPED.sub(rb"\\x5c", path)
    return path.decode("utf-8", "backslashreplace")


def path_bytes(text: str) -> bytes:
    """The path that :func:`path_text` wrote."""
    escaped = text.encode("utf-8").decode("latin-1")
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), escaped).encode("latin-1")
