"""Objects of the BPF program that outlive the producer, pinned in a BPF file system.

Layout: ``<pin directory>/<digest of the program>/<name of the map or link>``. The kernel keeps a
pinned link attached and a pinned ring filling while no producer runs.

Runs inside the loader: standard library only, Python 3.9. The system call's numbers and structures
are those of include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_BPF_OBJ_PIN, _BPF_OBJ_GET, _BPF_OBJ_GET_INFO_BY_FD = 6, 7, 15
_SYSTEM_CALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_DIGEST = re.compile(r"[0-9a-f]{16}")


def _bpf(command: int, attributes: bytes) -> int:
    """The system call bpf(2); raises OSError."""
    number = _SYSTEM_CALL.get(platform.machine())
    if number is None:
        raise OSError(f"pinning is not supported on {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, 128)
    result: int = libc.syscall(number, command, buffer, 128)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _pin(descriptor: int, path: Path) -> None:
    name = ctypes.create_string_buffer(os.fsencode(path))
    _bpf(_BPF_OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), descriptor, 0))


def _open(path: Path) -> int:
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _bpf(_BPF_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))


def _map_entries(descriptor: int) -> int:
    """``max_entries`` of a map; of a ring buffer, its bytes."""
    information = ctypes.create_string_buffer(256)
    _bpf(
        _BPF_OBJ_GET_INFO_BY_FD,
        struct.pack("=IIQ", descriptor, len(information), ctypes.addressof(information)),
    )
    # struct bpf_map_info: type, id, key_size, value_size, max_entries
    return int(struct.unpack_from("=5I", information)[4])


class PinDirectory:
    """The pins of one program below a directory of a BPF file system.

    :param root: where all versions' pins live; created if its parent is a BPF file system
    :param digest: names this version of the program
    """

    def __init__(self, root: Path, digest: str) -> None:
        root.mkdir(mode=0o700, exist_ok=True)
        self._root = root
        self._place = root / digest

    def open(self, names: Sequence[str]) -> dict[str, int] | None:
        """Descriptors of everything that this version pinned; None unless all of it is there."""
        descriptors: dict[str, int] = {}
        try:
            for name in names:
                descriptors[name] = _open(self._place / name)
        except FileNotFoundError:
            for descriptor in descriptors.values():
                os.close(descriptor)
            return None
        return descriptors

    def pin(self, descriptors: dict[str, int]) -> None:
        """Pin everything under its name."""
        self._place.mkdir(mode=0o700)
        for name, descriptor in descriptors.items():
            _pin(descriptor, self._place / name)

    def retire(self, maps: Sequence[str]) -> dict[str, Any] | None:
        """Take down the pins of any other version, and of this one if they are incomplete.

        :returns: descriptors of the named maps, and ``ring_bytes``, of the last version found
        """
        earlier: dict[str, Any] | None = None
        for place in self._root.iterdir():
            if not _DIGEST.fullmatch(place.name):
                continue
            if earlier is None and all((place / name).exists() for name in maps):
                earlier = {name: _open(place / name) for name in maps}
                earlier["ring_bytes"] = _map_entries(earlier["records"])
            for pin in place.iterdir():
                pin.unlink()
            place.rmdir()
        return earlier
