"""How table keys and values become bytes, and back."""

from typing import Any, Protocol

import orjson


class Codec(Protocol):
    """A pair of functions between live objects and bytes.

    ``decode(encode(x))`` must equal ``x``; for keys the bytes must also be the same for equal
    keys. An encoded value must not be empty: an empty payload marks a deleted key.
    """

    def encode(self, value: Any) -> bytes: ...

    def decode(self, data: bytes) -> Any: ...


class JSONCodec:
    """JSON values: what JSON can say, sets and tuples as lists, bytes not."""

    def encode(self, value: Any) -> bytes:
        """Return ``value`` as JSON. Raises ``TypeError`` for what JSON cannot say."""
        return orjson.dumps(value, default=_to_json, option=orjson.OPT_NON_STR_KEYS)

    def decode(self, data: bytes) -> Any:
        """Return the value that ``data`` encodes."""
        return orjson.loads(data)


class KeyCodec:
    """JSON keys: strings, numbers, booleans, bytes, None, and tuples of these."""

    def encode(self, value: Any) -> bytes:
        """Return the key as JSON; bytes become ``{"bytes": "<latin-1>"}``."""
        return orjson.dumps(value, default=_key_to_json)

    def decode(self, data: bytes) -> Any:
        """Return the key that ``data`` encodes; lists come back as tuples."""
        return _hashable(orjson.loads(data))


class FaustCodec:
    """What a table's faust types and serializers say, for tables declared with them."""

    def __init__(self, serializers: Any, kind: str, typ: Any, serializer: Any) -> None:
        self._dumps = getattr(serializers, f"dumps_{kind}")
        self._loads = getattr(serializers, f"loads_{kind}")
        self._typ = typ
        self._serializer = serializer

    def encode(self, value: Any) -> bytes:
        """Return ``value`` as the serializer writes it."""
        data: bytes = self._dumps(self._typ, value, serializer=self._serializer)
        return data

    def decode(self, data: bytes) -> Any:
        """Return what the serializer reads, as the declared type."""
        return self._loads(self._typ, data, serializer=self._serializer)


def _to_json(value: Any) -> Any:
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if hasattr(value, "to_representation"):
        return value.to_representation()
    raise TypeError(f"a table value holds {type(value).__name__}, which JSON cannot say")


def _key_to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    raise TypeError(f"a table key holds {type(value).__name__}; use text, numbers, bytes, tuples")


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_hashable(item) for item in value)
    if isinstance(value, dict):
        return value["bytes"].encode("latin-1")
    return value
