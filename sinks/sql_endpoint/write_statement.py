"""Statements that write, for an admin: checked as trees, or as a head with data behind it."""

from collections.abc import Mapping
from dataclasses import dataclass

from sinks.sql_endpoint.access import Scope
from sinks.sql_endpoint.engine_parser import EngineParser, Token
from sinks.sql_endpoint.errors import AccessDeniedError, StatementRefusedError, SyntaxRefusedError
from sinks.sql_endpoint.statement import bind_identifiers, take_settings
from sinks.sql_endpoint.words import words
from sinks.sql_endpoint.write_tree import require_write_allowed

# The first words of what only an admin may run.
WRITE_WORDS = words("INSERT CREATE ALTER DROP TRUNCATE DELETE OPTIMIZE")

# An INSERT's head with a thousand long column names; data follows it.
_HEAD_BYTES = 128 * 1024
_HEAD_TOKENS = 8192
_STAND_IN = " SELECT 1"


@dataclass(frozen=True, slots=True)
class WriteStatement:
    """A checked write."""

    sql: str
    """What to run; for an INSERT with data only its head, without FORMAT."""
    data: bytes | None
    """The data of an INSERT, or None for any other statement."""
    format: str
    """The format of the data as it was named; empty without data."""
    settings: Mapping[str, str]
    """Settings that the statement asks for in its SETTINGS clauses."""


def first_word(raw: bytes, parser: EngineParser) -> str:
    """The first word of a request's statement, in upper case; comments do not count."""
    tokens = parser.tokens(raw[:_HEAD_BYTES].decode("utf-8", "replace"), 1)
    return tokens[0].word if tokens else ""


def read_write_statement(
    raw: bytes, parameters: Mapping[str, str], scope: Scope, parser: EngineParser
) -> WriteStatement:
    """Check a statement that writes. Raises a SqlEndpointError that says what is refused."""
    if first_word(raw, parser) == "INSERT":
        split = _split_insert(raw, parser)
        if split is not None:
            head, data, data_format = split
            sql, settings = _checked(head + _STAND_IN, parameters, scope, parser)
            return WriteStatement(sql.removesuffix(_STAND_IN), data, data_format, settings)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise SyntaxRefusedError("the statement is not UTF-8") from None
    sql, settings = _checked(text, parameters, scope, parser)
    return WriteStatement(sql, None, "", settings)


def _checked(
    text: str, parameters: Mapping[str, str], scope: Scope, parser: EngineParser
) -> tuple[str, Mapping[str, str]]:
    if "\0" in text:
        raise SyntaxRefusedError("the statement contains a NUL character; remove it")
    tree = parser.parse(text)
    bind_identifiers(tree, parameters)
    # A view keeps the settings of its query; they are checked with it, in their place.
    settings = {} if tree.get("type") == "CreateQuery" else take_settings(tree)
    require_write_allowed(tree, scope)
    canonical, again = parser.write_back(tree)
    require_write_allowed(again, scope)
    if again.get("type") != tree.get("type"):
        raise AccessDeniedError("the statement changes its meaning when written back; simplify it")
    return canonical, settings


def _split_insert(raw: bytes, parser: EngineParser) -> tuple[str, bytes, str] | None:
    """Head, data and format of an INSERT with data, or None when it is one with SELECT.

    The data begins behind `FORMAT name` or `VALUES`, which stand outside every bracket. The head
    is UTF-8 whatever the data is, so offsets of its tokens hold for the bytes too.
    """
    text = raw[:_HEAD_BYTES].decode("utf-8", "replace")
    tokens = parser.tokens(text, _HEAD_TOKENS)
    depth = 0
    for index, token in enumerate(tokens):
        if token.kind == "OpeningRoundBracket":
            depth += 1
        elif token.kind == "ClosingRoundBracket":
            depth -= 1
        elif depth == 0 and index > 2:
            if token.word in ("SELECT", "WITH", "FROM"):
                return None
            if token.word == "VALUES":
                return _head(raw, tokens[index - 1]), raw[token.end :], "Values"
            if token.word == "FORMAT" and index + 1 < len(tokens):
                data = _data_behind(raw, tokens[index + 1])
                return _head(raw, tokens[index - 1]), data, tokens[index + 1].text
    raise StatementRefusedError("an INSERT needs VALUES, FORMAT or SELECT behind its columns")


def _head(raw: bytes, last: Token) -> str:
    try:
        return raw[: last.end].decode()
    except UnicodeDecodeError:
        raise SyntaxRefusedError("the head of the INSERT is not UTF-8") from None


def _data_behind(raw: bytes, name: Token) -> bytes:
    """The bytes behind the format's name: blanks and one line end are not part of them."""
    rest = raw[name.end :].lstrip(b" \t\f")
    if rest.startswith(b"\r\n"):
        return rest[2:]
    return rest.removeprefix(b"\n")
