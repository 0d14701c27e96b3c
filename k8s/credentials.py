#!/usr/bin/env python3
"""Logins for a cluster: who may do what at the broker, and how each node gets its own login alone.

    python k8s/credentials.py --folder ~/tenwatch-login --nodes "$(kubectl get nodes -o name)"
    kubectl apply -f ~/tenwatch-login/manifests/

The folder (mode 0700) holds what was made, so that running it again with more nodes keeps what is
there. Logins of the broker are nkeys (Ed25519), of which the broker knows the public half only; the
worker has a password, since its transport knows no nkeys. Who may publish what comes from
``stream/broker/permissions.py``, as for an embedded instance.

A pod of a DaemonSet can't mount "the Secret of my node", and one Secret for all nodes would give
every node the logins of all. So each node has a Secret of its own, and a Job bound to that node
puts it into a folder of the node, /var/lib/tenwatch/credentials, from which the agents mount it. A
kubelet may read only Secrets of pods bound to its node (the API server's node authorizer), so a
node that is taken over gives away its own login and no other.
"""

import argparse
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nkeys
import yaml

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from stream.broker.permissions import (  # noqa: E402
    Role,
    User,
    inbox_prefix,
    producer_name,
)
from stream.broker.server_config import render_users  # noqa: E402
from stream.contract.subjects import escape_token  # noqa: E402

SERVERS: Final = "tenwatch"
"""Namespace of broker, workers and sink."""
AGENTS: Final = "tenwatch-agents"
"""Namespace of the DaemonSets."""
USER_ID: Final = 65532
"""The user that every part without a capability runs as."""
NODE_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
ROLES: Final = {Role.ADMIN: "admin", Role.WORKER: "worker", Role.SINK: "sink", Role.TAP: "tap"}
FOLDERS: Final = ("process", "file", "hostpath", "node")
"""Spool folder of each DaemonSet on a node. Each mounts its own alone, so all are open to root and
to the user without privileges: which of the two a producer runs as may change with an overlay."""
SERVER_NAMES: Final = ("nats.tenwatch.svc", "*.nats.tenwatch.svc", "localhost")
CERTIFICATE_DAYS: Final = 825
NOTEBOOK_MODULES: Final = ("__init__.py", "cells.py", "messages.py", "settings.py")

Manifest = dict[str, Any]


class CredentialsError(Exception):
    """What can't be made, and why."""


def new_seed() -> str:
    """The secret half of a new user nkey (``SU…``)."""
    return bytes(nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)).decode("ascii")


def public_key(seed: str) -> str:
    """The public half (``U…``)."""
    return bytes(nkeys.from_seed(seed.encode("ascii")).public_key).decode("ascii")


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the broker with the secret that proves it."""

    user: User
    secret: str

    def content(self) -> dict[str, Any]:
        """The ``nats`` part of a credentials file (``stream/broker/credentials.py``)."""
        if self.user.nkey:
            return {"nkey_seed": self.secret, "inbox_prefix": inbox_prefix(self.user.name)}
        return {"user": self.user.name, "password": self.secret}


class Logins:
    """What was made so far, in one file of mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._secrets: dict[str, str] = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            self._secrets = {}
        except (OSError, ValueError) as error:
            raise CredentialsError(f"{path} can't be read: {error}") from None

    def secret(self, name: str, make: Any = lambda: secrets.token_urlsafe(24)) -> str:
        """The secret of that name, made when it is asked for the first time."""
        return self._secrets.setdefault(name, make())

    def nkey(self, name: str, role: Role, node: str = "") -> Login:
        """A user that proves itself by an nkey."""
        seed = self.secret(f"nkey {name}", new_seed)
        return Login(User(name, role, nkey=public_key(seed), node=node), seed)

    def password(self, name: str, role: Role, node: str = "") -> Login:
        """A user with a password, for clients that know nothing else."""
        password = self.secret(f"password {name}")
        return Login(User(name, role, password=password, node=node), password)

    def nodes(self) -> list[str]:
        """Every node that was ever given a login."""
        return sorted(json.loads(self._secrets.get("nodes", "[]")))

    def keep(self, nodes: Iterable[str]) -> None:
        """Remember these nodes, and write everything down."""
        self._secrets["nodes"] = json.dumps(sorted(nodes))
        write_private(self._path, json.dumps(self._secrets, indent=1) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, all of it or nothing."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def secret(namespace: str, name: str, data: Mapping[str, str]) -> Manifest:
    """A Secret; ``data`` are texts by key."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(namespace, name),
        "type": "Opaque",
        "stringData": dict(data),
    }


def config_map(namespace: str, name: str, data: Mapping[str, str]) -> Manifest:
    """A ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(namespace, name),
        "data": dict(data),
    }


