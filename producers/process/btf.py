"""Reads the kernel's own type information (BTF) and answers where a structure's members lie.

The kernel exports the layout of its structures at ``/sys/kernel/btf/vmlinux`` in the BPF Type
Format (Documentation/bpf/btf.rst, include/uapi/linux/btf.h). Only what offsets need is read:
structures, unions, enumerations, and the number of arguments of a function prototype.

This module runs under the system's interpreter inside the loader (see ``loader.py``), so it uses
the standard library only and stays compatible with Python 3.9.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from pathlib import Path

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")
_MEMBER = struct.Struct("=III")
_ENUM = struct.Struct("=Ii")

_ARRAY, _STRUCT, _UNION, _ENUM32, _TYPEDEF = 3, 4, 5, 6, 8
_POINTER, _VOLATILE, _CONST, _RESTRICT = 2, 9, 10, 11
_PROTOTYPE, _TYPE_TAG, _ENUM64 = 13, 18, 19
_MAX_KIND = 19

# Bytes that follow the 12-byte type head: a fixed part, and a part per element (``vlen``).
_FIXED = array("I", [0] * 32)
_PER_ELEMENT = array("I", [0] * 32)
for _kind, _bytes in {1: 4, _ARRAY: 12, 14: 4, 17: 4}.items():
    _FIXED[_kind] = _bytes
for _kind, _bytes in {_STRUCT: 12, _UNION: 12, _ENUM32: 8, _PROTOTYPE: 8, 15: 12, 19: 12}.items():
    _PER_ELEMENT[_kind] = _bytes

_TRANSPARENT = frozenset({_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG})
_NAMED = frozenset({_STRUCT, _UNION, _ENUM32, _ENUM64, _TYPEDEF})
# Real kernels nest anonymous members three or four deep and qualify types about as often; more
# than this means that damaged data refers to itself.
_NESTING_LIMIT = 32


class BtfError(Exception):
    """The type information is damaged, or of a form that this reader does not know."""


class UnknownTypeError(BtfError):
    """This kernel has no type or member of that name."""


class Btf:
    """The types of one BTF blob.

    :param data: the whole blob, as read from ``/sys/kernel/btf/vmlinux``
    :raises BtfError: it is truncated or not BTF
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER.size:
            raise BtfError(f"BTF header needs {_HEADER.size} bytes, got {len(data)}")
        magic, version, _, header, type_at, type_size, string_at, string_size = _HEADER.unpack_from(
            data
        )
        if magic != _MAGIC:
            raise BtfError(f"not BTF in this machine's byte order: magic is {magic:#06x}")
        if version != 1:
            raise BtfError(f"BTF version {version} is unknown, only version 1 is")
        self._data = data
        self._types_start = header + type_at
        self._types_end = self._types_start + type_size
        self._strings_start = header + string_at
        self._strings_end = self._strings_start + string_size
        if max(self._types_end, self._strings_end) > len(data):
            raise BtfError(
                f"BTF sections end at byte {max(self._types_end, self._strings_end)}, "
                f"but there are only {len(data)} bytes"
            )
        self._positions = array("I", [0])
        self._by_name: dict[tuple[int, int], int] = {}
        self._index()

    @classmethod
    def of_running_kernel(cls, path: str = "/sys/kernel/btf/vmlinux") -> Btf:
        """The running kernel's types.

        :raises BtfError: the kernel exports none (it was built without CONFIG_DEBUG_INFO_BTF)
        """
        try:
            return cls(Path(path).read_bytes())
        except OSError as error:
            raise BtfError(
                f"cannot read {path} ({error.strerror}): the kernel needs CONFIG_DEBUG_INFO_BTF=y"
            ) from error

    def offset(self, path: str) -> int:
        """Bytes from the start of a structure to a member.

        :param path: ``structure.member.member…`` through embedded structures and unions;
            ``|`` separates the names that kernel versions have given one member
        :raises UnknownTypeError: no such structure or member
        :raises BtfError: the member is a bit field
        """
        structure, *members = path.split(".")
        position = self._find(structure, (_STRUCT, _UNION))
        bits = 0
        for index, alternatives in enumerate(members):
            found = None
            for name in alternatives.split("|"):
                found = self._member(position, name, 0)
                if found is not None:
                    break
            if found is None:
                raise UnknownTypeError(f"this kernel has no {path}")
            bits += found[0]
            if index + 1 < len(members):
                position = self._resolve(found[1])
        if bits % 8:
            raise BtfError(f"{path} is a bit field")
        return bits // 8

    def enumerator(self, enumeration: str, name: str) -> int:
        """The value of one name of an enumeration of at most 32 bits.

        :raises UnknownTypeError: no such enumeration or name
        """
        position = self._find(enumeration, (_ENUM32,))
        _, info, _ = self._head(position)
        for index in range(info & 0xFFFF):
            offset, value = self._unpack(_ENUM, position + _TYPE.size + _ENUM.size * index)
            if self._string(offset) == name:
                return int(value)
        raise UnknownTypeError(f"this kernel's enum {enumeration} has no {name}")

    def argument_count(self, function_type: str) -> int:
        """How many arguments a function type takes, given the name of its ``typedef``.

        Tracepoint handlers have one, ``btf_trace_<name>``, whose first argument is the
        tracepoint's private data.

        :raises UnknownTypeError: no such typedef, or it names no function
        """
        position = self._find(function_type, (_TYPEDEF,))
        for _ in range(_NESTING_LIMIT):
            _, info, target = self._head(position)
            kind = info >> 24 & 31
            if kind == _PROTOTYPE:
                return int(info & 0xFFFF)
            if kind != _POINTER and kind not in _TRANSPARENT:
                break
            position = self._position(target)
        raise UnknownTypeError(f"{function_type} names no function type")

    def _index(self) -> None:
        unpack, data, end = _TYPE.unpack_from, self._data, self._types_end
        append, by_name = self._positions.append, self._by_name
        position = self._types_start
        while position < end:
            if position + _TYPE.size > end:
                raise BtfError(f"BTF type {len(self._positions)} is cut off")
            name, info, _ = unpack(data, position)
            kind = info >> 24 & 31
            if not 0 < kind <= _MAX_KIND:
                raise BtfError(f"BTF type {len(self._positions)} is of unknown kind {kind}")
            append(position)
            if name and kind in _NAMED:
                by_name.setdefault((kind, name), position)
            position += _TYPE.size + _FIXED[kind] + _PER_ELEMENT[kind] * (info & 0xFFFF)
        if position != end:
            raise BtfError(f"BTF type {len(self._positions) - 1} is cut off")

    def _find(self, name: str, kinds: tuple[int, ...]) -> int:
        """Position of a named type. A name can be in the string section as another one's tail."""
        wanted = name.encode() + b"\0"
        at = self._strings_start
        while True:
            at = self._data.find(wanted, at, self._strings_end)
            if at < 0:
                raise UnknownTypeError(f"this kernel has no type {name}")
            for kind in kinds:
                position = self._by_name.get((kind, at - self._strings_start))
                if position is not None:
                    return position
            at += 1

    def _member(self, position: int, name: str, depth: int) -> tuple[int, int] | None:
        """(offset in bits, type) of a member, looked for inside anonymous members too."""
        if depth > _NESTING_LIMIT:
            raise BtfError("BTF structures contain each other")
        for member, type_id, bits in self._members(position):
            if member == name:
                return bits, type_id
            if not member:
                inner = self._resolve(type_id)
                if (self._head(inner)[1] >> 24 & 31) in (_STRUCT, _UNION):
                    found = self._member(inner, name, depth + 1)
                    if found is not None:
                        return bits + found[0], found[1]
        return None

    def _members(self, position: int) -> Iterator[tuple[str, int, int]]:
        _, info, _ = self._head(position)
        if (info >> 24 & 31) not in (_STRUCT, _UNION):
            raise UnknownTypeError("a member path leads through something that is no structure")
        has_bit_fields = info >> 31
        for index in range(info & 0xFFFF):
            name, type_id, bits = self._unpack(
                _MEMBER, position + _TYPE.size + _MEMBER.size * index
            )
            yield self._string(name), type_id, bits & 0xFFFFFF if has_bit_fields else bits

    def _resolve(self, type_id: int) -> int:
        """Position of a type behind its typedefs and qualifiers."""
        for _ in range(_NESTING_LIMIT):
            position = self._position(type_id)
            _, info, target = self._head(position)
            if (info >> 24 & 31) not in _TRANSPARENT:
                return position
            type_id = target
        raise BtfError(f"BTF type {type_id} refers to itself")

    def _position(self, type_id: int) -> int:
        if not 0 < type_id < len(self._positions):
            raise BtfError(f"BTF type {type_id} does not exist")
        return self._positions[type_id]

    def _head(self, position: int) -> tuple[int, int, int]:
        name, info, size_or_type = self._unpack(_TYPE, position)
        return name, info, size_or_type

    def _unpack(self, layout: struct.Struct, position: int) -> tuple[int, ...]:
        if position + layout.size > self._types_end:
            raise BtfError(f"BTF type data is cut off at byte {position}")
        return layout.unpack_from(self._data, position)

    def _string(self, offset: int) -> str:
        start = self._strings_start + offset
        end = self._data.find(b"\0", start, self._strings_end)
        if start >= self._strings_end or end < 0:
            raise BtfError(f"BTF string at {offset} lies outside the string section")
        return self._data[start:end].decode("utf-8", "backslashreplace")
