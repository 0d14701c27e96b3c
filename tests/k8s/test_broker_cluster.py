"""The three brokers of the overlay "production": they find each other by TLS alone, hold R3 streams
made by the Job's command, and one of them may go."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream.broker.connection import BrokerConnection
from stream.broker.credentials import load_credentials
from stream.broker.jetstream import JetStream
from stream.broker.settings import BrokerSettings
from tests.support.cluster_broker import Broker, manifests
from tests.support.cluster_node import free_port
from tests.support.nats_server import server_binary
from tests.support.polling import eventually, eventually_sync

Manifest = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def logins(login_folder: Callable[..., Path]) -> Path:
    return login_folder(
        "--nodes", "node-a", "--tls", "--clickhouse-user", "tenwatch",
        environment={"CLICKHOUSE_PASSWORD": "of-a-test"},
    )  # fmt: skip


def url(broker: Broker) -> str:
    return broker.settings.servers[0].replace("nats://127.0.0.1", "tls://localhost")


def apply_streams(
    environment: dict[str, str], wait: int = 60
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tenwatch", "streams", "apply", "--wait", str(wait)],
        capture_output=True, text=True, timeout=90, check=False,
        env=os.environ | environment | {"PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"},
    )  # fmt: skip


async def test_three_brokers_hold_r3_streams_and_one_may_go(
    build: Callable[[str], list[Manifest]],
    run_broker: Callable[..., Broker],
    logins: Path,
    tmp_path: Path,
) -> None:
    ports = [free_port() for _ in range(3)]
    brokers = [
        run_broker("production", logins, number=number, route_ports=ports) for number in range(3)
    ]
    made = manifests(logins)
    authority, login = tmp_path / "ca.crt", tmp_path / "admin.json"
    authority.write_text(made["ConfigMap", "nats-authority"]["data"]["ca.crt"])
    login.write_text(made["Secret", "tenwatch-admin"]["stringData"]["credentials.json"])
    login.chmod(0o440)
    settings = next(
        each["data"] for each in build("production")
        if each["kind"] == "ConfigMap" and each["metadata"]["namespace"] == "tenwatch"
        and each["metadata"]["name"].startswith("tenwatch-settings")
    )  # fmt: skip
    servers = [url(each) for each in brokers]
    environment = settings | {
        "TENWATCH_BROKER_SERVERS": json.dumps(servers),
        "TENWATCH_BROKER_TLS_CA": str(authority),
        "TENWATCH_CREDENTIALS_FILE": str(login),
    }
    done = apply_streams(environment)
    assert done.returncode == 0, done.stderr
    again = apply_streams(environment)
    assert again.returncode == 0, again.stderr
    assert [line.split(":")[0] for line in again.stdout.splitlines()] == [
        "RAW", "EVENTS", "BUCKETS", "DEAD",
    ]  # fmt: skip

    brokers[0].stop()
    left = BrokerSettings(servers=tuple(servers[1:]), tls_ca=str(authority))
    async with BrokerConnection(left, "test", load_credentials(str(login))) as connection:
        await connection.wait_connected(20)
        streams = JetStream(connection)

        async def takes_events() -> bool:
            answer = await connection.client.request("raw.process.node-a", b"{}", timeout=2)
            return bool(json.loads(answer.data).get("stream") == "RAW")

        async def patient() -> bool:
            try:
                return await takes_events()
            except Exception as error:
                raise AssertionError(repr(error)) from None

        await eventually(patient, 40, "an acknowledgement of two of three", 0.5)
        config = (await streams.stream_info("RAW")).config
    assert config["num_replicas"] == 3
    assert "partition(8,2)" in config["subject_transform"]["dest"]


def test_a_server_without_our_certificate_is_not_let_into_the_cluster(
    run_broker: Callable[..., Broker], logins: Path, login_folder: Callable[..., Path]
) -> None:
    ports = [free_port() for _ in range(3)]
    inside = run_broker("production", logins, number=0, route_ports=ports)
    for path in (logins / "tls").iterdir():
        path.unlink()
    stranger = login_folder("--nodes", "node-a", "--tls", "--clickhouse-user", "tenwatch",
                            environment={"CLICKHOUSE_PASSWORD": "x"})  # fmt: skip
    run_broker("production", stranger, number=1, route_ports=ports)
    eventually_sync(
        lambda: "TLS route handshake error" in inside.log.read_text(), 20, "a refused handshake"
    )
    ports_file = next(inside.folder.glob(f"*_{inside.process.pid}.ports"))
    monitor = json.loads(ports_file.read_text())["monitoring"][0]
    with urllib.request.urlopen(f"{monitor}/routez", timeout=10) as answer:
        assert json.load(answer)["num_routes"] == 0


def test_the_brokers_probes_and_its_lame_duck_mode_are_those_of_the_manifest(
    build: Callable[[str], list[Manifest]], run_broker: Callable[..., Broker], logins: Path
) -> None:
    broker = run_broker("single", logins)
    stateful = next(
        each for each in build("single")
        if each["kind"] == "StatefulSet" and each["metadata"]["name"] == "nats"
    )  # fmt: skip
    container = stateful["spec"]["template"]["spec"]["containers"][0]
    ports_file = next(broker.folder.glob(f"*_{broker.process.pid}.ports"))
    monitor = json.loads(ports_file.read_text())["monitoring"][0]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = container[probe]["httpGet"]["path"]
        with urllib.request.urlopen(f"{monitor}{path}", timeout=10) as answer:
            assert json.load(answer)["status"] == "ok"
    program, *arguments = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "nats-server"
    inside = [each.replace("/var/run/nats", str(broker.folder)) for each in arguments]
    subprocess.run([server_binary(), *inside], check=True, timeout=20)
    eventually_sync(lambda: "lame duck mode" in broker.log.read_text().lower(), 20, "lame duck")
