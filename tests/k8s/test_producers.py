"""Every DaemonSet's container, run by runc exactly as its manifest says: it becomes ready and its
events arrive; with one capability less it says which one is missing."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_node import NODE, READY_SECONDS, Node, wait_ready
from tests.support.kubernetes_api import FakeApi, pod_object
from tests.support.manifest_container import Manifest, ManifestContainer
from tests.support.polling import eventually_sync

WAIT = READY_SECONDS


@pytest.fixture
def run(node: Node, build: Callable[[str], list[Manifest]]) -> Callable[..., ManifestContainer]:
    """``run("single", "process", without="BPF")``: the container of a DaemonSet."""

    def run(overlay: str, name: str, **options: Any) -> ManifestContainer:
        return node.run(build(overlay), name, **options)

    return run


async def test_the_process_producer_sees_what_runs(
    node: Node, run: Callable[..., ManifestContainer]
) -> None:
    streams = await node.streams()
    container = run("single", "process")
    assert wait_ready(container) == []
    inbox = await node.connection.client.subscribe(f"raw.process.{NODE}")
    await node.connection.client.flush()
    subprocess.run(["/bin/true", "seen-by-the-daemonset"], check=True, timeout=20)
    while "seen-by-the-daemonset" not in (await inbox.next_msg(timeout=WAIT)).data.decode():
        pass
    assert (await streams.stream_info("RAW")).state.messages > 0
    # Links and ring are pinned, so the next pod goes on where this one ends.
    assert list((node.bpf / "tenwatch").iterdir())
    assert container.terminate() == 0, container.output()
    await node.connection.close()


@pytest.mark.parametrize("capability", ["BPF", "PERFMON"])
async def test_the_process_producer_names_the_capability_that_it_lacks(
    node: Node, run: Callable[..., ManifestContainer], capability: str
) -> None:
    await node.streams()  # else it would try to deliver for as long as a stop may take
    container = run("single", "process", without=capability)
    assert container.wait(WAIT) == 3
    assert f"CAP_{capability}" in container.output()
    await node.connection.close()


@pytest.mark.parametrize("lacking", ["", "SYS_PTRACE"])
async def test_processes_older_than_the_producer_are_known_by_sys_ptrace(
    node: Node, run: Callable[..., ManifestContainer], lacking: str
) -> None:
    await node.streams()
    elders = [
        subprocess.Popen(["/bin/sleep", "600"], cwd="/usr/lib", user=user) for user in (0, 65534)
    ]
    try:
        degraded = wait_ready(run("single", "process", without=lacking))
        inbox = await node.connection.client.subscribe(f"raw.process.{NODE}")
        await node.connection.client.flush()
    finally:
        for each in elders:
            each.kill()
            each.wait()
    exits = {}
    while len(exits) < len(elders):
        for line in (await inbox.next_msg(timeout=WAIT)).data.decode().splitlines():
            event = json.loads(line)
            if event.get("pid") in {each.pid for each in elders}:
                exits[event["pid"]] = event
    for event in exits.values():
        assert event["argv"] == ["/bin/sleep", "600"]
        assert event.get("cwd") == (None if lacking else "/usr/lib")
    assert [f"CAP_{lacking}" in each for each in degraded] == ([True] if lacking else [])
    await node.connection.close()


@pytest.mark.parametrize("overlay", ["single", "course"])
async def test_the_file_producer_sees_what_is_written(
    node: Node, run: Callable[..., ManifestContainer], overlay: str
) -> None:
    await node.streams()
    assert wait_ready(run(overlay, "file")) == []
    inbox = await node.connection.client.subscribe(f"raw.file.{NODE}")
    await node.connection.client.flush()
    (node.workspaces / "main.c").write_text("int main(void) { return 0; }\n")
    text = ""
    while "/workspaces/main.c" not in text:
        text = (await inbox.next_msg(timeout=WAIT)).data.decode()
    event = next(json.loads(line) for line in text.splitlines() if "main.c" in line)
    if overlay == "single":
        assert event["writer_pid"] == os.getpid()
    await node.connection.close()


@pytest.mark.parametrize("capability", ["SYS_ADMIN", "DAC_READ_SEARCH"])
async def test_the_file_producer_names_the_capability_that_it_lacks(
    node: Node, run: Callable[..., ManifestContainer], capability: str
) -> None:
    container = run("single", "file", without=capability)

    def said() -> bool:
        return f"CAP_{capability}" in container.output() + container.probe("readinessProbe")[1]

    eventually_sync(said, WAIT, f"the name of {capability}", 0.1)
    assert container.probe("readinessProbe")[0] != 200


async def test_the_hostpath_producer_lists_a_folder_without_any_capability(
    node: Node, run: Callable[..., ManifestContainer]
) -> None:
    (node.workspaces / "notes.txt").write_text("x")
    await node.streams()
    inbox = await node.connection.client.subscribe(f"raw.hostpath.{NODE}")
    await node.connection.client.flush()
    assert wait_ready(run("single", "hostpath")) == []
    while "notes.txt" not in (await inbox.next_msg(timeout=WAIT)).data.decode():
        pass
    await node.connection.close()


async def test_the_node_producer_reads_cgroups_and_asks_the_api_for_pods(
    node: Node, run: Callable[..., ManifestContainer], login_folder: Callable[..., Path]
) -> None:
    tls = login_folder("--tls") / "tls"
    api = FakeApi()
    api.start(tls / "tls.crt", tls / "tls.key")
    pod = pod_object("web-7d4f8c9b6d-x2x4z", "11111111-2222-3333-4444-555555555555")
    pod["spec"]["nodeName"] = NODE
    api.set(pod)
    account = node.folder / "account"
    account.mkdir()
    (account / "token").write_text(api.token)
    (account / "ca.crt").write_text((tls / "ca.crt").read_text())
    url = api.url.replace("127.0.0.1", "localhost")
    try:
        await node.streams()
        pods = await node.connection.client.subscribe(f"raw.pod.{NODE}")
        cgroups = await node.connection.client.subscribe(f"raw.cgroup.{NODE}")
        await node.connection.client.flush()
        container = run(
            "single", "node",
            environment={"TENWATCH_POD_API_URL": url, "TENWATCH_POD_START_JITTER_SECONDS": "0"},
            extra_mounts={str(account): "/var/run/secrets/kubernetes.io/serviceaccount"},
        )  # fmt: skip
        wait_ready(container)
        while "web-7d4f8c9b6d-x2x4z" not in (await pods.next_msg(timeout=WAIT)).data.decode():
            pass
        # Now that the API has answered. Disk figures are of this kernel, not of the container:
        # block I/O in v1 cgroups.
        degraded = wait_ready(container)
        assert not [each for each in degraded if "disk figures" not in each]
        while '"scope":"node"' not in (await cgroups.next_msg(timeout=WAIT)).data.decode():
            pass
    finally:
        api.stop()
    await node.connection.close()
