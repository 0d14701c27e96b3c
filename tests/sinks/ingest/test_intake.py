"""When a table's messages are stored, and which deliveries are the same message."""

from typing import Any

import pytest

from sinks.errors import StoreAwayError
from sinks.ingest.group import Stage
from sinks.ingest.intake import Intake
from sinks.ingest.settings import SinkSettings
from sinks.ingest.tables.definition import SinkTable
from stream.broker.subscription import Delivery

TABLE = SinkTable("buckets", "BUCKETS", "buckets.*.*", "buckets_10s", identified=False,
                  maximum_rows=100, maximum_bytes=100_000)  # fmt: skip


class Clock:
    now = 500.0

    def __call__(self) -> float:
        return self.now


class Subscription:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.acked: list[tuple[int, bytes]] = []
        self.released: list[int] = []
        self.extended: list[int] = []

    def ack(self, deliveries: list[Delivery], kind: bytes = b"+ACK") -> None:
        self.acked += [(each.consumer_seq, kind) for each in deliveries]

    def release(self, delivery: Delivery) -> None:
        self.released.append(delivery.consumer_seq)

    def in_progress(self, deliveries: list[Delivery]) -> None:
        self.extended += [each.consumer_seq for each in deliveries]


class Setup:
    def __init__(self) -> None:
        self.clock = Clock()
        self.subscription: Any = Subscription()
        self.woken = 0
        self.intake = Intake(TABLE, SinkSettings(), self.wake, self.clock)
        self.intake.subscription = self.subscription
        self.consumer_seq = 0

    def wake(self) -> None:
        self.woken += 1

    def deliver(self, stream_seq: int, lines: int = 1, timestamp: int = 1) -> None:
        self.consumer_seq += 1
        self.intake.receive(
            Delivery("buckets.file.n", None, b"{}\n" * lines, "", stream_seq, self.consumer_seq,
                     1, timestamp, 0)
        )  # fmt: skip

    def store(self, stage: Stage = Stage.BOOKED) -> int:
        group = self.intake.next_group()
        group.stage = stage
        if stage is not Stage.BOOKED:
            group.attempts += 1
            group.error = StoreAwayError("away")
        self.intake.settle(group)
        return len(group.held)


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_the_first_after_a_silence_goes_at_once_and_the_next_a_second_later(
    setup: Setup,
) -> None:
    assert setup.intake.due() is None
    setup.deliver(1)
    assert setup.intake.due() == pytest.approx(500.02)
    setup.clock.now = 500.02
    assert setup.store() == 1
    setup.deliver(2)
    assert setup.intake.due() == pytest.approx(501.02)


def test_what_fills_an_insert_goes_at_once_and_no_insert_is_larger(setup: Setup) -> None:
    for seq in range(1, 8):
        setup.deliver(seq, lines=30)
    assert setup.intake.due() == 0.0
    assert setup.store() == 3
    assert setup.intake.due() == 0.0
    assert setup.store() == 3
    assert setup.store() == 1
    # One message may be larger than an insert should be.
    setup.deliver(9, lines=400)
    assert setup.store() == 1
    assert [seq for seq, _ in setup.subscription.acked] == list(range(1, 9))


def test_a_failure_is_tried_again_later_and_later_with_the_same_messages(setup: Setup) -> None:
    setup.deliver(1)
    pauses = []
    for number in range(12):
        group = setup.intake.next_group()
        assert setup.store(Stage.PREPARED) == 1
        assert setup.intake.next_group() is group
        pauses.append(round(float(setup.intake.due() or 0) - setup.clock.now, 3))
        setup.deliver(10 + number)
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(pauses) == pauses[-1] == SinkSettings().backoff_maximum_seconds
    assert setup.intake.problem == "away"
    assert setup.subscription.acked == []
    assert setup.store() == 1
    assert (setup.intake.problem, setup.subscription.acked) == ("", [(1, b"+ACK")])
    assert len(setup.intake) == 12


def test_a_message_that_is_delivered_again_while_it_is_held_is_stored_once(
    setup: Setup,
) -> None:
    setup.deliver(7)
    setup.deliver(7)
    assert setup.subscription.released == [1]
    assert setup.store() == 1
    assert setup.subscription.acked == [(2, b"+ACK")]
    # Another message of a stream that was made anew has the same number.
    setup.deliver(8, timestamp=1)
    setup.deliver(8, timestamp=2)
    assert setup.store() == 2


def test_held_messages_are_kept_alive_and_given_back_at_the_end(setup: Setup) -> None:
    setup.deliver(1)
    setup.deliver(2)
    setup.intake.keep_alive()
    assert setup.subscription.extended == [1, 2]
    setup.intake.draining = True
    setup.deliver(3)
    assert setup.subscription.acked == [(3, b"-NAK")]
    setup.intake.give_back()
    assert setup.subscription.acked[1:] == [(1, b"-NAK"), (2, b"-NAK")]
    assert not setup.intake
