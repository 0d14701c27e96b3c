"""The logins of a cluster, tried against a real server: each node as itself, and nobody more."""

import json
import re
import ssl
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from stream.broker.connection import BrokerConnection
from stream.broker.credentials import Credentials, load_credentials
from stream.broker.jetstream import JetStream
from stream.broker.server_config import HEADER_ROOM
from stream.broker.settings import BrokerSettings
from stream.broker.streams import ensure_streams
from stream.contract.batch import MAXIMUM_ENRICHED_BYTES
from tests.support.cluster_broker import Broker, Manifest, manifests, node_manifest
from tests.support.nats_server import processed
from tests.support.polling import eventually

NODES = ("node-a", "node-b.example")


def credentials(text: str, tmp_path: Path) -> Credentials:
    """Read a credentials file as every role does."""
    path = tmp_path / "credentials.json"
    path.write_text(text)
    path.chmod(0o440)
    return load_credentials(str(path))


def of_node(logins: Path, node: str, tmp_path: Path) -> Credentials:
    return credentials(node_manifest(logins, node)[0]["stringData"]["producer.json"], tmp_path)


def of_role(logins: Path, role: str, tmp_path: Path) -> Credentials:
    secret = manifests(logins)["Secret", f"tenwatch-{role}"]
    return credentials(secret["stringData"]["credentials.json"], tmp_path)


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """``await connect(broker, credentials)`` gives a connection."""
    made: list[BrokerConnection] = []

    async def connect(broker: Broker, login: Credentials) -> BrokerConnection:
        connection = BrokerConnection(broker.settings, "test", login)
        connection.start()
        made.append(connection)
        await connection.wait_connected(20)
        return connection

    yield connect
    for each in made:
        await each.close()


async def refused(connection: BrokerConnection, subject: str) -> bool:
    """Whether the server refuses to let it publish there."""
    client: Client = connection.client
    await client.publish(subject, b"{}")
    await processed(client)
    return await eventually(
        lambda: subject.lower() in connection.violation.lower(), 3, f"refusal of {subject}"
    )


async def test_a_node_publishes_as_itself_and_as_nobody_else(
    login_folder: Callable[..., Path],
    run_broker: Callable[[str, Path], Broker],
    connect: Callable[..., Any],
    tmp_path: Path,
) -> None:
    logins = login_folder("--nodes", " ".join(f"node/{node}" for node in NODES))
    broker = run_broker("single", logins)
    admin = await connect(broker, of_role(logins, "admin", tmp_path))
    streams = JetStream(admin)
    await ensure_streams(streams)
    producer = await connect(broker, of_node(logins, NODES[0], tmp_path))

    answer = await producer.client.request("raw.process.node-a", b"{}", timeout=10)
    assert json.loads(answer.data)["stream"] == "RAW"
    assert await refused(producer, "raw.process.node-b_2eexample")
    assert await refused(producer, "events.process.node-a")
    assert await refused(producer, "$JS.API.STREAM.DELETE.RAW")
    assert await refused(producer, "$JS.API.CONSUMER.CREATE.EVENTS")
    assert (await streams.stream_info("RAW")).state.messages == 1

    await producer.client.subscribe("events.>")
    await processed(producer.client)
    assert await eventually(lambda: "events.>" in producer.violation, 3, "refusal to read")


async def test_a_tap_reads_and_writes_nothing(
    login_folder: Callable[..., Path],
    run_broker: Callable[[str, Path], Broker],
    connect: Callable[..., Any],
    tmp_path: Path,
) -> None:
    logins = login_folder("--nodes", "node-a")
    broker = run_broker("single", logins)
    tap = await connect(broker, of_role(logins, "tap", tmp_path))
    worker = await connect(broker, of_role(logins, "worker", tmp_path))
    subscription = await tap.client.subscribe("events.>")
    await processed(tap.client)
    await worker.client.publish("events.process.node-a", b"seen")
    assert (await subscription.next_msg(10)).data == b"seen"
    for subject in ("events.process.node-a", "raw.process.node-a", "$JS.API.STREAM.DELETE.EVENTS"):
        assert await refused(tap, subject)


