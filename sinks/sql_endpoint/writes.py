"""Run a checked write on a connection."""

import contextlib
from collections.abc import Mapping

from sinks.sql_endpoint.readers import EngineConnection, EngineResult, Progress
from sinks.sql_endpoint.write_statement import WriteStatement

_PIECE = 1024 * 1024


def run_write(
    connection: EngineConnection,
    statement: WriteStatement,
    data_format: str,
    parameters: Mapping[str, str],
) -> Progress:
    """Run it to its end; the counts for X-ClickHouse-Summary. RuntimeError as the engine says."""
    if statement.data is None:
        return _counts(connection.query(statement.sql, "TabSeparated", params=parameters))
    insert = connection.send_insert(statement.sql, data_format)
    try:
        for start in range(0, len(statement.data), _PIECE):
            connection.insert_append(insert, statement.data[start : start + _PIECE])
        return _counts(connection.insert_done(insert))
    except BaseException:
        with contextlib.suppress(RuntimeError):
            connection.insert_cancel(insert)
        raise


def _counts(result: EngineResult) -> Progress:
    return {
        "read_rows": result.storage_rows_read(),
        "read_bytes": result.storage_bytes_read(),
        "written_rows": result.rows_written(),
        "written_bytes": result.bytes_written(),
        "elapsed_ns": int(result.elapsed() * 1e9),
    }
