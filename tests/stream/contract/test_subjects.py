"""Any name becomes one safe token, and comes back."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.contract.errors import SubjectError
from stream.contract.subjects import (
    STAGES,
    Subject,
    buckets_subject,
    dead_subject,
    escape_token,
    events_subject,
    loss_subject,
    parse_subject,
    raw_subject,
    unescape_token,
)

names = st.text(st.characters(codec="utf-8"), min_size=1)


@given(names)
@example("a.b")
@example("_")
@example(">")
@example("*")
@example("ip-10-0-0-1.eu-central-1.compute.internal")
@example("nœud")
def test_a_token_is_plain_and_comes_back(name: str) -> None:
    token = escape_token(name)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert unescape_token(token) == name


@given(names, names)
def test_two_names_never_share_a_token(one: str, other: str) -> None:
    assert (escape_token(one) == escape_token(other)) == (one == other)


@given(st.text())
@example("_2e")
@example("_5F")
@example("_41")
@example("_FF")
@example("a_")
@example("")
def test_only_what_was_written_can_be_read(token: str) -> None:
    try:
        name = unescape_token(token)
    except SubjectError:
        return
    assert escape_token(name) == token


@given(st.binary(min_size=1))
def test_names_that_are_not_utf8_survive(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    assert unescape_token(escape_token(name)) == name


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(SubjectError, match="give the node a name"):
        escape_token("")


@pytest.mark.parametrize(
    ("make", "stage"),
    [
        (raw_subject, "raw"),
        (events_subject, "events"),
        (buckets_subject, "buckets"),
        (loss_subject, "loss"),
        (dead_subject, "dead"),
    ],
)
@given(first=names, second=names)
def test_every_subject_is_read_as_it_was_made(make, stage: str, first: str, second: str) -> None:
    subject = make(first, second)
    assert subject.count(".") == 2
    assert parse_subject(subject) == Subject(stage, first, second)


@given(st.text())
def test_other_subjects_are_refused(text: str) -> None:
    try:
        parsed = parse_subject(text)
    except SubjectError:
        return
    assert parsed.stage in STAGES
    assert text == f"{parsed.stage}.{escape_token(parsed.middle)}.{escape_token(parsed.last)}"
