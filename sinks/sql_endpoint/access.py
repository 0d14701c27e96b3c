"""Which tables, functions and options of a served statement are allowed, and to whom."""

from dataclasses import dataclass

from sinks.sql_endpoint.allowed_functions import is_allowed_function
from sinks.sql_endpoint.config import Role
from sinks.sql_endpoint.errors import AccessDeniedError, NotServedError, UnknownDatabaseError
from sinks.sql_endpoint.syntax_tree import Node, name_parts, walk
from sinks.sql_endpoint.users import Account
from sinks.sql_endpoint.words import words

# Table functions that make rows from their arguments alone.
TABLE_FUNCTIONS = frozenset(
    {"numbers", "numbers_mt", "generateseries", "generate_series", "values", "view"}
)

# System tables that describe the engine and the schema. Not in it: whatever shows other people's
# statements (processes, query_log), paths, users, or server configuration.
SYSTEM_TABLES = words(
    """aggregate_function_combinators build_options collations columns constraints
    data_type_families databases formats functions keywords numbers one settings table_engines
    table_functions tables time_zones"""
)

# What an admin may read besides, to look after the store.
ADMIN_SYSTEM_TABLES = SYSTEM_TABLES | words(
    """asynchronous_metrics data_skipping_indices detached_parts disks dropped_tables errors
    events merge_tree_settings merges metrics moves mutations parts parts_columns processes
    projection_parts projections settings_changes storage_policies view_refreshes warnings"""
)

_INFORMATION_SCHEMA = frozenset({"information_schema", "INFORMATION_SCHEMA"})
_INFORMATION_SCHEMA_TABLES = words(
    """schemata tables columns views key_column_usage referential_constraints statistics
    character_sets collations engines"""
)

_EXPLAIN_KINDS = frozenset(
    {
        "EXPLAIN",
        "EXPLAIN SYNTAX",
        "EXPLAIN QUERY TREE",
        "EXPLAIN PIPELINE",
        "EXPLAIN ESTIMATE",
    }
)

_IN_FUNCTIONS = frozenset(
    f"{glob}{negation}{null}in{ignore}"
    for glob in ("", "global")
    for negation in ("", "not")
    for null in ("", "null")
    for ignore in ("", "ignoreset")
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What one account may name."""

    database: str
    """The served database."""
    current: str
    """The database of unqualified names: the served one, `system` or `information_schema`."""
    account: Account

    def require_table(self, parts: list[str]) -> None:
        """Refuse a table name outside the served ones. `parts` is [table] or [database, table]."""
        if len(parts) > 2 or not all(parts):
            raise AccessDeniedError(f"the table name {'.'.join(parts)!r} is not understood")
        database = parts[0] if len(parts) == 2 else self.current
        self.require_database(database)
        table = parts[-1]
        if database == "system":
            admin = self.account.role is Role.ADMIN
            allowed = table in (ADMIN_SYSTEM_TABLES if admin else SYSTEM_TABLES)
        elif database in _INFORMATION_SCHEMA:
            allowed = table.lower() in _INFORMATION_SCHEMA_TABLES
        else:
            allowed = table not in self.account.hidden_tables
        if not allowed:
            raise AccessDeniedError(f"the table {database}.{table} is not served to this user")

    def require_database(self, name: str) -> None:
        """Refuse every database but the served one and the descriptive ones."""
        if name != self.database and name != "system" and name not in _INFORMATION_SCHEMA:
            raise AccessDeniedError(
                f"the database {name!r} is not served here; tables are in {self.database!r}"
            )


def current_database(requested: str, served: str) -> str:
    """The database of unqualified names. `default` and none mean the served one, since clients
    of ClickHouse send `default` when their user named none."""
    if requested in ("", "default", served):
        return served
    if requested == "system" or requested in _INFORMATION_SCHEMA:
        return requested
    raise UnknownDatabaseError(
        f"Database {requested[:100]!r} is not served here; use {served!r} or give none"
    )


def require_allowed(root: Node, scope: Scope) -> None:
    """Refuse the statement if anything in it names what is not listed."""
    for node, _, key in walk(root):
        require_allowed_node(node, key, scope)


def require_allowed_node(node: Node, key: str, scope: Scope) -> None:
    """Refuse one node, which its parent holds under `key`, if it names what is not listed."""
    match node.get("type"):
        case "Function":
            if key == "table_function":
                _require_table_function(node)
            else:
                _require_function(str(node.get("name", "")))
                _require_in_tables(node, scope)
        case "ColumnsApplyTransformer":
            if "func_name" in node:
                _require_function(str(node["func_name"]))
        case "TableIdentifier":
            scope.require_table(name_parts(node))
        case "QueryParameter" if str(node.get("param_type", "")).lower() == "identifier":
            raise AccessDeniedError(
                f"the parameter {node.get('name')!r} cannot be an Identifier in this place"
            )
        case "ExplainQuery":
            if node.get("kind") not in _EXPLAIN_KINDS:
                raise NotServedError(f"{node.get('kind')} is not served here")
            if node.get("query", {}).get("type") != "SelectWithUnionQuery":
                raise NotServedError("EXPLAIN is served for SELECT only")
        case "ShowTablesQuery":
            if "from" in node:
                scope.require_database(name_parts(node["from"])[0])
        case "ShowColumnsQuery" | "ShowIndexesQuery":
            database = str(node.get("database") or scope.current)
            scope.require_table([database, str(node.get("table", ""))])


def reads_settings_table(root: Node) -> bool:
    """Whether the statement asks `system.settings`."""
    return any(
        node.get("type") == "TableIdentifier" and name_parts(node)[-1] == "settings"
        for node, _, _ in walk(root)
    )


def _require_function(name: str) -> None:
    if not is_allowed_function(name):
        raise AccessDeniedError(f"the function {name[:100]}() is not served here")


def _require_table_function(node: Node) -> None:
    name = str(node.get("name", ""))
    if name.lower() not in TABLE_FUNCTIONS:
        raise AccessDeniedError(
            f"the table function {name[:100]}() is not served here; "
            f"there are: {', '.join(sorted(TABLE_FUNCTIONS))}"
        )


def _require_in_tables(node: Node, scope: Scope) -> None:
    """`x IN name` reads the table `name`: hold the name to the rules of tables.

    Whether `a.b` is a table or a column is only known to the analyser, so a qualified name must be
    that of a served table.
    """
    if str(node.get("name", "")).lower().replace("_", "") not in _IN_FUNCTIONS:
        return
    arguments = node.get("arguments", {}).get("children", [])
    for argument in arguments[1:]:
        if isinstance(argument, dict) and argument.get("type") == "Identifier":
            scope.require_table(name_parts(argument))
