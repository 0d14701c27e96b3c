"""The transport's parts that need no server: names, frames, offsets, subjects of results."""

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.faust_jetstream import ConfigurationError, JetStreamSettings
from stream.faust_jetstream.atomic import BatchMessage, frames
from stream.faust_jetstream.codec import JSONCodec, KeyCodec
from stream.faust_jetstream.names import (
    Names,
    check_subject,
    key_from_token,
    key_token,
    partition_of,
    token,
)
from stream.faust_jetstream.outbox import OutboxStream, subject_matches
from stream.faust_jetstream.tracker import OffsetTracker
from stream.faust_jetstream.wire import header_block, publish_frame


@given(st.text(), st.text())
def test_different_names_give_different_tokens(one: str, other: str) -> None:
    assert (token(one) == token(other)) == (one == other)
    if one:
        assert check_subject(f"a.{token(one)}.b")


@given(st.binary(max_size=1500))
def test_keys_survive_the_subject(key: bytes) -> None:
    assert key_from_token(key_token(key)) == key
    check_subject(f"a.{key_token(key)}")


def test_a_key_too_long_for_a_subject_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="1601 bytes"):
        key_token(b"x" * 1601)


_keys = st.recursive(
    st.text() | st.integers(-(2**53), 2**53) | st.binary() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@given(_keys)
def test_keys_of_tables_survive_their_codec(key: object) -> None:
    codec = KeyCodec()
    assert codec.decode(codec.encode(key)) == key


def test_values_that_json_cannot_say_are_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        JSONCodec().encode({"a": object()})


@given(st.binary(), st.integers(1, 64))
def test_partitions_are_in_range_and_stable(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
    assert partition_of(key, partitions) == partition_of(bytes(key), partitions)


@given(st.binary(max_size=200), st.dictionaries(st.sampled_from(["A", "B-c"]), st.text("xyz é")))
def test_frames_tell_their_exact_sizes(payload: bytes, headers: dict[str, str]) -> None:
    block = header_block(headers)
    frame = publish_frame("a.b", "r.1", block, payload)
    line, _, rest = frame.partition(b"\r\n")
    assert rest.endswith(b"\r\n")
    body = rest[:-2]
    words = line.split(b" ")
    assert words[1:3] == [b"a.b", b"r.1"] and int(words[-1]) == len(body)
    if block:
        assert words[0] == b"HPUB" and body[int(words[3]) :] == payload
        assert body[: int(words[3])].endswith(b"\r\n\r\n")
    else:
        assert words[0] == b"PUB" and body == payload


@given(st.integers(1, 50))
def test_a_batch_is_numbered_expects_a_sequence_and_commits_last(count: int) -> None:
    data = frames([BatchMessage(f"s.{n}", b"x") for n in range(count)], 7, "id", "first", "last")
    parts = data.split(b"HPUB ")[1:]
    assert len(parts) == count
    for number, part in enumerate(parts, 1):
        assert b"Nats-Batch-Sequence:%d\r\n" % number in part
        assert (b"Nats-Expected-Last-Sequence:7\r\n" in part) == (number == 1)
        assert (b"Nats-Batch-Commit:1\r\n" in part) == (number == count)
    assert b" last " in parts[-1]
    assert count == 1 or b" first " in parts[0]


@given(
    offsets=st.sets(st.integers(1, 200), min_size=1, max_size=20).map(sorted),
    finishing=st.randoms(use_true_random=False),
    ahead=st.integers(1, 10),
)
def test_the_safe_offset_is_the_first_that_is_not_done(
    offsets: list[int], finishing: random.Random, ahead: int
) -> None:
    tracker = OffsetTracker(offsets[0], lambda tracker: None)
    waiting, in_hand = deque(offsets), []
    while waiting or in_hand:
        while waiting and len(in_hand) < ahead:
            in_hand.append(waiting.popleft())
            tracker.deliver(in_hand[-1])
        offset = in_hand.pop(finishing.randrange(len(in_hand)))
        tracker.add(offset)
        tracker.add(offset)
        assert tracker.safe == (min(in_hand) if in_hand else tracker.position)
        assert len(tracker.queue) >= len(in_hand)
    assert tracker.safe == offsets[-1] + 1 and not tracker.queue


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("a.>", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.d", False),
        ("a", "a", True),
        ("a", "b", False),
        (">", "x.y", True),
    ],
)
def test_subjects_match_patterns_as_the_server_matches_them(
    pattern: str, subject: str, matches: bool
) -> None:
    assert subject_matches(pattern, subject) is matches


def test_sources_strip_the_outbox_prefix_whatever_the_wildcards() -> None:
    stream = OutboxStream("S", ["b.*.x.*", "c.>"], {})
    (source,) = stream.sources(Names("faust", "app"), 1)
    assert source["subject_transforms"] == [
        {
            "src": "faust.state.app.0.out.*.*.b.*.x.*",
            "dest": "b.{{wildcard(3)}}.x.{{wildcard(4)}}",
        },
        {"src": "faust.state.app.0.out.*.*.c.>", "dest": "c.>"},
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"servers": []},
        {"servers": ["nats://user:secret@host"]},
        {"partitions": 0},
        {"replicas": 2},
        {"storage": "disk"},
        {"commit_messages": 1000},
        {"heartbeat": 9.0},
        {"delivery_window": 0},
        {"member_id": ""},
    ],
)
def test_settings_that_cannot_work_are_refused_and_secrets_not_told(
    wrong: dict[str, object],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        JetStreamSettings(**wrong).validate()  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
