"""Boot ids, bucket versions, dead letters."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.boot import new_boot_id
from stream.contract.buckets import bucket_version
from stream.contract.dead import dead_letter_now, dead_payload
from stream.contract.timestamps import parse_timestamp


def test_boot_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_boot_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert all(len(each) == 28 and int(each, 16) >= 0 for each in ids)
    times = [each[:12] for each in ids]
    assert times == sorted(times)


versions = st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**47 - 1), st.booleans())


@given(versions, versions)
def test_versions_order_by_incarnation_then_commit_then_final(one, other) -> None:
    first, second = bucket_version(*one), bucket_version(*other)
    assert (first < second) == (one < other)
    assert 0 <= first < 2**64


@pytest.mark.parametrize("wrong", [(-1, 0), (2**16, 0), (0, -1), (0, 2**47)])
def test_a_version_that_does_not_fit_is_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        bucket_version(*wrong, final=True)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_a_dead_letter_keeps_the_payload(payload: bytes, limit: int) -> None:
    encoding, text = dead_payload(payload, limit)
    kept = text.encode() if encoding == "utf-8" else base64.b64decode(text)
    assert kept == payload[:limit]


def test_a_dead_letter_says_when_and_why() -> None:
    letter = dead_letter_now("worker", "file", "bad_line", "not JSON", b"\xff{")
    assert (letter.stage, letter.kind, letter.reason) == ("worker", "file", "bad_line")
    assert letter.encoding == "base64"
    parse_timestamp(letter.ts)
