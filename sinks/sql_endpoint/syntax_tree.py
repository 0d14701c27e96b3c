"""The shapes of syntax tree that are served, node by node; anything unknown is refused.

Trees are those of the engine's own parser, as its function `parseQueryToJSON` writes them: every
node is an object with a `type`, further keys hold children or plain values, and a key that does
not apply is left out. A node type or key that is not listed here is refused, so a newer engine
with new syntax is refused until someone has read what it does.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

from sinks.sql_endpoint.errors import AccessDeniedError, StatementRefusedError

Node: TypeAlias = dict[str, Any]

_OUTPUT = "format_ast is_outfile_append is_outfile_truncate is_into_outfile_with_stdout "
_COLUMNS = "transformers qualifier expression alias "

_READ_NODES: dict[str, str] = {
    "SelectWithUnionQuery": "union_mode list_of_modes list_of_selects " + _OUTPUT,
    "SelectQuery": (
        "with recursive_with cte_aliases distinct select tables prewhere where "
        "group_by group_by_all group_by_with_totals group_by_with_rollup group_by_with_cube "
        "group_by_with_grouping_sets having window qualify order_by order_by_all interpolate "
        "limit_by limit_by_all limit_by_length limit_by_offset limit_length limit_offset "
        "limit_with_ties"
    ),
    "ExplainQuery": "kind settings query " + _OUTPUT,
    "ShowTablesQuery": (
        "databases settings changed full from like not_like case_insensitive_like "
        "where_expression limit_length " + _OUTPUT
    ),
    "ShowColumnsQuery": (
        "database table extended full like not_like case_insensitive_like where_expression "
        "limit_length " + _OUTPUT
    ),
    "ShowIndexesQuery": "database table extended where_expression " + _OUTPUT,
    "ExpressionList": "children",
    "Subquery": "children alias",
    "Literal": "value alias",
    "Identifier": "name name_parts alias",
    "TableIdentifier": "name name_parts alias",
    "QueryParameter": "name param_type alias",
    "Function": (
        "name arguments parameters alias is_operator is_lambda_function kind window_definition "
        "window_name is_window_function nulls_action"
    ),
    "Asterisk": _COLUMNS,
    "QualifiedAsterisk": _COLUMNS,
    "ColumnsRegexpMatcher": "pattern " + _COLUMNS,
    "ColumnsListMatcher": "column_list " + _COLUMNS,
    "QualifiedColumnsRegexpMatcher": "pattern " + _COLUMNS,
    "QualifiedColumnsListMatcher": "column_list " + _COLUMNS,
    "ColumnsTransformerList": "children",
    "ColumnsApplyTransformer": "lambda lambda_arg func_name parameters column_name_prefix",
    "ColumnsExceptTransformer": "children pattern is_strict",
    "ColumnsReplaceTransformer": "children is_strict",
    "ColumnsReplaceTransformerReplacement": "name children",
    "TablesInSelectQuery": "children",
    "TablesInSelectQueryElement": "table_expression table_join array_join",
    "TableExpression": (
        "database_and_table_name subquery table_function final sample_size sample_offset "
        "column_aliases"
    ),
    "TableJoin": "kind locality strictness on_expression using_expression_list is_natural",
    "ArrayJoin": "kind expression_list",
    "SampleRatio": "numerator denominator",
    "OrderByElement": (
        "direction nulls_direction nulls_direction_was_explicitly_specified expression collation "
        "with_fill fill_from fill_to fill_step fill_staleness"
    ),
    "InterpolateElement": "column expr",
    "WindowDefinition": (
        "parent_window_name partition_by order_by frame_is_default frame_type frame_begin_type "
        "frame_begin_offset frame_begin_preceding frame_end_type frame_end_offset "
        "frame_end_preceding"
    ),
    "WindowListElement": "name definition",
    "WithElement": "name subquery aliases is_materialized",
    "SetQuery": "changes",
}

READ_NODES: dict[str, frozenset[str]] = {
    kind: frozenset(keys.split()) for kind, keys in _READ_NODES.items()
}

# The statements a reader may make; every other root is a write, or control of the server.
READ_STATEMENTS = frozenset(
    {
        "SelectWithUnionQuery",
        "ExplainQuery",
        "ShowTablesQuery",
        "ShowColumnsQuery",
        "ShowIndexesQuery",
    }
)

ORDINARY_FUNCTION_KINDS: frozenset[str | None] = frozenset(
    {None, "LAMBDA_FUNCTION", "WINDOW_FUNCTION"}
)

# Keys whose value is data of the node, not children.
_DATA = frozenset({("Literal", "value"), ("SetQuery", "changes"), ("EnumDataType", "values")})


_PLAIN_LITERAL = frozenset({"type", "value"})


def children_of(node: Node) -> Iterator[tuple[str, Node]]:
    """The direct children of a node with the key that holds each.

    Plain literals are left out: they have nothing to check, and an IN list has thousands.
    """
    kind = node.get("type")
    for key, value in node.items():
        if (kind, key) in _DATA:
            continue
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict) and not (
                item.get("type") == "Literal" and item.keys() == _PLAIN_LITERAL
            ):
                yield key, item


def walk(root: Node) -> Iterator[tuple[Node, Node | None, str]]:
    """Every node with its parent and the parent's key, parents first; no recursion."""
    pending: list[tuple[Node, Node | None, str]] = [(root, None, "")]
    while pending:
        node, parent, key = pending.pop()
        yield node, parent, key
        pending.extend((child, node, name) for name, child in children_of(node))


def require_known_shape(
    root: Node,
    known: dict[str, frozenset[str]],
    function_kinds: frozenset[str | None] = ORDINARY_FUNCTION_KINDS,
) -> None:
    """Refuse the tree if any node or key in it is not listed in `known`."""
    for node, _, _ in walk(root):
        kind = node.get("type")
        keys = known.get(kind) if isinstance(kind, str) else None
        if keys is None:
            raise StatementRefusedError(f"{_describe(kind)} is not served to this user")
        for key, value in node.items():
            if key == "type":
                continue
            if key == "out_file":
                raise AccessDeniedError(
                    "INTO OUTFILE writes on the server; take the result from the response instead"
                )
            if key not in keys:
                raise AccessDeniedError(f"{_describe(kind)} with {key!r} is not served here")
            if isinstance(value, list) and any(isinstance(item, list) for item in value):
                raise AccessDeniedError(f"{_describe(kind)} has an unknown form of {key!r}")
        if kind == "Function" and node.get("kind") not in function_kinds:
            raise AccessDeniedError(f"a function as {node.get('kind')} is not served here")


def name_parts(node: Node) -> list[str]:
    """The parts of an Identifier or TableIdentifier: `a.b` is two."""
    parts = node.get("name_parts")
    return [str(part) for part in parts] if parts else [str(node.get("name", ""))]


def _describe(kind: object) -> str:
    words: list[str] = []
    for letter in str(kind).removesuffix("Query"):
        if letter.isupper() and words and not words[-1].isupper():
            words.append(" ")
        words.append(letter)
    return "".join(words).upper()[:60] or "AN EMPTY STATEMENT"