async def test_a_new_node_is_let_in_after_a_reload_and_a_removed_one_is_not(
    login_folder: Callable[..., Path],
    run_broker: Callable[[str, Path], Broker],
    connect: Callable[..., Any],
    tmp_path: Path,
) -> None:
    logins = login_folder("--nodes", "node-a")
    before = node_manifest(logins, "node-a")
    broker = run_broker("single", logins)
    login_folder("--nodes", "node-c")
    assert node_manifest(logins, "node-a") == before
    broker.reload(logins)
    new = await connect(broker, of_node(logins, "node-c", tmp_path))
    assert new.connected

    gone = of_node(logins, "node-a", tmp_path)
    login_folder("--remove", "node-a")
    assert not [
        path for path in (logins / "manifests").iterdir() if path.name == "enroll-node-a.yaml"
    ]
    broker.stop()
    again = run_broker("single", logins)
    refused_login = BrokerConnection(again.settings, "test", gone)
    refused_login.start()
    try:
        await eventually(lambda: "authorization" in refused_login.problem.lower(), 20, "a refusal")
    finally:
        await refused_login.close()


async def test_the_brokers_of_production_speak_tls_with_the_certificate_that_was_made(
    login_folder: Callable[..., Path],
    run_broker: Callable[[str, Path], Broker],
    tmp_path: Path,
) -> None:
    logins = login_folder(
        "--nodes", "node-a", "--tls", "--clickhouse-user", "tenwatch",
        environment={"CLICKHOUSE_PASSWORD": "of-a-test"},
    )  # fmt: skip
    broker = run_broker("production", logins)
    made = manifests(logins)
    authority = tmp_path / "ca.crt"
    authority.write_text(made["ConfigMap", "nats-authority"]["data"]["ca.crt"])
    port = broker.settings.servers[0].rpartition(":")[2]
    login = of_node(logins, "node-a", tmp_path)
    secure = BrokerSettings(servers=(f"tls://localhost:{port}",), tls_ca=str(authority))
    async with BrokerConnection(secure, "test", login) as connection:
        await connection.wait_connected(20)
    unknown = BrokerConnection(BrokerSettings(servers=(f"tls://localhost:{port}",)), "test", login)
    unknown.start()
    try:
        await eventually(lambda: "certificate" in unknown.problem.lower(), 20, "a refusal")
    finally:
        await unknown.close()
    certificate = logins / "tls" / "tls.crt"
    decoded = ssl._ssl._test_decode_cert(str(certificate))  # type: ignore[attr-defined]
    assert ("DNS", "*.nats.tenwatch.svc") in decoded["subjectAltName"]
    sink = json.loads(made["Secret", "tenwatch-sink"]["stringData"]["credentials.json"])
    assert sink["sql"] == {"user": "tenwatch", "password": "of-a-test"}


def test_the_broker_of_every_overlay_is_set_as_the_embedded_one(
    build: Callable[[str], list[Manifest]], overlay: str
) -> None:
    config = next(
        each for each in build(overlay)
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("nats-config")
    )["data"]["nats.conf"]  # fmt: skip
    assert f"max_payload: {MAXIMUM_ENRICHED_BYTES + HEADER_ROOM}\n" in config
    assert "batch { max_msgs: 1000 }" in config


