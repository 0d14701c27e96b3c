"""From the text of a request to a statement that is safe to run.

The engine's own parser reads the text (`parseQueryToJSON`), the tree is held against lists of what
is served, and what runs is the tree written back by the engine (`formatQueryFromJSON`), not the
text that was sent: comments, stacked statements and tricks of quoting do not survive that. Before
it runs, what was written back is parsed and checked once more.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

from sinks.sql_endpoint.access import Scope, reads_settings_table, require_allowed
from sinks.sql_endpoint.engine_parser import EngineParser
from sinks.sql_endpoint.errors import (
    AccessDeniedError,
    BadRequestError,
    StatementRefusedError,
    SyntaxRefusedError,
    UnknownFormatError,
)
from sinks.sql_endpoint.query_settings import SETTING_TYPES
from sinks.sql_endpoint.short_statements import read_short_statement
from sinks.sql_endpoint.syntax_tree import (
    READ_NODES,
    READ_STATEMENTS,
    Node,
    require_known_shape,
    walk,
)


@dataclass(frozen=True, slots=True)
class ReadStatement:
    """A statement that only reads, checked, without its FORMAT and SETTINGS."""

    tree: Node
    """What to run, as a tree of the engine's parser."""
    prefix: str
    """Words that stand instead of the tree's `SELECT * FROM `: empty, or e.g. `DESCRIBE TABLE `."""
    format: str
    """Name of the output format, or empty when the statement has none."""
    settings: Mapping[str, str]
    """Settings that the statement asks for in its SETTINGS clauses."""
    asks_settings: bool
    """Whether it reads `system.settings`."""


def read_statement(
    text: str, parameters: Mapping[str, str], scope: Scope, parser: EngineParser
) -> ReadStatement:
    """Check a statement of a reader. Raises a SqlEndpointError that says what is refused.

    `parameters` are the request's `param_*` without the prefix; those of type Identifier are put
    in before the check, so that what they name is held to the same rules.
    """
    if "\0" in text:
        raise SyntaxRefusedError("the statement contains a NUL character; remove it")
    parsed = read_short_statement(text, parser)
    prefix, tree = parsed if parsed is not None else ("", parser.parse(text))
    kind = tree.get("type")
    if kind not in READ_STATEMENTS:
        raise StatementRefusedError(
            "only SELECT, SHOW, DESCRIBE, EXISTS and EXPLAIN are served to this user; "
            f"this is {parser.first_words(text)}"
        )
    bind_identifiers(tree, parameters)
    settings = take_settings(tree)
    output_format = take_format(tree)
    require_known_shape(tree, READ_NODES)
    require_allowed(tree, scope)
    return ReadStatement(tree, prefix, output_format, settings, reads_settings_table(tree))


def render(
    statement: ReadStatement, output: str, output_format: str, scope: Scope, parser: EngineParser
) -> str:
    """The SQL that writes the result of `statement` to the file `output` in `output_format`."""
    tree = copy.copy(statement.tree)
    tree["out_file"] = {"type": "Literal", "value": {"field_type": "String", "value": output}}
    tree["is_outfile_append"] = True
    tree["format_ast"] = {"type": "Identifier", "name": output_format}
    text, again = parser.write_back(tree)
    if again.pop("out_file", None) != tree["out_file"] or again.get("type") != tree.get("type"):
        raise AccessDeniedError("the statement changes its meaning when written back; simplify it")
    require_known_shape(again, READ_NODES)
    require_allowed(again, scope)
    if not statement.prefix:
        return text
    plain = "SELECT * FROM "
    if not text.startswith(plain):
        raise AccessDeniedError("the statement changes its meaning when written back; simplify it")
    return statement.prefix + text.removeprefix(plain)


def bind_identifiers(tree: Node, parameters: Mapping[str, str]) -> None:
    """Put the values of `{name:Identifier}` where they stand."""
    for node, _, _ in walk(tree):
        if node.get("type") not in ("Identifier", "TableIdentifier") or "children" not in node:
            continue
        values = []
        for child in node["children"]:
            name = str(child.get("name"))
            if child.get("type") != "QueryParameter" or child.get("param_type") != "Identifier":
                raise AccessDeniedError("an unknown part in an identifier")
            if name not in parameters:
                raise BadRequestError(f"Substitution `{name}` is not set; send param_{name}")
            values.append(parameters[name])
        parts = [str(part) for part in node.get("name_parts") or [node.get("name", "")]]
        if parts.count("") != len(values) or not all(values):
            raise AccessDeniedError("an identifier and its parameters do not fit together")
        remaining = iter(values)
        parts = [part or next(remaining) for part in parts]
        del node["children"]
        node["name"] = ".".join(parts)
        if len(parts) > 1:
            node["name_parts"] = parts


def take_settings(tree: Node) -> dict[str, str]:
    """Remove every SETTINGS clause from the tree and give what they ask for together."""
    asked: dict[str, str] = {}
    for node, _, _ in walk(tree):
        # On other nodes `settings` are options of EXPLAIN or of a table, not of the query.
        key = "settings" if node.get("type") == "SelectQuery" else "settings_ast"
        clause = node.pop(key, None)
        if clause is not None:
            _read_clause(clause, asked)
    return asked


def _read_clause(clause: Node, asked: dict[str, str]) -> None:
    if clause.get("type") != "SetQuery" or set(clause) != {"type", "changes"}:
        raise AccessDeniedError("SETTINGS takes name = value here, with literal values")
    for change in clause["changes"]:
        name, value = change.get("name"), change.get("value")
        if not isinstance(name, str) or not isinstance(value, dict):
            raise AccessDeniedError("SETTINGS takes name = value here, with literal values")
        if value.get("field_type") not in SETTING_TYPES:
            raise AccessDeniedError(f"the value of the setting {name[:100]!r} is not a literal")
        literal = value.get("value")
        text = str(int(literal)) if isinstance(literal, bool) else str(literal)
        if asked.setdefault(name, text) != text:
            raise AccessDeniedError(f"the setting {name[:100]!r} is given two values")


def take_format(tree: Node) -> str:
    """Remove the FORMAT clauses from the statement and give the outermost one's name."""
    name = ""
    inner = tree.get("query") if tree.get("type") == "ExplainQuery" else None
    for node in (inner, tree):
        clause = node.pop("format_ast", None) if isinstance(node, dict) else None
        if clause is not None:
            if clause.get("type") != "Identifier":
                raise UnknownFormatError("FORMAT takes the name of a format")
            name = str(clause.get("name"))
    return name
