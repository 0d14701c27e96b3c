"""The table of living processes stays within its bounds."""

from hypothesis import given
from hypothesis import strategies as st

from producers.process.process_table import ProcessTable
from stream.contract.kinds.process import ProcessEvent


def record(pid: int, birth: int = 1, argv: list[str] | None = None) -> ProcessEvent:
    return ProcessEvent(
        ts="", action="exec", pid=pid, ppid=1, uid=0, exec_id=f"m-{birth}-{pid}", comm="c",
        argv=argv or [],
    )  # fmt: skip


def test_a_process_is_found_by_pid_and_birth() -> None:
    table = ProcessTable(10, 1 << 20)
    table.put(record(5))
    assert table.get(5, "m-1-5") is not None
    assert table.get(5, "m-2-5") is None
    assert table.take(5, "m-1-5") is not None
    assert table.take(5, "m-1-5") is None
    assert len(table) == 0


def test_a_reused_pid_replaces_the_process_whose_exit_was_lost() -> None:
    table = ProcessTable(10, 1 << 20)
    table.put(record(5, birth=1))
    table.put(record(5, birth=2))
    assert (len(table), table.forgotten) == (1, 0)
    assert table.take(5, "m-1-5") is None


def test_the_oldest_are_forgotten_first_and_counted() -> None:
    table = ProcessTable(3, 1 << 20)
    for pid in (1, 2, 3):
        table.put(record(pid))
    table.put(record(1))
    table.put(record(4))
    assert table.get(2, "m-1-2") is None
    assert table.get(1, "m-1-1") is not None
    assert table.forgotten == 1


def test_long_arguments_count_by_their_length() -> None:
    table = ProcessTable(1000, 20_000)
    for pid in range(100):
        table.put(record(pid, argv=["x" * 4000]))
    assert len(table) == 4
    assert table.estimated_bytes <= 20_000


def test_only_the_living_are_retained() -> None:
    table = ProcessTable(10, 1 << 20)
    for pid in (1, 2, 3):
        table.put(record(pid))
    table.retain(["m-1-2", "m-9-3"])
    assert [table.get(pid, f"m-1-{pid}") is not None for pid in (1, 2, 3)] == [False, True, False]


operations = st.lists(
    st.tuples(
        st.sampled_from(["put", "take"]), st.integers(1, 20), st.integers(1, 3), st.integers(0, 500)
    ),
    max_size=200,
)


@given(operations)
def test_its_account_of_itself_is_exact(steps: list[tuple[str, int, int, int]]) -> None:
    table = ProcessTable(8, 10_000)
    model: dict[int, ProcessEvent] = {}
    for step, pid, birth, length in steps:
        if step == "put":
            event = record(pid, birth, ["x" * length])
            table.put(event)
            model.pop(pid, None)
            model[pid] = event
            while len(model) > 8 or sum(900 + 60 + len(e.argv[0]) for e in model.values()) > 10_000:
                del model[next(iter(model))]
        else:
            expected = model.pop(pid, None)
            found = table.take(pid, f"m-{birth}-{pid}")
            matches = expected is not None and expected.exec_id == f"m-{birth}-{pid}"
            assert found is (expected if matches else None)
        assert len(table) == len(model)
        assert table.estimated_bytes == sum(960 + len(e.argv[0]) for e in model.values())
