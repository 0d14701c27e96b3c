"""Real IPython cells against a real broker that is there, away, frozen and killed."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from producers import notebook as extension
from producers.notebook import cells, messages, settings
from stream.contract.batch import read_identity, split_lines
from stream.contract.cgroups import cgroup_owner
from stream.contract.kinds.loss import LossEvent
from stream.contract.kinds.process import ProcessEvent
from stream.contract.subjects import escape_token, raw_subject
from stream.contract.timestamps import format_timestamp, parse_timestamp
from tests.support.containers import Containers, require_root
from tests.support.nats_server import NODE, OTHER_NODE, NatsServer
from tests.support.polling import eventually

Notebook = Callable[[str], Any]
SECRET = "code_that_nobody_else_may_see"


class Raw:
    """The RAW stream of the broker: what notebooks published."""

    def __init__(self, server: NatsServer) -> None:
        self.server = server

    async def _jetstream(self) -> tuple[Client, JetStreamContext]:
        client = await self.server.connect()
        return client, client.jetstream()

    async def make(self) -> None:
        client, jetstream = await self._jetstream()
        await jetstream.add_stream(name="RAW", subjects=["raw.>"])
        await client.close()

    async def messages(self, kind: str = "process") -> list[Any]:
        """All messages of a kind, in order, checked as a worker checks them."""
        client, jetstream = await self._jetstream()
        found = []
        info = await jetstream.stream_info("RAW")
        for seq in range(1, info.state.last_seq + 1):
            message = await jetstream.get_msg("RAW", seq)
            if message.subject == raw_subject(kind, NODE):
                read_identity(message.subject, message.headers)
                found.append(message)
        await client.close()
        return found

    async def events(self) -> list[ProcessEvent]:
        events = []
        for message in await self.messages():
            identity = read_identity(message.subject, message.headers)
            for index, line in enumerate(split_lines(message.data, identity.count)):
                event = msgspec.json.decode(line, type=ProcessEvent)
                assert (event.node, event.boot) == (identity.node, identity.boot)
                assert event.seq == identity.first_seq + index
                events.append(event)
        return events

    async def until(self, count: int) -> list[ProcessEvent]:
        """Wait for so many events; more are a failure."""

        async def enough() -> list[ProcessEvent]:
            events = await self.events()
            assert len(events) >= count, len(events)
            return events

        events = await eventually(enough, 30, f"{count} cells", interval=0.1)
        assert len(events) == count
        return events


@pytest.fixture
async def raw(server: NatsServer) -> AsyncIterator[Raw]:
    stream = Raw(server)
    await stream.make()
    yield stream


async def test_cells_are_reported_with_all_but_their_code(
    raw: Raw, notebook: Notebook, tmp_path: Path
) -> None:
    (tmp_path / "hw3").mkdir()
    notebook(f"{SECRET} = 1")
    notebook("import os; os.chdir('hw3')")
    notebook(f"raise ValueError('{SECRET}')")
    notebook("def broken(:")
    notebook("import time; time.sleep(0.05)")

    events = (await raw.until(6))[1:]

    assert [each.exit_code for each in events] == [0, 0, 1, 1, 0]
    assert [Path(each.cwd).name for each in events] == [tmp_path.name, *["hw3"] * 4]
    assert [each.seq for each in events] == [1, 2, 3, 4, 5]
    for each in events:
        assert (each.action, each.notebook, each.argv) == ("exit", True, ["notebook-cell"])
        assert (each.pid, each.uid) == (os.getpid(), os.getuid())
        assert each.hostname == os.uname().nodename
        assert each.signal is None
        assert each.duration_us is not None
        measured = parse_timestamp(each.ts) - parse_timestamp(each.start_ts)
        assert abs(measured - each.duration_us) < 50_000
    assert (events[4].duration_us or 0) >= 50_000
    assert len({each.exec_id for each in events}) == 5
    for message in await raw.messages():
        assert SECRET.encode() not in message.data
        assert "ValueError" not in message.data.decode()


async def test_cells_that_run_cells_are_all_reported(raw: Raw, notebook: Notebook) -> None:
    notebook("get_ipython().run_cell('1/0'); x = 5")
    events = (await raw.until(3))[1:]
    assert [each.exit_code for each in events] == [1, 0]


async def test_cells_run_while_the_broker_is_away_and_arrive_when_it_is_back(
    raw: Raw, notebook: Notebook, server: NatsServer
) -> None:
    await raw.until(1)
    server.kill()
    results = [notebook(f"value = {number}") for number in range(100)]
    assert all(each.success for each in results)
    assert extension.status()["queued"] > 0
    server.start()
    events = await raw.until(101)
    assert [each.seq for each in events] == list(range(101))
    assert extension.status()["dropped"] == 0


async def test_a_frozen_broker_freezes_no_cell_and_repeats_are_recognised(
    raw: Raw, notebook: Notebook, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "PUBLISH_SECONDS", 0.2)
    await raw.until(1)
    server.freeze()
    try:
        assert all(notebook("pass").success for _ in range(20))
        await eventually(lambda: extension.status()["problem"], 10, "a publish that timed out")
    finally:
        server.thaw()
    events = await raw.until(21)
    assert [each.seq for each in events] == list(range(21))


async def test_what_the_full_queue_drops_is_counted_and_published(
    raw: Raw, notebook: Notebook, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await raw.until(1)
    monkeypatch.setattr(cells, "QUEUE_CELLS", 10)
    server.kill()
    for number in range(30):
        notebook(f"value = {number}")
    dropped = extension.status()["dropped"]
    assert dropped >= 10
    server.start()

    async def reported() -> list[Any]:
        return await raw.messages("loss")

    (loss,) = await eventually(reported, 30, "the loss", interval=0.1)

    event = msgspec.json.decode(loss.data, type=LossEvent)
    assert (event.kind, event.reason, event.count) == ("process", "notebook_queue_full", dropped)
    events = await raw.events()
    assert len(events) - 1 + dropped == 30, "published and lost are all that ran"
    assert [each.seq for each in events] == list(range(len(events)))


async def test_without_a_stream_cells_wait_and_then_arrive(
    server: NatsServer, notebook: Notebook
) -> None:
    notebook("pass")
    await eventually(lambda: extension.status()["problem"], 10, "a refusal")
    raw = Raw(server)
    await raw.make()
    await raw.until(2)


async def test_a_cell_that_removes_its_own_folder_is_reported(
    raw: Raw, notebook: Notebook, tmp_path: Path
) -> None:
    notebook("import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')")
    notebook("os.chdir('/')")
    events = await raw.until(3)
    assert events[1].cwd == ""
    assert events[2].cwd == "/"


async def test_a_forked_child_reports_nothing_and_breaks_nothing(
    raw: Raw, notebook: Notebook
) -> None:
    result = notebook(
        "import os\nchild = os.fork()\n"
        "if child == 0:\n"
        "    get_ipython().events.trigger('pre_run_cell', get_ipython())\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0"
    )
    assert result.success
    await raw.until(2)


async def test_unloading_ends_the_reports_and_loading_begins_a_new_life(
    raw: Raw, notebook: Notebook
) -> None:
    await raw.until(1)
    notebook("get_ipython().extension_manager.unload_extension('producers.notebook')")
    notebook("pass")
    assert extension.status() == {}
    notebook("get_ipython().extension_manager.load_extension('producers.notebook')")
    notebook("pass")
    events = await raw.until(2)
    assert len({each.boot for each in events}) == 2


async def kernel(environment: dict[str, str], tmp_path: Path, code: str) -> str:
    """Run one cell in a kernel of its own, and wait for the kernel's end."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "IPython", "--ext=producers.notebook", "--no-banner", "--quick",
         "-c", code],
        env={**os.environ, **environment, "IPYTHONDIR": str(tmp_path / "ipython")},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return str(done.stdout)


