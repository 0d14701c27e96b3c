"""Subjects on the wire.

``raw.<kind>.<node>``     what producers publish
``events.<kind>.<node>``  the same events, enriched by a worker
``buckets.<kind>.<node>`` rows of 10-second windows
``tap.buckets.<kind>.<node>`` the same rows, for plain subscriptions: final rows reach BUCKETS
                          from inside the broker, so nobody sees them on ``buckets.…``
``loss.<stage>.<node>``   what was lost, where and why
``dead.<stage>.<kind>``   what could not be understood, with its reason

A subject has few distinct values: kinds times nodes. A pid, a path or a pod UID never goes into
one, since a broker keeps state per subject.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from stream.contract.errors import SubjectError

RAW: Final = "raw"
EVENTS: Final = "events"
BUCKETS: Final = "buckets"
LOSS: Final = "loss"
DEAD: Final = "dead"
TAP: Final = "tap"
"""In front of ``buckets.…``: where every row that BUCKETS stores can be subscribed to."""
STAGES: Final = (RAW, EVENTS, BUCKETS, LOSS, DEAD)

_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")


class Subject(NamedTuple):
    """A parsed subject: its stage, and its second and third token, unescaped."""

    stage: str
    middle: str
    last: str


@lru_cache(maxsize=65536)
def escape_token(text: str) -> str:
    """Write any text as one subject token of ``[A-Za-z0-9_-]``, injectively.

    Every other byte of the UTF-8 form, and the underscore itself, becomes ``_`` and two upper-case
    hexadecimal digits: ``node.a`` → ``node_2Ea``. Raises :class:`SubjectError` for an empty text,
    since an empty token does not exist in NATS.
    """
    if not text:
        raise SubjectError("a subject token can't be made from an empty text; give the node a name")
    return "".join(
        chr(byte) if byte in _PLAIN else f"_{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


@lru_cache(maxsize=65536)
def unescape_token(token: str) -> str:
    """Give back the text that :func:`escape_token` wrote, else raise :class:`SubjectError`."""
    out = bytearray()
    position = 0
    while position < len(token):
        character = token[position]
        if character == "_":
            try:
                out.append(int(token[position + 1 : position + 3], 16))
            except ValueError:
                raise SubjectError(
                    f"subject token {token!r} has an underscore without two hexadecimal digits "
                    f"at {position}; it was not written by escape_token"
                ) from None
            position += 3
        else:
            out += character.encode("utf-8", "surrogateescape")
            position += 1
    text = out.decode("utf-8", "surrogateescape")
    if not text or escape_token(text) != token:
        raise SubjectError(
            f"subject token {token!r} is not in the canonical form of escape_token; "
            "use only tokens that it wrote"
        )
    return text


def raw_subject(kind: str, node: str) -> str:
    """The subject on which the producers of ``node`` publish events of ``kind``."""
    return f"{RAW}.{escape_token(kind)}.{escape_token(node)}"


def events_subject(kind: str, node: str) -> str:
    """The subject of enriched events."""
    return f"{EVENTS}.{escape_token(kind)}.{escape_token(node)}"


def buckets_subject(kind: str, node: str) -> str:
    """The subject of bucket rows of one kind that belong to one node."""
    return f"{BUCKETS}.{escape_token(kind)}.{escape_token(node)}"


def loss_subject(stage: str, node: str) -> str:
    """The subject on which ``stage`` (``process``, ``worker``, ``sink``…) says what it lost."""
    return f"{LOSS}.{escape_token(stage)}.{escape_token(node)}"


def dead_subject(stage: str, kind: str) -> str:
    """The subject for what ``stage`` could not understand."""
    return f"{DEAD}.{escape_token(stage)}.{escape_token(kind)}"


def parse_subject(subject: str) -> Subject:
    """Split one of our subjects; raises :class:`SubjectError` for any other."""
    tokens = subject.split(".")
    if len(tokens) != 3 or tokens[0] not in STAGES:
        raise SubjectError(
            f"subject {subject!r} is not <stage>.<token>.<token> "
            f"with a stage of {', '.join(STAGES)}"
        )
    return Subject(tokens[0], unescape_token(tokens[1]), unescape_token(tokens[2]))
