"""A server that runs the configuration of an overlay, with the logins of ``k8s/credentials.py``."""

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from stream.broker.settings import BrokerSettings
from tests.support.nats_server import read_port, server_binary
from tests.support.polling import eventually_sync

Manifest = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]


def manifests(folder: Path) -> dict[tuple[str, str], Manifest]:
    """All that was written, by kind and name."""
    found = {}
    for path in (folder / "manifests").iterdir():
        for each in yaml.safe_load_all(path.read_text()):
            found[each["kind"], each["metadata"]["name"]] = each
    return found


def node_manifest(folder: Path, node: str) -> tuple[Manifest, Manifest]:
    """The Secret and the Job of a node."""
    for path in (folder / "manifests").glob("enroll-*.yaml"):
        secret, job = yaml.safe_load_all(path.read_text())
        if job["spec"]["template"]["spec"]["nodeName"] == node:
            return secret, job
    raise AssertionError(f"no login for {node}")


class Broker:
    """A server that runs the configuration of an overlay, on other ports and paths."""

    def __init__(
        self,
        folder: Path,
        overlay: str,
        logins: Path,
        number: int = 0,
        route_ports: Sequence[int] = (),
    ) -> None:
        """``route_ports`` of all servers make it one of a cluster; else it is on its own."""
        self.folder = folder
        folder.mkdir(parents=True)
        made = manifests(logins)
        users = made["Secret", "nats-users"]["stringData"]["users.conf"]
        (folder / "users.conf").write_text(users)
        place = "overlays/production" if overlay == "production" else "base/broker"
        text = (ROOT / "k8s" / place / "nats.conf").read_text()
        text = text.replace("0.0.0.0:4222", "127.0.0.1:-1").replace("0.0.0.0:8222", "127.0.0.1:-1")
        text = text.replace("store_dir: /data", f"store_dir: {folder}/data")
        text = text.replace("/var/run/nats", str(folder)).replace("$POD_NAME", f"nats-{number}")
        if route_ports:
            text = text.replace("0.0.0.0:6222", f"127.0.0.1:{route_ports[number]}")
            for each, port in enumerate(route_ports):
                text = text.replace(f"nats-{each}.nats.tenwatch.svc:6222", f"localhost:{port}")
        else:
            # One server alone has no quorum.
            text = re.sub(r"^cluster \{.*?^\}\n", "", text, flags=re.DOTALL | re.MULTILINE)
        if ("Secret", "nats-tls") in made:
            for name, value in made["Secret", "nats-tls"]["stringData"].items():
                (folder / name).write_text(value)
            text = text.replace("/etc/nats-tls", str(folder))
        (folder / "nats.conf").write_text(f"ports_file_dir: {json.dumps(str(folder))}\n{text}")
        self.log = folder / "log"
        self._start()
        port = eventually_sync(self._port, 20, "nats-server")
        self.settings = BrokerSettings(servers=(f"nats://127.0.0.1:{port}",))

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [server_binary(), "--config", str(self.folder / "nats.conf")],
                stdout=log, stderr=log,
            )  # fmt: skip

    def restart(self) -> None:
        """SIGTERM as a kubelet sends it, and the same server again."""
        config = self.folder / "nats.conf"
        port = self.settings.servers[0].rpartition(":")[2]
        text = config.read_text().replace("127.0.0.1:-1", f"127.0.0.1:{port}", 1)
        subprocess.run(
            [server_binary(), "--signal", f"stop={self.folder / 'nats.pid'}"],
            check=True,
            timeout=20,
        )
        self.process.wait(40)
        config.write_text(text)
        self._start()
        eventually_sync(self._port, 40, "nats-server")

    def _port(self) -> int | None:
        assert self.process.poll() is None, self.log.read_text()
        return read_port(self.folder, self.process.pid)

    def reload(self, logins: Path) -> None:
        """New users, as ``nats-server --signal reload`` takes them."""
        users = manifests(logins)["Secret", "nats-users"]["stringData"]["users.conf"]
        (self.folder / "users.conf").write_text(users)
        pid = self.folder / "nats.pid"
        subprocess.run([server_binary(), "--signal", f"reload={pid}"], check=True, timeout=20)
        eventually_sync(lambda: "Reloaded server conf" in self.log.read_text(), 20, "the reload")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(20)