WAIT_UNTIL_PUBLISHED = """
import time, producers.notebook as n
end = time.monotonic() + 30
while n.status()["published"] == 0 and time.monotonic() < end: time.sleep(0.05)
"""


async def test_a_kernel_that_ends_leaves_nothing_behind_when_the_broker_is_there(
    raw: Raw, environment: dict[str, str], tmp_path: Path
) -> None:
    inner = f"get_ipython().run_cell('pass'){WAIT_UNTIL_PUBLISHED}"
    await kernel(environment, tmp_path, inner)
    events = await raw.until(2)
    assert [each.seq for each in events] == [0, 1]
    assert list((tmp_path / "left").iterdir()) == []


async def test_what_a_kernel_could_not_send_its_successor_sends(
    raw: Raw, environment: dict[str, str], server: NatsServer, tmp_path: Path
) -> None:
    server.kill()
    out = await kernel(
        environment, tmp_path, "for i in range(99): get_ipython().run_cell('pass')\nprint('ran')"
    )
    assert "ran" in out
    left = list((tmp_path / "left").iterdir())
    assert sum(each.read_bytes().count(b"\n") for each in left) == 100
    assert (tmp_path / "left").stat().st_mode & 0o077 == 0
    server.start()
    wait = (
        "import os, time\nend = time.monotonic() + 30\n"
        f"while os.listdir({str(tmp_path / 'left')!r}) and time.monotonic() < end: time.sleep(0.05)"
    )
    await kernel(environment, tmp_path, wait)

    async def all_there() -> list[ProcessEvent]:
        events = await raw.events()
        return events if len(events) >= 100 else []

    events = await eventually(all_there, 20, "the cells of the first kernel", interval=0.1)
    first = [each.seq for each in events if each.boot == events[0].boot]
    assert first == list(range(100)), "all of them, once, in order"
    assert not [each for each in (tmp_path / "left").iterdir() if each in left]


