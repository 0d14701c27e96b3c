"""Headers and lines of a batch: what was written is read, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.batch import (
    BOOT_HEADER,
    COUNT_HEADER,
    FIRST_SEQ_HEADER,
    NODE_HEADER,
    SCHEMA_HEADER,
    BatchIdentity,
    encode_lines,
    read_identity,
    split_lines,
)
from stream.contract.boot import new_boot_id
from stream.contract.errors import ContractError, HeaderError
from stream.contract.kinds import KINDS, kind_definition
from stream.contract.kinds.file import FileEvent
from stream.contract.subjects import events_subject, raw_subject

identities = st.builds(
    BatchIdentity,
    kind=st.sampled_from(list(KINDS)),
    version=st.just(1),
    node=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1),
    boot=st.builds(new_boot_id),
    first_seq=st.integers(0, 10**15),
    count=st.integers(1, 512),
)


@given(identities)
def test_an_identity_survives_its_headers(identity: BatchIdentity) -> None:
    for subject in (raw_subject, events_subject):
        assert read_identity(subject(identity.kind, identity.node), identity.headers()) == identity
    assert identity.last_seq - identity.first_seq + 1 == identity.count


@given(identities, identities)
def test_different_batches_have_different_message_ids(
    one: BatchIdentity, other: BatchIdentity
) -> None:
    same = (one.node, one.kind, one.boot, one.first_seq) == (
        other.node, other.kind, other.boot, other.first_seq,
    )  # fmt: skip
    assert (one.message_id == other.message_id) == same


IDENTITY = BatchIdentity("file", 1, "node.a", "0123", 7, 2)
SUBJECT = raw_subject("file", "node.a")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        (NODE_HEADER, "node.b", "says 'node.b' on the subject of 'node.a'"),
        (SCHEMA_HEADER, "file/2", "this program reads 'file/1'"),
        (SCHEMA_HEADER, "process/1", "this program reads 'file/1'"),
        (FIRST_SEQ_HEADER, "-1", "not a whole number from 0"),
        (FIRST_SEQ_HEADER, "1.0", "not a whole number"),
        (FIRST_SEQ_HEADER, "٣", "not a whole number"),
        (FIRST_SEQ_HEADER, "9" * 19, "not a whole number"),
        (COUNT_HEADER, "0", "from 1 on"),
        (COUNT_HEADER, "", "is missing"),
        (BOOT_HEADER, "", "is missing"),
    ],
)
def test_a_wrong_header_is_named(name: str, value: str, problem: str) -> None:
    with pytest.raises(HeaderError, match=problem):
        read_identity(SUBJECT, IDENTITY.headers() | {name: value})
    if not value:
        headers = IDENTITY.headers()
        del headers[name]
        with pytest.raises(HeaderError, match=name):
            read_identity(SUBJECT, headers)


def test_without_headers_or_on_an_unknown_kind_there_is_no_batch() -> None:
    with pytest.raises(HeaderError, match="has no headers"):
        read_identity(SUBJECT, None)
    with pytest.raises(ContractError, match="'unheard' is not a kind of event"):
        read_identity("raw.unheard.a", IDENTITY.headers())
    with pytest.raises(ContractError, match="the kinds are"):
        kind_definition("")


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=20))
def test_lines_are_split_as_they_were_joined(paths: list[str]) -> None:
    events = [FileEvent(ts="", action="created", path=path) for path in paths]
    payload = encode_lines(events)
    assert payload.endswith(b"\n")
    lines = split_lines(payload, len(events))
    assert len(lines) == len(events)
    assert b"".join(line + b"\n" for line in lines) == payload
    assert split_lines(payload[:-1], len(events)) == lines


@given(st.binary(max_size=200), st.integers(0, 10))
def test_a_wrong_count_is_refused(payload: bytes, count: int) -> None:
    try:
        lines = split_lines(payload, count)
    except ContractError:
        return
    assert len(lines) == count
