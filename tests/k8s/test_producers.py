"""Every DaemonSet's container, run by runc exactly as its manifest says: it becomes ready and its
events arrive; with one capability less it says which one is missing."""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.broker.connection import BrokerConnection
from stream.broker.credentials import load_credentials
from stream.broker.jetstream import JetStream
from stream.broker.streams import ensure_streams
from tests.support.cluster_broker import Broker, manifests, node_manifest
from tests.support.kubernetes_api import FakeApi, pod_object
from tests.support.manifest_container import Manifest, ManifestContainer
from tests.support.polling import eventually_sync

NODE = "node-a"
WAIT = 60.0


class Node:
    """A machine as a DaemonSet's pod finds it: enrolled, with folders, beside a broker."""

    def __init__(self, folder: Path, logins: Path, broker: Broker) -> None:
        self.folder = folder
        self.broker = broker
        self.workspaces = folder / "workspaces"
        self.bpf = folder / "bpf"
        for name in ("workspaces", "bpf", "pods", "containers", "enrolled"):
            (folder / name).mkdir(parents=True)
        subprocess.run(["mount", "-t", "bpf", "none", str(self.bpf)], check=True, timeout=20)
        secret, job = node_manifest(logins, NODE)
        login = folder / "login"
        login.mkdir()
        (login / "producer.json").write_text(secret["stringData"]["producer.json"])
        script = job["spec"]["template"]["spec"]["containers"][0]["command"][2]
        script = script.replace("/node", str(folder / "enrolled")).replace("/login", str(login))
        subprocess.run(["/bin/sh", "-ec", script], check=True, timeout=20)
        admin = manifests(logins)["Secret", "tenwatch-admin"]["stringData"]["credentials.json"]
        self.admin = folder / "admin.json"
        self.admin.write_text(admin)
        self.admin.chmod(0o600)
        # On the way to the mounts, as on a node.
        for path in (folder, *folder.parents):
            if path.stat().st_uid == os.getuid() and path != Path("/"):
                path.chmod(path.stat().st_mode | 0o011)

    def host(self) -> dict[str, str]:
        """Host path of the manifest → folder of the test."""
        enrolled = {
            f"/var/lib/tenwatch/{path.name}": str(path)
            for path in (self.folder / "enrolled").iterdir()
        }
        return enrolled | {
            "/srv/workspaces": str(self.workspaces),
            "/sys/fs/bpf": str(self.bpf),
            "/var/log/pods": str(self.folder / "pods"),
            "/var/log/containers": str(self.folder / "containers"),
        }

    async def streams(self) -> JetStream:
        """The streams, made by the administrator."""
        connection = BrokerConnection(
            self.broker.settings, "test", load_credentials(str(self.admin))
        )
        connection.start()
        await connection.wait_connected(20)
        streams = JetStream(connection)
        await ensure_streams(streams)
        self.connection = connection
        return streams

    def close(self) -> None:
        subprocess.run(["umount", str(self.bpf)], check=False, timeout=20)


@pytest.fixture
def node(
    login_folder: Callable[..., Path], run_broker: Callable[[str, Path], Broker], tmp_path: Path
) -> Iterator[Node]:
    logins = login_folder("--nodes", NODE)
    node = Node(tmp_path / "machine", logins, run_broker("single", logins))
    yield node
    node.close()


@pytest.fixture
def run(
    node: Node, build: Callable[[str], list[Manifest]], tmp_path: Path
) -> Iterator[Callable[..., ManifestContainer]]:
    """``run("single", "process", without="BPF")``: the container of a DaemonSet."""
    running: list[ManifestContainer] = []

    def run(overlay: str, name: str, **options: Any) -> ManifestContainer:
        found = build(overlay)
        workload = next(
            each for each in found
            if each["kind"] == "DaemonSet" and each["metadata"]["name"] == name
        )  # fmt: skip
        settings = next(
            each["data"] for each in found
            if each["kind"] == "ConfigMap" and each["metadata"]["namespace"] == "tenwatch-agents"
            and each["metadata"]["name"].startswith("tenwatch-settings")
        )  # fmt: skip
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        environment = {
            "TENWATCH_BROKER_SERVERS": json.dumps(list(node.broker.settings.servers)),
            "TENWATCH_PRODUCER_HEALTH_HOST": "127.0.0.1",
            "TENWATCH_PRODUCER_HEALTH_PORT": str(port),
        } | options.pop("environment", {})
        running.append(
            ManifestContainer(
                workload, tmp_path / f"bundle-{len(running)}", settings, NODE, node.host(),
                environment, **options,
            ).start()
        )  # fmt: skip
        return running[-1]

    yield run
    for each in running:
        each.close()


def wait_ready(container: ManifestContainer) -> list[str]:
    """Wait until its readiness probe succeeds; gives what is said not to work fully."""

    def ready() -> str:
        if not container.running():
            raise RuntimeError(f"{container.pod_name} ended: {container.output()}")
        status, text = container.probe("readinessProbe")
        assert status == 200, text or container.output()
        return text

    answer = eventually_sync(ready, WAIT, "readiness", 0.1)
    assert container.probe("livenessProbe")[0] == 200
    return list(json.loads(answer)["degraded"])


async def raw(streams: JetStream, kind: str, wanted: str) -> str:
    """Wait until a batch of that kind holds a text; gives the batch."""
    inbox = await streams.connection.client.subscribe(f"raw.{kind}.{NODE}")
    while True:
        text = (await inbox.next_msg(timeout=WAIT)).data.decode()
        if wanted in text:
            return text


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
    container = run("single", "process", without=capability)
    assert container.wait(WAIT) == 3
    assert f"CAP_{capability}" in container.output()


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
        degraded = wait_ready(container)
        # Of this kernel, not of the container: block I/O in v1 cgroups.
        assert not [each for each in degraded if "disk figures" not in each]
        while "web-7d4f8c9b6d-x2x4z" not in (await pods.next_msg(timeout=WAIT)).data.decode():
            pass
        while '"scope":"node"' not in (await cgroups.next_msg(timeout=WAIT)).data.decode():
            pass
    finally:
        api.stop()
    await node.connection.close()
