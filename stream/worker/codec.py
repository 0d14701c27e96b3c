"""State as bytes: objects that dump themselves, or bytes as they are."""

from typing import Any


class StateCodec:
    """For values of the worker's one table; see :mod:`stream.contract.state`."""

    def encode(self, value: Any) -> bytes:
        """What the object says it is now."""
        stored: bytes = value if isinstance(value, bytes) else value.dump()
        return stored

    def decode(self, data: bytes) -> bytes:
        """Bytes; the parts of a processor make objects of them."""
        return data


class KeyCodec:
    """For keys, which are texts."""

    def encode(self, value: str) -> bytes:
        """UTF-8."""
        return value.encode("utf-8")

    def decode(self, data: bytes) -> str:
        """From UTF-8."""
        return data.decode("utf-8")