async def test_what_is_no_batch_is_cleared_away_and_stops_nobody(
    raw: Raw, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "left"
    folder.mkdir(mode=0o700)
    for name, content in (("a.process", b""), ("b.process", b"no json\n"), ("c.loss", b"{}\n")):
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("of somebody else")
    await kernel(environment, tmp_path, f"get_ipython().run_cell('pass'){WAIT_UNTIL_PUBLISHED}")
    await raw.until(2)
    assert [each.name for each in folder.iterdir()] == ["notes.txt"]


def test_a_folder_of_others_is_not_used(tmp_path: Path) -> None:
    own = settings.own_folder(str(tmp_path / "own"))
    assert own == tmp_path / "own"
    assert own.stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    assert settings.own_folder(str(tmp_path / "open")) is None
    (tmp_path / "link").symlink_to(own)
    assert settings.own_folder(str(tmp_path / "link")) is None
    (tmp_path / "file").touch()
    assert settings.own_folder(str(tmp_path / "file")) is None


async def test_a_notebooks_login_may_publish_cells_of_its_node_and_nothing_else(
    raw: Raw, server: NatsServer
) -> None:
    client = await server.connect(f"notebook-{NODE}")
    jetstream = client.jetstream()
    await jetstream.publish(raw_subject("process", NODE), b"{}\n", timeout=5)
    await jetstream.publish(raw_subject("loss", NODE), b"{}\n", timeout=5)
    for subject in (
        raw_subject("file", NODE),
        raw_subject("progress", NODE),
        raw_subject("process", OTHER_NODE),
        f"events.process.{NODE}",
        "$JS.API.STREAM.DELETE.RAW",
    ):
        with pytest.raises((NatsError, asyncio.TimeoutError)):
            await jetstream.publish(subject, b"{}\n", timeout=0.3)
    await client.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"TENWATCH_BROKER_SERVERS": ""}, "TENWATCH_BROKER_SERVERS is not set"),
        ({"TENWATCH_PRODUCER_NODE": ""}, "TENWATCH_PRODUCER_NODE is not set"),
        ({"TENWATCH_CREDENTIALS_FILE": "/no/such/file"}, "can't be read"),
        ({"TENWATCH_CREDENTIALS_FILE": "/etc/hostname"}, "not as expected"),
    ],
)
def test_a_missing_setting_is_said_once_and_breaks_nothing(
    change: dict[str, str], message: str, tmp_path: Path
) -> None:
    environment = {
        "TENWATCH_BROKER_SERVERS": "nats://127.0.0.1:1",
        "TENWATCH_PRODUCER_NODE": NODE,
        **change,
    }
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--ext=producers.notebook", "--no-banner", "--quick",
         "-c", "print('ran')"],
        env={**os.environ, **environment, "IPYTHONDIR": str(tmp_path / "ipython")},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "ran"
    assert done.stderr.count(message) == 1


