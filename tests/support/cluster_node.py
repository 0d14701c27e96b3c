"""A machine as the pods of a cluster find it, and the containers of manifests that run on it."""

import contextlib
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any, Final

from stream.broker.connection import BrokerConnection
from stream.broker.credentials import load_credentials
from stream.broker.jetstream import JetStream
from stream.broker.streams import ensure_streams
from tests.support.cluster_broker import Broker, Manifest, manifests, node_manifest
from tests.support.manifest_container import ManifestContainer
from tests.support.polling import eventually_sync

NODE: Final = "node-a"
READY_SECONDS: Final = 60.0
HOSTS: Final = ("PRODUCER_HEALTH", "WORKER", "SINK", "SQL")
"""Prefixes of the settings that name an address to listen on; in a pod it is 0.0.0.0."""


class Node:
    """A machine as a DaemonSet's pod finds it: enrolled, with folders, beside a broker."""

    def __init__(self, folder: Path, logins: Path, broker: Broker) -> None:
        self.folder = folder
        self.broker = broker
        self.logins = logins
        self._running: list[ManifestContainer] = []
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

    def run(
        self, found: list[Manifest], name: str, kind: str = "DaemonSet", **options: Any
    ) -> ManifestContainer:
        """Start the container of one workload of an overlay."""
        workload = next(
            each for each in found if each["kind"] == kind and each["metadata"]["name"] == name
        )
        settings = next(
            each["data"] for each in found
            if each["kind"] == "ConfigMap"
            and each["metadata"]["namespace"] == workload["metadata"]["namespace"]
            and each["metadata"]["name"].startswith("tenwatch-settings")
        )  # fmt: skip
        port = options.pop("health_port", 0) or free_port()
        environment = {
            "TENWATCH_BROKER_SERVERS": json.dumps(list(self.broker.settings.servers)),
            **{f"TENWATCH_{each}_HOST": "127.0.0.1" for each in HOSTS},
            **{
                f"TENWATCH_{each}_HEALTH_PORT": str(port) for each in ("PRODUCER", "WORKER", "SINK")
            },
        } | options.pop("environment", {})
        secrets = {
            key[1]: each["stringData"]
            for key, each in manifests(self.logins).items()
            if key[0] == "Secret"
        }
        bundle = self.folder / f"bundle-{len(self._running)}"
        container = ManifestContainer(
            workload, bundle, settings, NODE, self.host(), environment,
            secrets=secrets, health_port=port, **options,
        )  # fmt: skip
        self._running.append(container)
        return container.start()

    def close(self) -> None:
        for each in self._running:
            each.close()
        subprocess.run(["umount", str(self.bpf)], check=False, timeout=20)


def free_port() -> int:
    """A port that nobody listens on."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


def wait_ready(container: ManifestContainer) -> list[str]:
    """Wait until its readiness probe succeeds; gives what is said not to work fully."""

    def ready() -> str:
        if not container.running():
            raise RuntimeError(f"{container.pod_name} ended: {container.output()}")
        status, text = container.probe("readinessProbe")
        assert status == 200, text or container.output()
        return text

    answer = eventually_sync(ready, READY_SECONDS, "readiness", 0.1)
    assert container.probe("livenessProbe")[0] == 200
    return list(json.loads(answer).get("degraded", ())) if answer.startswith("{") else []
