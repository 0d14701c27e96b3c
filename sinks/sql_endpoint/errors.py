"""What the endpoint answers instead of a result: one small tree, with ClickHouse's own codes.

Codes and names are those of ClickHouse's `src/Common/ErrorCodes.cpp` (also `system.errors`). HTTP
statuses follow its `exceptionCodeToHTTPStatus`, except that a refusal for lack of rights is 403 and
a full queue 503, where ClickHouse says 500: proxies and retrying clients act on the status.
"""

import re

_ENGINE_MESSAGE = re.compile(r"Code: (?P<code>\d+)\. (?P<text>DB::(?:\w*)Exception: .*)", re.DOTALL)
# A failure while a result is written comes wrapped in itself, once for each layer it passes.
_WRAPPED = re.compile(r"^(?:DB::(?:\w*)Exception: Code: \d+\. )+(?=DB::)")
_NAME_AT_END = re.compile(r"\((?P<name>[A-Z][A-Z0-9_]+)\)\s*(?:\(version [^)]*\))?\s*$")

_STATUS_BY_CODE = {
    # The request or the statement is wrong.
    6: 400, 27: 400, 36: 400, 38: 400, 41: 400, 53: 400, 62: 400, 69: 400, 72: 400, 117: 400,
    167: 400, 168: 400, 306: 400, 452: 400, 456: 400, 457: 400,
    # Something named does not exist.
    46: 404, 47: 404, 50: 404, 56: 404, 60: 404, 63: 404, 73: 404, 81: 404, 115: 404,
    # This user may not.
    164: 403, 497: 403, 516: 403,
    # Too late, too busy, not here.
    159: 408, 202: 503, 209: 503, 48: 501, 344: 501,
}  # fmt: skip


class SqlEndpointError(Exception):
    """Base of every refusal and failure that reaches a client.

    `code` is ClickHouse's number, `name` its name, `status` the HTTP status; the message says what
    was wrong, with what value, and what to do instead.
    """

    code = 1002
    name = "UNKNOWN_EXCEPTION"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def status(self) -> int:
        """HTTP status that ClickHouse gives to this code; 500 when it has none."""
        return _STATUS_BY_CODE.get(self.code, 500)

    def text(self) -> str:
        """The response body, in ClickHouse's form."""
        return f"Code: {self.code}. DB::Exception: {self.message} ({self.name})\n"


class StatementRefusedError(SqlEndpointError):
    """The statement is not of a kind that this user may run."""

    code = 164
    name = "READONLY"


class AccessDeniedError(SqlEndpointError):
    """A function, table, database or format that is not served here."""

    code = 497
    name = "ACCESS_DENIED"


class SettingRefusedError(SqlEndpointError):
    """A setting that may not be changed, or not to that value."""

    code = 452
    name = "SETTING_CONSTRAINT_VIOLATION"


class UnknownSettingError(SqlEndpointError):
    """A name that the engine does not know as a setting."""

    code = 115
    name = "UNKNOWN_SETTING"


class UnknownDatabaseError(SqlEndpointError):
    """The `database` of the request is not served here."""

    code = 81
    name = "UNKNOWN_DATABASE"


class UnknownFormatError(SqlEndpointError):
    """The output format is not served here."""

    code = 73
    name = "UNKNOWN_FORMAT"


class BadRequestError(SqlEndpointError):
    """The HTTP request itself cannot be understood."""

    code = 36
    name = "BAD_ARGUMENTS"


class SyntaxRefusedError(SqlEndpointError):
    """The statement does not parse as exactly one statement."""

    code = 62
    name = "SYNTAX_ERROR"


class TooLargeError(SqlEndpointError):
    """The request body is larger than the endpoint accepts."""

    code = 307
    name = "TOO_MANY_BYTES"

    @property
    def status(self) -> int:
        """413, since it is the request that is too large."""
        return 413


class AuthenticationFailedError(SqlEndpointError):
    """User name or password is wrong; which of the two is never said."""

    code = 516
    name = "AUTHENTICATION_FAILED"


class NotServedError(SqlEndpointError):
    """A feature of ClickHouse's interface that this endpoint does not have."""

    code = 344
    name = "SUPPORT_IS_DISABLED"


class TooManyQueriesError(SqlEndpointError):
    """All places for queries are taken and so is the queue."""

    code = 202
    name = "TOO_MANY_SIMULTANEOUS_QUERIES"


class ClientTooSlowError(SqlEndpointError):
    """The client stopped reading its result for longer than it may."""

    code = 209
    name = "SOCKET_TIMEOUT"


class EngineError(SqlEndpointError):
    """What the engine itself said: its code, name and text are passed on."""

    def __init__(self, message: str, code: int, name: str) -> None:
        super().__init__(message)
        self.code = code
        self.name = name

    def text(self) -> str:
        """The engine's own text, which already has the form."""
        return f"Code: {self.code}. {self.message}\n"


def from_engine(error: BaseException) -> SqlEndpointError:
    """Map an exception raised by a chDB connection to the tree above."""
    found = _ENGINE_MESSAGE.search(str(error))
    if found is None:
        return SqlEndpointError(f"the engine failed without a code: {str(error)[:500]}")
    text = _WRAPPED.sub("", found["text"].strip())
    name = _NAME_AT_END.search(text)
    return EngineError(text, int(found["code"]), name["name"] if name else "UNKNOWN_EXCEPTION")
