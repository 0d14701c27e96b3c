"""Random logs: final buckets against a plain count, however the log is packed and processed.

The model knows nothing of windows that close: it takes the events of the log in order, leaves out
repeats and what the watermark made too late, and counts the rest per window and owner.
"""

import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.contract.kinds.process import ProcessEvent
from stream.contract.timestamps import parse_timestamp
from stream.windows.settings import WindowSettings
from tests.support.raw_log import START, RawLog, RawMessage, at, pack, process, window_text

SETTINGS = WindowSettings(allowed_lateness_seconds=90.0)
NODES = ("node-a", "node-b", "node-c")


class Scenario:
    """A random log, and the truth about it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.log = RawLog()
        self.skew = {node: self.random.choice([0, 0, -1800, 3600]) for node in NODES}
        self.silent = self.random.choice([None, *NODES])
        self.boots = dict.fromkeys(NODES, 0)
        for second in range(0, self.random.choice([40, 150, 240]), 2):
            self._second(second)
        for node in NODES:
            self._progress(node, 1000)

    def _second(self, second: int) -> None:
        choice = self.random.random
        for node in NODES:
            silent = node == self.silent and second > 20
            for _ in range(0 if silent else self.random.randrange(3)):
                disorder = self.random.choice([0, 0, 0, 1, 4, 30, 150]) * choice()
                self._event(node, second - disorder)
            if choice() < 0.03:
                self.boots[node] += 1
            if choice() < 0.8 and not silent:
                self._progress(node, second)

    def _event(self, node: str, second: float) -> None:
        ending = self.random.random() < 0.5
        signal = self.random.choice([None, None, 11]) if ending else None
        event = ProcessEvent(
            ts=at(self.skew[node] + 4000 + second),
            action="exit" if ending else "exec",
            pid=self.random.randrange(5),
            ppid=1,
            uid=0,
            exec_id=f"{node}-{len(self.log.events)}",
            comm="x",
            exe=self.random.choice(["/usr/bin/gcc", "/home/s/hw1/hw1", "/usr/bin/python3"]),
            argv=["x", "a.c"],
            cgroup="/user.slice",
            signal=signal,
            exit_code=self.random.choice([0, 0, 3]) if ending and signal is None else None,
            duration_us=self.random.randrange(1000) if ending else None,
        )
        self.log.add(node, event, boot=f"boot-{self.boots[node]:03d}")

    def _progress(self, node: str, second: float) -> None:
        self.log.progress(
            node,
            "process",
            self.skew[node] + 4000 + second,
            boot=f"boot-{self.boots[node]:03d}",
            closing=second == 1000,
        )

    def messages(self, batch: int, repeats: float) -> list[RawMessage]:
        """The log, with some messages again later."""
        messages = pack(self.log.events, batch)
        again = self.random.sample(messages, int(len(messages) * repeats))
        for each in again:
            place = messages.index(each)
            messages.insert(self.random.randrange(place + 1, len(messages) + 1), each)
        return messages


def counts(events: list[ProcessEvent]) -> Counter[tuple[str, str, str]]:
    """What the node rows must say: by node, window and metric."""
    found: Counter[tuple[str, str, str]] = Counter()
    for event in events:
        window = window_text(parse_timestamp(event.ts) / 1e6 - START)
        names = {"samples": 1}
        if event.action == "exec":
            names["execs"] = 1
        else:
            names |= {
                "exits": 1,
                "run_us": event.duration_us or 0,
                "crashes": int(event.signal is not None),
                "failures": int(bool(event.exit_code)),
            }
        for name, count in names.items():
            found[event.node, window, name] += count
    return +found


def counted(rows: dict[Any, dict[str, Any]], scope: str) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    for row in rows.values():
        if row["scope"] == scope and row["kind"] == "process":
            assert row["final"]
            for name in ("samples", "execs", "exits", "run_us", "crashes", "failures"):
                found[row["node"], row["window_start"], name] += row[name]
    return +found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 80), st.sampled_from([0, 0.3]))
def test_buckets_equal_a_plain_count_of_the_accepted_events(
    seed: int, batch: int, repeats: float
) -> None:
    scenario = Scenario(seed)
    run = process(scenario.messages(batch, repeats), windows=SETTINGS, idle=True)
    dead = {(each["node"], each["boot"], each["seq"]) for each in run.lines("dead.")}
    assert {each["reason"] for each in run.lines("dead.")} <= {"too_late"}
    events = [event for kind, event in scenario.log.events if kind == "process"]
    accepted = [each for each in events if (each.node, each.boot, each.seq) not in dead]
    rows = run.last_rows()
    assert counted(rows, "node") == counts(accepted)
    assert counted(rows, "host") == counts(accepted)
    assert len(accepted) + run.processor.windows.counts.too_late == len(events)
    assert len(run.lines("events.process")) == len(events)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 100), st.integers(1, 9), st.integers(2, 13))
def test_last_rows_do_not_depend_on_batches_commits_or_crashes(
    seed: int, batch: int, commit_every: int, crash_every: int
) -> None:
    scenario = Scenario(seed)
    plain = process(scenario.messages(1, 0), windows=SETTINGS, idle=True).last_rows()
    other = process(
        scenario.messages(batch, 0),
        windows=SETTINGS,
        commit_every=commit_every,
        restart=lambda offset: offset % crash_every == 1,
        provisional=True,
        idle=True,
    ).last_rows()
    assert other == plain


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_a_nodes_last_rows_do_not_depend_on_other_nodes(seed: int) -> None:
    scenario = Scenario(seed)
    together = process(scenario.messages(16, 0), windows=SETTINGS, idle=True).last_rows()
    alone: dict[Any, Any] = {}
    for node in NODES:
        own = [each for each in scenario.log.events if each[1].node == node]
        alone |= process(pack(own, 16), windows=SETTINGS, idle=True).last_rows()
    assert dict(sorted(alone.items())) == together
