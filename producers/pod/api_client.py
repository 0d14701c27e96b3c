"""The two requests to the Kubernetes API that are needed, over plain ``http.client``."""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from producers.pod.api_objects import PodList, WatchEvent, decode_event, decode_list
from producers.pod.errors import ApiError

_CONNECT_SECONDS: Final = 15.0
_LIST_SECONDS: Final = 60.0
_GRACE_SECONDS: Final = 15.0
"""How much longer than asked for a silent watch may last before the connection counts as dead."""
_PAGE: Final = 500
_MAXIMUM_LINE: Final = 4 << 20
"""Bytes of one watch event; etcd holds objects up to 1.5 MiB."""
_MAXIMUM_LIST: Final = 256 << 20
_MAXIMUM_ERROR: Final = 4096


def service_url(environment: Mapping[str, str]) -> str:
    """The API's address as every pod is told it; empty outside a cluster."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return ""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


class ApiClient:
    """Lists and watches the pods of one node. For one thread; :meth:`close` may come from another.

    Every failure is an :class:`~producers.pod.errors.ApiError`.
    """

    def __init__(self, url: str, node: str, service_account: Path) -> None:
        self._url = urlsplit(url)
        self._node = node
        self._account = service_account
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False

    def pages(self) -> Iterator[PodList]:
        """All pods of the node, page by page, as the API server has them in memory."""
        query = {"limit": str(_PAGE), "resourceVersion": "0"}
        while True:
            with self._get(query, _LIST_SECONDS) as response:
                body = _read(response, _MAXIMUM_LIST)
            try:
                page = decode_list(body)
            except msgspec.DecodeError as error:
                raise ApiError(f"the list of pods can't be read: {error}") from None
            yield page
            if not page.metadata.continue_:
                return
            query = {"limit": str(_PAGE), "continue": page.metadata.continue_}

    def watch(self, resource_version: str, seconds: float) -> Iterator[WatchEvent]:
        """Changes since a version, until ``seconds`` passed or the server ends the watch."""
        query = {
            "watch": "1",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(round(seconds)),
        }
        with self._get(query, seconds + _GRACE_SECONDS) as response:
            while line := _read_line(response):
                try:
                    event = decode_event(line)
                except msgspec.DecodeError as error:
                    raise ApiError(f"a watch event can't be read: {error}") from None
                yield event

    def close(self) -> None:
        """End the request that is under way, and refuse further ones."""
        with self._lock:
            self._closed = True
            connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def _get(
        self, query: dict[str, str], read_seconds: float
    ) -> Iterator[http.client.HTTPResponse]:
        query = {"fieldSelector": f"spec.nodeName={self._node}", **query}
        path = f"{self._url.path.rstrip('/')}/api/v1/pods?{urlencode(query)}"
        connection = self._connect()
        try:
            connection.connect()
            if self._closed:
                raise ApiError("the client is closed")
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.sock.settimeout(read_seconds)
            connection.request("GET", path, headers=self._headers())
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise _refusal(response)
            yield response
        except (OSError, http.client.HTTPException) as error:
            what = str(error) or type(error).__name__
            raise ApiError(f"{self._url.scheme}://{self._url.netloc}: {what}") from None
        finally:
            with self._lock:
                self._connection = None
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        connection: http.client.HTTPConnection
        if self._url.scheme == "https":
            connection = http.client.HTTPSConnection(
                host, port, timeout=_CONNECT_SECONDS, context=self._tls()
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_CONNECT_SECONDS)
        with self._lock:
            if self._closed:
                raise ApiError("the client is closed")
            self._connection = connection
        return connection

    def _tls(self) -> ssl.SSLContext:
        authority = self._account / "ca.crt"
        try:
            return ssl.create_default_context(cafile=str(authority))
        except (OSError, ssl.SSLError) as error:
            raise ApiError(
                f"{authority}: {error}; mount the service account (automountServiceAccountToken)"
            ) from None

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "tenwatch-pod-producer"}
        if self._url.scheme != "https":
            # A local ``kubectl proxy``, which logs in itself; a token never travels in clear.
            return headers
        try:
            token = (self._account / "token").read_text().strip()
        except OSError:
            return headers
        return {**headers, "Authorization": f"Bearer {token}"}


def _read(response: http.client.HTTPResponse, maximum: int) -> bytes:
    body = response.read(maximum + 1)
    if len(body) > maximum:
        raise ApiError(f"the answer is longer than {maximum} bytes")
    return body


def _read_line(response: http.client.HTTPResponse) -> bytes:
    """One line; empty at the end. A line that the end cut short is no line."""
    line = response.readline(_MAXIMUM_LINE)
    if line and not line.endswith(b"\n"):
        if len(line) >= _MAXIMUM_LINE:
            raise ApiError(f"a watch event is longer than {_MAXIMUM_LINE} bytes")
        return b""
    return line


def _refusal(response: http.client.HTTPResponse) -> ApiError:
    detail = response.read(_MAXIMUM_ERROR).decode("utf-8", "replace").strip()
    with contextlib.suppress(msgspec.DecodeError, ValueError):
        detail = str(msgspec.json.decode(detail)["message"])
    advice = {
        401: "; the service account's token is not accepted",
        403: "; let the service account list and watch pods (ClusterRole in k8s/)",
    }.get(response.status, "")
    after = response.headers.get("Retry-After", "")
    return ApiError(
        f"the API answered {response.status}: {detail[:300]}{advice}",
        status=response.status,
        retry_after=float(after) if after.isdigit() else 0.0,
    )
