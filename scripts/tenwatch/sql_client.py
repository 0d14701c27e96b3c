"""A small client for ClickHouse's HTTP interface: our own endpoint, a server, or a cluster."""

import base64
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from tenwatch.errors import NotRunningError, TenwatchError

CHUNK_BYTES = 1 << 16


class QueryError(TenwatchError):
    """The store refused a query; the message is the store's own."""

    exit_code = 5


@dataclass(frozen=True, slots=True)
class SqlClient:
    """Reads by SQL. The password travels in a header, never in the URL."""

    url: str
    user: str
    password: str = field(repr=False)
    timeout_seconds: float = 60.0

    def stream(
        self,
        sql: str | bytes,
        parameters: Mapping[str, Any] | None = None,
        output_format: str = "JSONCompact",
        settings: Mapping[str, Any] | None = None,
    ) -> Iterator[bytes]:
        """The result in ``output_format``, in chunks.

        ``parameters`` are bound by the server to ``{name:Type}`` in the text; ``settings`` are
        ClickHouse's, for this statement. Raises
        :class:`QueryError` for what the store refuses, :class:`NotRunningError` if it is away.
        """
        parts = urlsplit(self.url)
        query = urlencode(
            {"default_format": output_format}
            | {name: str(value) for name, value in (settings or {}).items()}
            | {f"param_{name}": str(value) for name, value in (parameters or {}).items()}
        )
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        connection = (
            http.client.HTTPSConnection(
                parts.netloc, timeout=self.timeout_seconds, context=ssl.create_default_context()
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.netloc, timeout=self.timeout_seconds)
        )
        try:
            try:
                connection.request(
                    "POST",
                    f"{parts.path or '/'}?{query}",
                    body=sql.encode() if isinstance(sql, str) else sql,
                    headers={"Authorization": f"Basic {token}"},
                )
                response = connection.getresponse()
            except OSError as error:
                raise NotRunningError(
                    f"the SQL endpoint {self.url} does not answer: {error}; is 'tenwatch up' "
                    "running?"
                ) from None
            if response.status != 200 or response.getheader("X-ClickHouse-Exception-Code"):
                raise QueryError(response.read().decode("utf-8", "replace").strip())
            while chunk := response.read(CHUNK_BYTES):
                yield chunk
        finally:
            connection.close()

    def execute(
        self,
        statement: str | bytes,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a statement that gives no rows; an insert's data follows in the statement."""
        for _ in self.stream(statement, parameters, settings=settings):
            pass

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> "Result":
        """The whole result, decoded. For small results."""
        answer = json.loads(b"".join(self.stream(sql, parameters)))
        return Result(
            [column["name"] for column in answer["meta"]],
            [column["type"] for column in answer["meta"]],
            answer["data"],
        )


@dataclass(frozen=True, slots=True)
class Result:
    """Column names, their ClickHouse types, and rows."""

    columns: list[str]
    types: list[str]
    data: list[list[Any]]
