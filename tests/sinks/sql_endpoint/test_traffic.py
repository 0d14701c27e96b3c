"""Many at once: places, a queue, and nobody who can hold up the others or the writer."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.sinks.sql_endpoint.endpoint_process import PASSWORDS, EndpointProcess, basic
from tests.support.polling import eventually_sync

SLOW = "SELECT sum(sipHash64(number, number)) FROM numbers(19000000000)"


@pytest.fixture
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointProcess]:
    with EndpointProcess(
        tmp_path_factory.mktemp("traffic"),
        query={"execution_seconds": 20.0, "threads": 1},
        traffic={
            "concurrent": 2,
            "concurrent_of_user": 2,
            "waiting": 1,
            "wait_seconds": 0.5,
            "stalled_client_seconds": 1.0,
            "request_seconds": 1.0,
            "drain_seconds": 0.5,
        },
    ) as served:
        yield served


def start(endpoint: EndpointProcess, sql: str) -> socket.socket:
    """Send a query and do not read its answer."""
    client = socket.create_connection(("127.0.0.1", endpoint.port), timeout=30)
    headers = "".join(f"{k}: {v}\r\n" for k, v in basic("reader", PASSWORDS["reader"]).items())
    client.sendall(
        f"POST / HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(sql)}\r\n\r\n{sql}".encode()
    )
    return client


def running(endpoint: EndpointProcess) -> int:
    return counters(endpoint)["running"]


def counters(endpoint: EndpointProcess) -> dict[str, int]:
    found: dict[str, int] = json.loads(endpoint.command("counters"))
    return found


def test_the_queue_is_bounded_in_length_and_time(narrow: EndpointProcess) -> None:
    clients = [start(narrow, SLOW) for _ in range(2)]
    eventually_sync(lambda: running(narrow) == 2)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: narrow.ask("SELECT 1"), range(3)))
    assert {(a.status, a.code) for a in answers} == {(503, 202)}
    texts = " ".join(a.text for a in answers)
    assert "no place became free within 0.5 s" in texts
    assert "2 run and 1 wait already" in texts
    assert answers[0].headers["Retry-After"] == "1"
    # Health checks take no place.
    assert narrow.ask(user=None, method="GET", path="/ping").body == b"Ok.\n"
    for client in clients:
        client.close()
    eventually_sync(lambda: running(narrow) == 0)
    assert narrow.ask("SELECT 1").body == b"1\n"


def test_one_user_cannot_take_every_place(tmp_path: Path) -> None:
    traffic = {"concurrent": 3, "concurrent_of_user": 2, "wait_seconds": 0.5}
    with EndpointProcess(tmp_path, query={"threads": 1}, traffic=traffic) as endpoint:
        clients = [start(endpoint, SLOW) for _ in range(2)]
        eventually_sync(lambda: running(endpoint) == 2)
        assert endpoint.ask("SELECT 1").code == 202
        assert endpoint.ask("SELECT 1", user="student").body == b"1\n"
        clients.pop().close()
        eventually_sync(lambda: running(endpoint) == 1)
        assert endpoint.ask("SELECT 1").body == b"1\n"
        endpoint.ask("SELECT nope")
        endpoint.ask("SELECT 1", user=None)
        found = counters(endpoint)
        del found["requests"]
        assert found == {
            "running": 1, "waiting": 0, "failed": 3, "unauthenticated": 1, "turned_away": 1,
        }  # fmt: skip
        clients.pop().close()


def test_a_client_that_leaves_takes_its_query_with_it(narrow: EndpointProcess) -> None:
    client = start(narrow, SLOW)
    processes = (
        "SELECT count() FROM system.processes "
        "WHERE query LIKE '%sipHash64(number, number)%' AND query NOT LIKE '%system.processes%'"
    )
    eventually_sync(lambda: narrow.rows(processes, user="admin") == [[1]])
    client.close()
    eventually_sync(lambda: narrow.rows(processes, user="admin") == [[0]], deadline=5)
    eventually_sync(lambda: running(narrow) == 0)


def test_a_client_that_leaves_in_the_middle_of_a_result_ends_its_query(
    narrow: EndpointProcess,
) -> None:
    client = start(narrow, "SELECT number FROM numbers(10000000000)")
    assert client.recv(65536).startswith(b"HTTP/1.1 200")
    assert running(narrow) == 1
    client.close()
    eventually_sync(lambda: running(narrow) == 0, deadline=5)


def test_a_client_that_stops_reading_loses_its_place(narrow: EndpointProcess) -> None:
    client = start(narrow, "SELECT number FROM numbers(10000000000)")
    eventually_sync(lambda: running(narrow) == 1)
    eventually_sync(lambda: running(narrow) == 0, deadline=8, what="the stalled query ended")
    client.close()


def test_a_request_that_never_comes_whole_is_given_up(narrow: EndpointProcess) -> None:
    client = socket.create_connection(("127.0.0.1", narrow.port), timeout=10)
    headers = "".join(f"{k}: {v}\r\n" for k, v in basic("reader", PASSWORDS["reader"]).items())
    client.sendall(
        f"POST / HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 100\r\n\r\nSELECT".encode()
    )
    assert b"Code: 209." in client.recv(65536)
    client.close()


def test_slow_queries_hold_up_neither_the_others_nor_the_writer(narrow: EndpointProcess) -> None:
    client = start(narrow, SLOW)
    eventually_sync(lambda: running(narrow) == 1)
    for _ in range(5):
        assert narrow.ask("SELECT count() > 0 FROM processes", seconds=5).body == b"1\n"
    assert float(narrow.command("insert 10000")) < 5
    assert narrow.rows("SELECT count() FROM processes WHERE comm = 'late'") == [[10000]]
    client.close()


def test_queries_that_come_and_go_leave_no_threads_or_descriptors(
    narrow: EndpointProcess,
) -> None:
    def held() -> tuple[int, int]:
        process = Path(f"/proc/{narrow.pid}")
        kinds = []
        for file in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                kinds.append(file.readlink().name.partition(":")[0])
        return len(list((process / "task").iterdir())), kinds.count("pipe") + kinds.count("socket")

    def round_() -> None:
        for sql in ("SELECT 1", "SELECT nope", "SELECT file('x')", "SELECT count() FROM processes"):
            narrow.ask(sql)
        start(narrow, "SELECT number FROM numbers(100000000)").close()
        eventually_sync(lambda: running(narrow) == 0, deadline=5)

    for _ in range(5):
        round_()
    threads, descriptors = held()
    for _ in range(20):
        round_()
    eventually_sync(lambda: held()[0] <= threads + 4, what="no more threads")
    eventually_sync(lambda: held()[1] <= descriptors + 1, what="no more descriptors")


def test_stopping_ends_the_running_queries_and_comes_to_an_end(narrow: EndpointProcess) -> None:
    client = start(narrow, SLOW)
    eventually_sync(lambda: running(narrow) == 1)
    begin = time.monotonic()
    assert narrow.close() == 0
    assert time.monotonic() - begin < 10
    client.close()


def test_many_clients_at_once_all_get_their_own_answer(endpoint: EndpointProcess) -> None:
    wrong: list[object] = []

    def ask(number: int) -> None:
        answer = endpoint.ask(
            f"SELECT {number}, {{p:UInt32}}, sum(number) FROM numbers(100000)", param_p=number
        )
        if answer.body != f"{number}\t{number}\t4999950000\n".encode():
            wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