def test_streams_fit_the_broker_and_the_broker_its_claim(
    build: Callable[[str], list[Manifest]], overlay: str
) -> None:
    found = build(overlay)
    settings = next(
        each["data"] for each in found
        if each["kind"] == "ConfigMap" and each["metadata"]["namespace"] == "tenwatch"
        and each["metadata"]["name"].startswith("tenwatch-settings")
    )  # fmt: skip
    streams = sum(
        int(settings.get(f"TENWATCH_STREAMS_{name}_MAX_BYTES", default))
        for name, default in (
            ("RAW", 4 << 30), ("EVENTS", 8 << 30), ("BUCKETS", 2 << 30), ("DEAD", 256 << 20),
        )
    )  # fmt: skip
    config = next(
        each for each in found
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("nats-config")
    )["data"]["nats.conf"]  # fmt: skip
    allowed = int(re.search(r"max_file_store: (\d+)", config)[1])  # type: ignore[index]
    nats = next(each for each in found if each["metadata"]["name"] == "nats"
                and each["kind"] == "StatefulSet")  # fmt: skip
    claim = nats["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    assert streams < allowed < int(claim.removesuffix("Gi")) << 30
    scaler = [each for each in found if each["kind"] == "HorizontalPodAutoscaler"]
    for each in scaler:
        assert each["spec"]["maxReplicas"] == int(settings["TENWATCH_STREAMS_PARTITIONS"])


def test_what_is_secret_lies_in_files_of_the_owner_alone(login_folder: Callable[..., Path]) -> None:
    folder = login_folder("--nodes", "node-a", "--tls")
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.name in ("ca.crt", "tls.crt", "tls.csr", "extensions", "ca.srl"):
            continue
        assert not mode & 0o077, f"{path} {mode:o}"


def test_the_broker_holds_no_secret_of_those_who_have_an_nkey(
    login_folder: Callable[..., Path],
) -> None:
    folder = login_folder("--nodes", "node-a node-b.example")
    users = manifests(folder)["Secret", "nats-users"]["stringData"]["users.conf"]
    kept = json.loads((folder / "logins.json").read_text())
    seeds = {name: secret for name, secret in kept.items() if name.startswith("nkey ")}
    assert len(seeds) == 2 + len(("admin", "sink", "tap"))
    for secret in seeds.values():
        assert secret not in users


def test_a_node_gets_its_own_login_alone(login_folder: Callable[..., Path]) -> None:
    folder = login_folder("--nodes", " ".join(NODES))
    seeds = {}
    for node in NODES:
        secret, job = node_manifest(folder, node)
        pod = job["spec"]["template"]["spec"]
        mounted = [each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each]
        assert mounted == [secret["metadata"]["name"]]
        assert set(secret["stringData"]) == {"producer.json"}
        seeds[node] = json.loads(secret["stringData"]["producer.json"])["nats"]["nkey_seed"]
        assert seeds[node] not in json.dumps(job)
    assert len(set(seeds.values())) == len(NODES)


def test_nodes_whose_names_look_alike_do_not_share_a_secret(
    login_folder: Callable[..., Path],
) -> None:
    names = ["a.b", "a-b", "a" * 60, "a" * 61, f"{'b' * 57}.c", f"{'b' * 57}-c"]
    folder = login_folder("--nodes", " ".join(names))
    found = [node_manifest(folder, name)[0]["metadata"]["name"] for name in names]
    assert len(set(found)) == len(names)
    assert all(len(name) <= 63 for name in found)


def test_the_enrolling_script_makes_folders_that_only_their_producer_can_write(
    login_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = login_folder("--nodes", "node-a")
    secret, job = node_manifest(folder, "node-a")
    container = job["spec"]["template"]["spec"]["containers"][0]
    node, login = tmp_path / "node", tmp_path / "mounted"
    node.mkdir()
    login.mkdir()
    (login / "producer.json").write_text(secret["stringData"]["producer.json"])
    script = container["command"][2].replace("/node", str(node)).replace("/login", str(login))
    for _ in range(2):
        subprocess.run(["/bin/sh", "-ec", script], check=True, timeout=20)
    found = {path.name: (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode))
             for path in node.iterdir()}  # fmt: skip
    assert found == {
        "process": (0, 0o2770), "file": (0, 0o2770), "hostpath": (0, 0o2770),
        "node": (0, 0o2770), "credentials": (0, 0o750),
    }  # fmt: skip
    assert all(path.stat().st_gid == 65532 for path in node.iterdir())
    assert [path.name for path in (node / "credentials").iterdir()] == ["producer.json"]
    file = node / "credentials" / "producer.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o440
    assert load_credentials(str(file)).method == "nkey"


async def test_a_notebook_publishes_its_cells_and_nothing_else(
    login_folder: Callable[..., Path],
    run_broker: Callable[..., Broker],
    connect: Callable[..., Any],
    tmp_path: Path,
) -> None:
    logins = login_folder("--nodes", " ".join(NODES), "--notebook", "students")
    made = manifests(logins)
    files = made["Secret", "tenwatch-notebook"]["stringData"]
    assert set(files) == {f"{node}.json" for node in NODES}
    assert made["Secret", "tenwatch-notebook"]["metadata"]["namespace"] == "students"
    broker = run_broker("course", logins)
    await ensure_streams(JetStream(await connect(broker, of_role(logins, "admin", tmp_path))))
    cells = await connect(broker, credentials(files["node-a.json"], tmp_path))
    answer = await cells.client.request("raw.process.node-a", b"{}", timeout=10)
    assert json.loads(answer.data)["stream"] == "RAW"
    assert await refused(cells, "raw.file.node-a")
    assert await refused(cells, "raw.process.node-b_2eexample")

    package = tmp_path / "mounted" / "tenwatch_notebook"
    package.mkdir(parents=True)
    for name, text in made["ConfigMap", "tenwatch-notebook"]["data"].items():
        (package / name).write_text(text)
    subprocess.run(
        [sys.executable, "-c", "import tenwatch_notebook as n; n.load_ipython_extension"],
        check=True, timeout=30, env={"PYTHONPATH": str(package.parent), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
