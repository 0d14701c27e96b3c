"""Messages as ``stream.contract`` has them, written with the standard library alone."""

import contextlib
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
_POD_VOLUME: Final = re.compile(r"/pods/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")


@dataclass(frozen=True)
class Batch:
    """Some events of one kind and one life, encoded; the lines say which ones."""

    kind: str
    payload: bytes

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the message. A batch has the same id whenever it is sent."""
        first = json.loads(self.payload[: self.payload.index(b"\n")])
        node, boot, seq = first["node"], first["boot"], first["seq"]
        return {
            "Nats-Msg-Id": f"{node}:{self.kind}:{boot}:{seq}",
            "Tenwatch-Schema": f"{self.kind}/1",
            "Tenwatch-Node": node,
            "Tenwatch-Boot": boot,
            "Tenwatch-First-Seq": str(seq),
            "Tenwatch-Count": str(self.payload.count(b"\n")),
            "Content-Type": "application/x-ndjson",
        }


def encode(
    kind: str, events: list[dict[str, Any]], *, node: str, boot: str, first_seq: int
) -> Batch:
    """Make a batch of events that have no number yet."""
    lines = [
        json.dumps(
            {"ts": each["ts"], "node": node, "boot": boot, "seq": first_seq + index, **each},
            separators=(",", ":"),
            ensure_ascii=False,
        )
        for index, each in enumerate(events)
    ]
    return Batch(kind, ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))


def escape_token(text: str) -> str:
    """A subject token, as ``stream.contract.subjects`` writes it."""
    return "".join(
        chr(byte) if byte in _PLAIN else f"_{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


def timestamp(microseconds: int) -> str:
    """A time, as ``stream.contract.timestamps`` writes it."""
    second, fraction = divmod(microseconds, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{fraction:06d}Z"


def own_cgroup(proc: Path = Path("/proc/self")) -> str:
    """This process's cgroup, as far as a container can see it, for the join with its pod.

    With a cgroup namespace of its own a container sees ``/``. The kubelet's mounts in it
    (``/etc/hosts`` lies in ``…/pods/<uid>/``) still tell the pod; then the path of a pod's cgroup
    with that UID is given, without QoS class and container.
    """
    with contextlib.suppress(OSError):
        for line in (proc / "cgroup").read_text().splitlines():
            path = line.split(":", 2)[-1]
            if "pod" in path and path != "/":
                return path
    with contextlib.suppress(OSError):
        found = _POD_VOLUME.search((proc / "mountinfo").read_text(errors="replace"))
        if found:
            return f"/kubepods/pod{found[1]}"
    return ""
