"""Names of streams and subjects, and the escaping that makes any text a safe token."""

import base64
import re
import zlib
from functools import lru_cache

from .errors import ConfigurationError

_UNSAFE = re.compile(r"[^A-Za-z0-9-]")
_SUBJECT = re.compile(r"[^\s\x00-\x20\x7f*>.]+(\.[^\s\x00-\x20\x7f*>.]+)*")

MAX_KEY_TOKEN = 2048
"""Characters a key may take in a subject. The server's control line is 4096 by default."""


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return "__" if character == "_" else f"_{ord(character):x}_"


@lru_cache(4096)
def token(text: str) -> str:
    """Return ``text`` as one token of ``[A-Za-z0-9_-]``; different texts give different tokens."""
    return _UNSAFE.sub(_escape, text)


@lru_cache(65536)
def key_token(key: bytes) -> str:
    """Return an encoded key as one subject token (base64url without padding).

    Raises :exc:`ConfigurationError` for keys too long for a subject.
    """
    encoded = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
    if len(encoded) > MAX_KEY_TOKEN:
        raise ConfigurationError(
            f"a table key of {len(key)} bytes does not fit into a subject "
            f"({MAX_KEY_TOKEN * 3 // 4} bytes at most). Use a digest of it as the key."
        )
    return encoded or "_"


def key_from_token(encoded: str) -> bytes:
    """Return the key that :func:`key_token` made this token of."""
    if encoded == "_":
        return b""
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition a key belongs to: CRC-32 modulo the partitions."""
    return zlib.crc32(key) % partitions


@lru_cache(65536)
def check_subject(subject: str) -> str:
    """Return ``subject`` if it can be published to, else raise :exc:`ConfigurationError`."""
    if not _SUBJECT.fullmatch(subject):
        raise ConfigurationError(
            f"{subject!r} is no subject to publish to: use tokens without spaces, "
            "control characters, '*' and '>', joined by single dots."
        )
    return subject


class Names:
    """Names of what one app keeps on the server, below one prefix."""

    def __init__(self, prefix: str, app_id: str) -> None:
        self.prefix = token(prefix)
        self.app = token(app_id)
        self._upper = self.prefix.upper()

    def state_stream(self, partition: int) -> str:
        """Stream of one partition's tables, offsets, epoch and outbox."""
        return f"{self._upper}_{self.app}_STATE_{partition}"

    def state_root(self, partition: int) -> str:
        """Root of the subjects of :meth:`state_stream`."""
        return f"{self.prefix}.state.{self.app}.{partition}"

    def group_stream(self) -> str:
        """Stream of the members, the leader and the assignment."""
        return f"{self._upper}_{self.app}_GROUP"

    def group_root(self) -> str:
        """Root of the subjects of :meth:`group_stream`."""
        return f"{self.prefix}.group.{self.app}"

    def topic_stream(self, topic: str) -> str:
        """Stream of a topic that this package made; topics are shared by all apps."""
        return f"{self._upper}_TOPIC_{token(topic)}"

    def reply_stream(self) -> str:
        """Stream of all replies to agents' callers, of all apps."""
        return f"{self._upper}_REPLIES"

    def reply_root(self) -> str:
        """Root of the subjects of :meth:`reply_stream`; the reply topic follows."""
        return f"{self.prefix}.reply"

    def topic_root(self, topic: str) -> str:
        """Root of the subjects of :meth:`topic_stream`; the partition follows."""
        return f"{self.prefix}.topic.{token(topic)}"