def _metadata(namespace: str, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": namespace,
        "labels": {"app.kubernetes.io/part-of": "tenwatch"},
    }


def node_resource_name(prefix: str, node: str) -> str:
    """A name for a resource of a node, at most 63 bytes as labels want it, and never another's."""
    name = f"{prefix}-{node.replace('.', '-')}"
    if name == f"{prefix}-{node}" and len(name) <= 63:
        return name
    return f"{name[:52]}-{hashlib.sha256(node.encode()).hexdigest()[:10]}"


def enrollment(node: str, login: Login, image: str) -> list[Manifest]:
    """The Secret of a node, and the Job bound to it that puts it onto the node."""
    name = node_resource_name("enroll", node)
    text = json.dumps({"nats": login.content()})
    job: Manifest = yaml.safe_load((HERE / "enroll-node.yaml").read_text("utf-8"))
    job["metadata"]["name"] = name
    pod = job["spec"]["template"]["spec"]
    # Bound to the node by name, not scheduled: so the kubelet of no other node may read the Secret.
    pod["nodeName"] = node
    container = pod["containers"][0]
    container["image"] = image
    container["command"] = ["/bin/sh", "-ec", enroll_script()]
    for volume in pod["volumes"]:
        if "secret" in volume:
            volume["secret"]["secretName"] = name
    return [secret(AGENTS, name, {"producer.json": text}), job]


def enroll_script() -> str:
    """What the Job does on the node."""
    lines = ["cd /node", "install -d -m 0755 -o 0 -g 0 ."]
    lines += [f"install -d -m 2770 -o 0 -g {USER_ID} {name}" for name in FOLDERS]
    lines += [
        f"install -d -m 0750 -o 0 -g {USER_ID} credentials",
        # Renamed into place, so that nobody reads half a file.
        f"install -m 0440 -o 0 -g {USER_ID} /login/producer.json credentials/.producer.new",
        "mv credentials/.producer.new credentials/producer.json",
    ]
    return "\n".join(lines) + "\n"


def sql_part(logins: Logins, clickhouse_user: str) -> dict[str, Any]:
    """What the sink's file holds beside its login: its own at a server, or whom it lets in."""
    if clickhouse_user:
        password = os.environ.get("CLICKHOUSE_PASSWORD", "")
        if not password:
            raise CredentialsError("give the password in the environment as CLICKHOUSE_PASSWORD")
        return {"sql": {"user": clickhouse_user, "password": password}}
    return {
        "sql_users": [
            {"user": name, "password": logins.secret(f"sql {name}"), "role": name}
            for name in ("reader", "admin")
        ]
    }


def role_secrets(
    logins: Logins, roles: Mapping[Role, Login], clickhouse_user: str
) -> list[Manifest]:
    """A Secret per role, with a credentials file in it."""
    manifests = []
    for role, login in roles.items():
        content: dict[str, Any] = {"nats": login.content()}
        if role is Role.SINK:
            content |= sql_part(logins, clickhouse_user)
        if role is Role.TAP and not clickhouse_user:
            content["sql"] = {"user": "reader", "password": logins.secret("sql reader")}
        name = f"tenwatch-{ROLES[role]}"
        manifests.append(secret(SERVERS, name, {"credentials.json": json.dumps(content)}))
    return manifests


def notebook(logins: Logins, nodes: Sequence[str], namespace: str) -> tuple[list[Login], list[Any]]:
    """The hook for notebooks as a ConfigMap, and the logins of all nodes' notebooks in one Secret.

    A pod of a user mounts its node's file alone (``subPathExpr: $(NODE_NAME).json``). Who reads it
    can invent process events of that node; so it is a role of its own.
    """
    source = HERE.parent / "producers" / "notebook"
    modules = {name: (source / name).read_text("utf-8") for name in NOTEBOOK_MODULES}
    users = {
        node: logins.password(f"notebook-{escape_token(node)}", Role.NOTEBOOK, node)
        for node in nodes
    }
    files = {f"{node}.json": json.dumps({"nats": user.content()}) for node, user in users.items()}
    return list(users.values()), [
        config_map(namespace, "tenwatch-notebook", modules),
        secret(namespace, "tenwatch-notebook", files),
    ]


