"""Lines from the store become the messages that they came in, in the order of the log."""

from stream.contract.batch import read_identity, split_lines
from tenwatch.replaying.store_source import Line, batches

TS = "2026-11-20T09:00:0{}.000000Z"


def line(offset: int, number: int, seq: int, kind: str = "process", boot: str = "b") -> Line:
    data = f'{{"ts":"{TS.format(number)}","seq":{seq}}}'.encode()
    return Line(offset, number, kind, 0, "node.a", boot, seq, data)


def test_a_message_is_made_again_with_its_identity() -> None:
    (message,) = batches([line(7, number, 40 + number) for number in range(3)])
    assert (message.sequence, message.subject) == (7, "part.0.process.node_2Ea")
    identity = read_identity("raw.process.node_2Ea", message.headers)
    assert (identity.kind, identity.node, identity.boot) == ("process", "node.a", "b")
    assert (identity.first_seq, identity.count) == (40, 3)
    assert len(split_lines(message.data, identity.count)) == 3
    assert message.timestamp_ns % 10**9 == 0


def test_what_is_not_there_any_more_splits_a_message() -> None:
    found = list(batches([line(7, 0, 40), line(7, 2, 42), line(7, 3, 43), line(8, 0, 44)]))
    assert [(each.sequence, int(each.headers["Tenwatch-First-Seq"])) for each in found] == [
        (7, 40), (7, 42), (8, 44),
    ]  # fmt: skip


def test_a_line_without_a_time_takes_that_of_another() -> None:
    dead = Line(7, 1, "process", 0, "node.a", "b", 41, b"garbage")
    (message,) = batches([line(7, 0, 40), dead])
    assert message.timestamp_ns > 0
    assert message.data.endswith(b"garbage\n")
    (alone,) = batches([dead])
    assert alone.timestamp_ns == 0