@given(st.text(min_size=1))
def test_subjects_are_those_of_the_contract(node: str) -> None:
    assert messages.escape_token(node) == escape_token(node)


@given(st.integers(0, 250_000_000_000_000_000))
def test_times_are_those_of_the_contract(microseconds: int) -> None:
    assert messages.timestamp(microseconds) == format_timestamp(microseconds)


def test_servers_are_read_as_a_list_or_with_commas() -> None:
    for text in ('["nats://a:1", "nats://b:2"]', "nats://a:1, nats://b:2"):
        found = settings.Settings.from_environment(
            {"TENWATCH_BROKER_SERVERS": text, "TENWATCH_PRODUCER_NODE": "n"}
        )
        assert found.servers == ("nats://a:1", "nats://b:2")
        assert found.options() == {}


def test_a_password_never_shows(environment: dict[str, str]) -> None:
    found = settings.Settings.from_environment(environment)
    assert found.options()["password"] == "notebook-password-of-a-test"
    assert "notebook-password" not in repr(found)


def test_the_pod_is_found_in_the_cgroup_or_in_the_kubelets_mounts(tmp_path: Path) -> None:
    uid = "3f2b8c1e-9d47-4a52-8e0f-5b6c7d8e9f01"
    path = f"/kubepods/burstable/pod{uid}/{'1' * 64}"
    (tmp_path / "cgroup").write_text(f"5:memory:{path}\n0::/\n")
    assert messages.own_cgroup(tmp_path) == path
    (tmp_path / "cgroup").write_text("0::/\n")
    assert messages.own_cgroup(tmp_path) == ""
    (tmp_path / "mountinfo").write_text(
        "700 650 8:1 / / rw - overlay overlay rw\n"
        f"710 650 8:1 /var/lib/kubelet/pods/{uid}/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n"
    )
    assert cgroup_owner(messages.own_cgroup(tmp_path)) == (uid, "")
    assert messages.own_cgroup(tmp_path / "nothing") == ""


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    require_root()
    with Containers(tmp_path) as runtime:
        yield runtime


def test_the_folder_works_alone_in_a_container_and_knows_its_pod(
    containers: Containers, tmp_path: Path
) -> None:
    pod = containers.pod()
    folder = tmp_path / "image"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(cells.__file__).parent, folder / "tenwatch_cells", ignore=ignored)
    container = pod.run(
        ["/usr/bin/python3", "-I", "-c",
         "import sys; sys.path.insert(0, '/opt/cells')\n"
         "import tenwatch_cells\n"
         "tenwatch_cells.load_ipython_extension(None)\n"
         "print(tenwatch_cells.messages.own_cgroup())"],
        mounts={folder: "/opt/cells"},
    )  # fmt: skip
    assert container.wait() == 0, container.output()
    path, complaint = sorted(container.output().splitlines())
    assert complaint == "tenwatch: nats-py is not installed (pip install nats-py); " + (
        "cells are not reported"
    )
    assert cgroup_owner(path) == (pod.uid, container.id)
