"""DESCRIBE, EXISTS and SHOW CREATE, which the engine's parser does not give as a tree.

Each names one table after a few fixed words. The words are read as tokens of the engine's lexer
and exchanged for `SELECT * FROM`: then the parser gives the rest as a tree, and it is checked as
any other. What runs has the words back in front of the rest as the engine wrote it.
"""

from sinks.sql_endpoint.engine_parser import EngineParser, Token
from sinks.sql_endpoint.errors import NotServedError, StatementRefusedError, SyntaxRefusedError
from sinks.sql_endpoint.syntax_tree import Node

_SELECT = "SELECT * FROM "

# Words of the statement → words to run, and whether only the plain name of a table may follow.
_FORMS: tuple[tuple[tuple[str, ...], str, bool], ...] = (
    (("DESCRIBE", "TABLE"), "DESCRIBE TABLE ", False),
    (("DESC", "TABLE"), "DESCRIBE TABLE ", False),
    (("DESCRIBE",), "DESCRIBE TABLE ", False),
    (("DESC",), "DESCRIBE TABLE ", False),
    (("EXISTS", "TABLE"), "EXISTS TABLE ", True),
    (("EXISTS", "VIEW"), "EXISTS VIEW ", True),
    (("EXISTS",), "EXISTS TABLE ", True),
    (("SHOW", "CREATE", "TABLE"), "SHOW CREATE TABLE ", True),
    (("SHOW", "CREATE", "VIEW"), "SHOW CREATE VIEW ", True),
    (("SHOW", "CREATE"), "SHOW CREATE TABLE ", True),
)
_NOT_SERVED = {
    ("SET",): "settings are not kept between requests; send them as parameters or in SETTINGS",
    ("USE",): "there are no sessions; send the parameter database, or qualify the names",
    ("SHOW", "FUNCTIONS"): "ask system.functions instead",
    ("SHOW", "PROCESSLIST"): "an admin may ask system.processes instead",
    ("EXISTS", "DATABASE"): "ask system.databases instead",
    ("EXISTS", "DICTIONARY"): "there are no dictionaries here",
    ("EXISTS", "TEMPORARY"): "there are no sessions, so no temporary tables",
    ("SHOW", "CREATE", "DATABASE"): "ask system.databases instead",
    ("SHOW", "CREATE", "TEMPORARY"): "there are no sessions, so no temporary tables",
    ("SHOW", "CREATE", "DICTIONARY"): "there are no dictionaries here",
}
_LONGEST = 4
# A name may be spelled like one of the words: `DESCRIBE table` describes the table "table".
_ENDS_OF_NAME = frozenset({"", "FORMAT", "SETTINGS", "INTO"})


def read_short_statement(text: str, parser: EngineParser) -> tuple[str, Node] | None:
    """The words to run and the tree of `SELECT * FROM <rest>`, or None for other statements."""
    parser.require_length(text)
    tokens = parser.tokens(text, _LONGEST + 1)
    if not tokens:
        raise SyntaxRefusedError("Empty query")
    words = tuple(token.word for token in tokens)
    for start, advice in _NOT_SERVED.items():
        if words[: len(start)] == start:
            raise NotServedError(f"{' '.join(start)} is not served here: {advice}")
    for start, run, plain in _FORMS:
        if words[: len(start)] == start and not _is_name(tokens, len(start)):
            rest = text.encode()[tokens[len(start) - 1].end :].decode()
            tree = parser.parse(_SELECT + rest)
            _require_table_only(tree, plain)
            return run, tree
    return None


def _is_name(tokens: list[Token], count: int) -> bool:
    """Whether the last of the words is the name itself, because nothing like one follows."""
    if count == 1:
        # `EXISTS (SELECT …)` is an expression, never a statement of its own.
        return len(tokens) == 1
    following = tokens[count] if len(tokens) > count else None
    return following is None or (following.kind == "BareWord" and following.word in _ENDS_OF_NAME)


def _require_table_only(tree: Node, plain: bool) -> None:
    selects = tree.get("list_of_selects", {}).get("children", [])
    query = selects[0] if len(selects) == 1 else {}
    if not set(query) <= {"type", "select", "tables", "settings"}:
        raise StatementRefusedError("only one table, table function or subquery may follow here")
    tables = query.get("tables", {}).get("children", [])
    table = tables[0].get("table_expression", {}) if len(tables) == 1 else {}
    allowed = {"type", "database_and_table_name"}
    if not plain:
        allowed |= {"table_function", "subquery"}
    if len(table) != 2 or not set(table) <= allowed:
        raise StatementRefusedError("only one table, table function or subquery may follow here")
    if plain and "alias" in table["database_and_table_name"]:
        raise StatementRefusedError("a table takes no alias here")
