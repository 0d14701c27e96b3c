"""A small Kubernetes API over TLS: pods of nodes, lists in pages, watches, and their failures."""

import itertools
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

NODE = "worker-1.example"


def pod_object(name: str, uid: str, **changes: Any) -> dict[str, Any]:
    """A pod as the API gives it, with much that nobody reads."""
    pod: dict[str, Any] = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "generateName": name.rpartition("-")[0] + "-",
            "namespace": "default",
            "uid": uid,
            "creationTimestamp": "2026-11-19T10:00:00Z",
            "labels": {"app": "web", "pod-template-hash": "7d4f8c9b6d", "secret-label": "x"},
            "annotations": {"kubernetes.io/config.seen": "2026-11-19T10:00:00Z"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "web-7d4f8c9b6d",
                    "uid": "e2b9",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {
            "containers": [{"name": "app", "image": "registry/app:1", "resources": {}}],
            "nodeName": NODE,
            "serviceAccountName": "default",
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.7",
            "containerStatuses": [
                {
                    "name": "app",
                    "state": {"running": {"startedAt": "2026-11-19T10:00:02Z"}},
                    "lastState": {},
                    "ready": True,
                    "restartCount": 0,
                    "image": "registry/app:1",
                    "imageID": "registry/app@sha256:00",
                    "containerID": "containerd://" + "1" * 64,
                }
            ],
        },
    }
    for path, value in changes.items():
        part = pod
        *parents, last = path.split("__")
        for each in parents:
            part = part.setdefault(each, {})
        part[last] = value
    return pod


@dataclass
class Request:
    """One request that the API got."""

    at: float
    query: dict[str, str]
    token: str
    status: int = 0

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "1"


@dataclass
class FakeApi:
    """Pods with versions, lists in pages, watches that can be ended, expired and refused."""

    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    token: str = "first-token"
    refuse: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Answers for the next requests instead of the right ones: (status, headers)."""
    page: int = 500
    oldest: int = 0
    """Watches from before this version are answered 410."""
    url: str = ""
    _log: list[tuple[int, bytes]] = field(default_factory=list)
    _version: Any = field(default_factory=lambda: itertools.count(1000))
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _epoch: int = 0
    _closing: bool = False
    _server: ThreadingHTTPServer | None = None

    def set(self, pod: dict[str, Any]) -> None:
        """Add or change a pod."""
        known = pod["metadata"]["uid"] in self.pods
        self.pods[pod["metadata"]["uid"]] = pod
        self._say("MODIFIED" if known else "ADDED", pod)

    def delete(self, uid: str, *, tell: bool = True) -> None:
        pod = self.pods.pop(uid)
        if tell:
            self._say("DELETED", pod)

    def bookmark(self) -> int:
        return self._say("BOOKMARK", {"kind": "Pod", "metadata": {}})

    def fail_watches(self, code: int, reason: str) -> None:
        """An error inside a watch, as the API server writes it."""
        status = {"kind": "Status", "status": "Failure", "code": code, "reason": reason,
                  "message": f"too old resource version: {reason}"}  # fmt: skip
        self._write({"type": "ERROR", "object": status}, next(self._version))

    def end_watches(self) -> None:
        """Close every watch in the middle of a line, as a dying server does."""
        with self._changed:
            self._epoch += 1
            self._changed.notify_all()

    def expire(self) -> None:
        """Forget what changed until now."""
        self.oldest = next(self._version)

    @property
    def lists(self) -> list[Request]:
        return [each for each in self.requests if not each.is_watch]

    @property
    def watches(self) -> list[Request]:
        return [each for each in self.requests if each.is_watch]

    def _news(self, sent: int, epoch: int) -> list[tuple[int, bytes]]:
        """What came after the first ``sent``, or nothing after a moment."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._log) > sent or self._epoch != epoch, 0.2)
            return self._log[sent:]

    def _say(self, kind: str, pod: dict[str, Any]) -> int:
        version = next(self._version)
        pod["metadata"]["resourceVersion"] = str(version)
        self._write({"type": kind, "object": pod}, version)
        return version

    def _write(self, event: dict[str, Any], version: int) -> None:
        with self._changed:
            self._log.append((version, json.dumps(event).encode() + b"\n"))
            self._changed.notify_all()

    def start(self, certificate: Path | None, key: Path | None, port: int = 0) -> None:
        api = self
        self._closing = False

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: each[0] for name, each in parse_qs(parts.query).items()}
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                if api._closing:
                    self.close_connection = True
                    return
                request = Request(time.monotonic(), query, token)
                api.requests.append(request)
                if api.refuse:
                    request.status, headers = api.refuse.pop(0)
                    self._answer(request.status, {"message": "no"}, headers)
                elif parts.path != "/api/v1/pods":
                    self._answer(404, {"message": "no such path"}, {})
                elif token != api.token:
                    request.status = 401
                    self._answer(401, {"kind": "Status", "message": "Unauthorized"}, {})
                elif request.is_watch:
                    self._watch(request)
                else:
                    self._list(request)

            def _answer(self, status: int, body: object, headers: dict[str, str]) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def _list(self, request: Request) -> None:
                request.status = 200
                selector = request.query["fieldSelector"].removeprefix("spec.nodeName=")
                pods = [each for each in api.pods.values() if each["spec"]["nodeName"] == selector]
                begin = int(request.query.get("continue", "0"))
                metadata = {"resourceVersion": str(next(api._version))}
                if begin + api.page < len(pods):
                    metadata["continue"] = str(begin + api.page)
                items = pods[begin : begin + api.page]
                self._answer(200, {"kind": "PodList", "metadata": metadata, "items": items}, {})

            def _watch(self, request: Request) -> None:
                since = int(request.query["resourceVersion"])
                if since < api.oldest:
                    request.status = 410
                    status = {"kind": "Status", "code": 410, "message": "too old", "reason": "Gone"}
                    self._answer(410, status, {})
                    return
                request.status = 200
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.flush()
                end = time.monotonic() + int(request.query["timeoutSeconds"])
                epoch, sent = api._epoch, 0
                while time.monotonic() < end:
                    news = api._news(sent, epoch)
                    sent += len(news)
                    for version, line in news:
                        if version > since:
                            self._chunk(line)
                    if api._epoch != epoch or api._closing:
                        self._chunk(b'{"type":"MODIF')
                        self.close_connection = True
                        return
                self.wfile.write(b"0\r\n\r\n")

            def _chunk(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.flush()

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that goes away

        self._server = Server(("127.0.0.1", port), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        if self._server is not None:
            self._closing = True
            self.end_watches()
            self._server.shutdown()
            self._server.server_close()
            self._server = None
