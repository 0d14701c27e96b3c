"""Dead letters: what could not be understood, kept whole with its reason."""

import base64
from typing import Literal

from msgspec import Struct

from stream.contract.timestamps import now_timestamp


class DeadLetter(Struct, kw_only=True, omit_defaults=True):
    """One line (or one whole message) that a stage refused; lies on ``dead.<stage>.<kind>``."""

    ts: str
    """When it was refused."""
    stage: str
    """``worker`` or ``sink``."""
    kind: str
    node: str = ""
    boot: str = ""
    seq: int | None = None
    """Where the refused line has one that can be trusted."""
    count: int = 1
    """Events that it stands for; more than 1 when a whole message was refused."""
    reason: str
    """A short fixed word: ``bad_header``, ``bad_line``, ``unknown_version``, ``too_late``…"""
    detail: str
    subject: str = ""
    log_partition: int | None = None
    log_offset: int | None = None
    log_line: int | None = None
    encoding: Literal["utf-8", "base64"] = "utf-8"
    payload: str = ""


def dead_payload(payload: bytes, limit: int = 256 * 1024) -> tuple[Literal["utf-8", "base64"], str]:
    """Encode refused bytes for a dead letter, cut at ``limit`` bytes."""
    payload = payload[:limit]
    try:
        return "utf-8", payload.decode("utf-8")
    except UnicodeDecodeError:
        return "base64", base64.b64encode(payload).decode("ascii")


def dead_letter_now(stage: str, kind: str, reason: str, detail: str, payload: bytes) -> DeadLetter:
    """A dead letter of this moment; the caller adds what it knows of the origin."""
    encoding, text = dead_payload(payload)
    return DeadLetter(
        ts=now_timestamp(),
        stage=stage,
        kind=kind,
        reason=reason,
        detail=detail,
        encoding=encoding,
        payload=text,
    )