def certificates(folder: Path) -> list[Manifest]:
    """An authority of our own and the brokers' certificate, by openssl. The authority's key stays
    in the folder."""
    folder.mkdir(mode=0o700, exist_ok=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days"]
    days = str(CERTIFICATE_DAYS)
    if not (folder / "ca.crt").exists():
        _openssl(
            folder, "req", "-x509", *key, days, "-keyout", "ca.key", "-out", "ca.crt",
            "-subj", "/CN=tenwatch", "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0",
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip
    if not (folder / "tls.crt").exists():
        (folder / "extensions").write_text(
            f"subjectAltName={','.join(f'DNS:{name}' for name in SERVER_NAMES)}\n"
            "extendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n"
        )
        _openssl(
            folder, "req", *key[:-1], "-keyout", "tls.key", "-out", "tls.csr",
            "-subj", "/CN=nats",
        )  # fmt: skip
        _openssl(
            folder, "x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", days, "-extfile", "extensions", "-out", "tls.crt",
        )  # fmt: skip
    parts = {name: (folder / name).read_text() for name in ("tls.crt", "tls.key", "ca.crt")}
    return [
        secret(SERVERS, "nats-tls", parts),
        *(
            config_map(namespace, "nats-authority", {"ca.crt": parts["ca.crt"]})
            for namespace in (SERVERS, AGENTS)
        ),
    ]


def _openssl(folder: Path, *arguments: str) -> None:
    try:
        subprocess.run(
            ["openssl", *arguments], cwd=folder, check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise CredentialsError("openssl is not installed; --tls needs it") from None
    except subprocess.CalledProcessError as error:
        raise CredentialsError(f"openssl {arguments[0]} failed: {error.stderr.strip()}") from None


def node_names(text: str) -> list[str]:
    """Names from words or lines, as ``kubectl get nodes -o name`` prints them."""
    names = [word.removeprefix("node/") for word in text.replace(",", " ").split()]
    for name in names:
        if not NODE_NAME.fullmatch(name):
            raise CredentialsError(f"{name!r} is not the name of a node")
    return names


def write_manifests(path: Path, manifests: Sequence[Manifest]) -> None:
    write_private(path, yaml.safe_dump_all(manifests, sort_keys=False))


def generate(arguments: argparse.Namespace) -> list[Path]:
    """Write every manifest; gives the paths."""
    folder: Path = arguments.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    target = folder / "manifests"
    target.mkdir(mode=0o700, exist_ok=True)
    logins = Logins(folder / "logins.json")
    gone = set(node_names(arguments.remove))
    nodes = sorted({*logins.nodes(), *node_names(arguments.nodes)} - gone)
    if not nodes:
        raise CredentialsError('no nodes; give --nodes "$(kubectl get nodes -o name)"')
    roles = {
        role: (logins.password if role is Role.WORKER else logins.nkey)(name, role)
        for role, name in ROLES.items()
    }
    producers = {node: logins.nkey(producer_name(node), Role.PRODUCER, node) for node in nodes}
    users = [login.user for login in (*roles.values(), *producers.values())]
    files: dict[str, list[Manifest]] = {
        "roles.yaml": role_secrets(logins, roles, arguments.clickhouse_user)
    }
    if arguments.notebook:
        notebooks, files["notebook.yaml"] = notebook(logins, nodes, arguments.notebook)
        users += [login.user for login in notebooks]
    if arguments.tls:
        files["tls.yaml"] = certificates(folder / "tls")
    files["broker.yaml"] = [secret(SERVERS, "nats-users", {"users.conf": render_users(users)})]
    for node, login in producers.items():
        name = f"{node_resource_name('enroll', node)}.yaml"
        files[name] = enrollment(node, login, arguments.image)
    logins.keep(nodes)
    for node in gone:
        (target / f"{node_resource_name('enroll', node)}.yaml").unlink(missing_ok=True)
    for name, manifests in files.items():
        write_manifests(target / name, manifests)
    return [target / name for name in files]


def main() -> None:
    """Parse, and make."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where logins are kept")
    parser.add_argument("--nodes", default="", help="names of nodes, as kubectl prints them")
    parser.add_argument("--remove", default="", help="nodes whose login the broker shall forget")
    parser.add_argument("--image", default="tenwatch:0.1.0", help="image of the enrolling Job")
    parser.add_argument("--tls", action="store_true", help="make certificates for the brokers")
    parser.add_argument(
        "--clickhouse-user",
        default="",
        help="login at an external ClickHouse; its password in CLICKHOUSE_PASSWORD",
    )
    parser.add_argument("--notebook", metavar="NAMESPACE", default="", help="notebook hook for it")
    try:
        paths = generate(parser.parse_args())
    except (CredentialsError, OSError) as error:
        print(f"credentials: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"kubectl apply -f {paths[0].parent}")


if __name__ == "__main__":
    main()
