"""SQL over HTTP on the embedded store, compatible with ClickHouse's own HTTP interface.

Runs inside the process that owns the chDB folder:

    endpoint = SqlEndpoint(ChdbReaders(path), users, EndpointSettings(port=8123))
    await endpoint.start()
    ...
    await endpoint.stop()
"""

from sinks.sql_endpoint.config import (
    EndpointSettings,
    QueryLimits,
    Role,
    TrafficLimits,
    User,
)
from sinks.sql_endpoint.errors import SqlEndpointError
from sinks.sql_endpoint.readers import ChdbReaders, EngineConnection, Readers
from sinks.sql_endpoint.server import SqlEndpoint

__all__ = [
    "ChdbReaders",
    "EndpointSettings",
    "EngineConnection",
    "QueryLimits",
    "Readers",
    "Role",
    "SqlEndpoint",
    "SqlEndpointError",
    "TrafficLimits",
    "User",
]
