"""The greeting of clickhouse-go, which Grafana's plugin uses over HTTP.

Its first query asks for the revision of the server's protocol and is decoded as of the client's
own revision, with a block header in front of the block (`lib/proto/block.go` of clickhouse-go).
The engine writes blocks as of revision 0, without that header. So this one answer is written here,
it says revision 0, and every later answer is decoded as the engine writes it.
"""

from sinks.sql_endpoint.syntax_tree import Node

# DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION of ClickHouse's ProtocolDefines.h
_CUSTOM_SERIALIZATION = 54454
_QUESTIONS = ["displayName", "version", "revision", "timezone"]
_BLOCK_INFO = bytes([1, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0])  # no overflow row, bucket -1, end


def is_hello(tree: Node) -> bool:
    """Whether the statement is `SELECT displayName(), version(), revision(), timezone()`."""
    selects = tree.get("list_of_selects", {}).get("children", [])
    if len(selects) != 1 or set(selects[0]) != {"type", "select"}:
        return False
    columns = selects[0]["select"].get("children", [])
    return [column.get("name") for column in columns] == _QUESTIONS and all(
        column.get("type") == "Function" and not column.get("arguments", {}).get("children")
        for column in columns
    )


def hello(display_name: str, version: str, timezone: str, client_revision: int) -> bytes:
    """The answer in Native format as of `client_revision`."""
    flag = b"\0" if client_revision >= _CUSTOM_SERIALIZATION else b""
    columns = [
        ("displayName()", "String", _text(display_name)),
        ("version()", "String", _text(version)),
        ("revision()", "UInt32", bytes(4)),
        ("timezone()", "String", _text(timezone)),
    ]
    block = b"".join(_text(name) + _text(kind) + flag + data for name, kind, data in columns)
    return _BLOCK_INFO + _number(len(columns)) + _number(1) + block


def _text(value: str) -> bytes:
    raw = value.encode()
    return _number(len(raw)) + raw


def _number(value: int) -> bytes:
    """An unsigned LEB128 number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
