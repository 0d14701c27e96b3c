"""The shapes of write statements that an admin may run; anything unknown is refused.

All of them stay inside the served database and the engine's own storage: no other database, no
cluster, no disk, no dictionary, no engine that reads or writes elsewhere.
"""

from sinks.sql_endpoint.access import Scope, require_allowed_node
from sinks.sql_endpoint.errors import AccessDeniedError, StatementRefusedError
from sinks.sql_endpoint.query_settings import SETTING_TYPES, is_free_setting
from sinks.sql_endpoint.syntax_tree import (
    ORDINARY_FUNCTION_KINDS,
    READ_NODES,
    Node,
    name_parts,
    require_known_shape,
    walk,
)
from sinks.sql_endpoint.words import words

_OUTPUT = " is_outfile_append is_outfile_truncate is_into_outfile_with_stdout"

_WRITE_NODES = {
    "CreateQuery": (
        "database table database_ast table_ast as_database as_table attach if_not_exists "
        "is_ordinary_view is_materialized_view is_time_series_table is_populate is_create_empty "
        "is_clone_as replace_view has_uuid has_uuid_clause has_inner_uuid_clause is_dictionary "
        "replace_table create_or_replace has_attach_from_path columns_list storage comment select "
        "targets refresh_strategy" + _OUTPUT
    ),
    "AlterQuery": "database table database_ast table_ast alter_object command_list" + _OUTPUT,
    "DropQuery": (
        "database table database_ast table_ast kind if_exists if_empty has_all has_tables not_like "
        "case_insensitive_like is_dictionary is_view sync permanently" + _OUTPUT
    ),
    "OptimizeQuery": "database table final partition deduplicate cleanup deduplicate_by_columns"
    + _OUTPUT,
    "DeleteQuery": "database table predicate" + _OUTPUT,
    "InsertQuery": "database table columns select",
    "AlterCommand": (
        "command_type detach part clear_column clear_index clear_statistics clear_projection "
        "if_not_exists if_exists first replace col_decl column comment rename_to partition ttl "
        "order_by index_decl index projection_decl projection predicate update_assignments "
        "remove_property settings_changes from_database from_table"
    ),
    "Assignment": "column_name children",
    "ColumnDeclaration": (
        "name default_specifier ephemeral_default primary_key_specifier data_type "
        "default_expression comment codec ttl settings"
    ),
    "Columns definition": "columns indices constraints projections",
    "ConstraintDeclaration": "name constraint_type expr",
    "DataType": "name arguments",
    "EnumDataType": "name values",
    "TupleDataType": "name arguments element_names",
    "NameTypePair": "name name_type",
    "IndexDeclaration": "name granularity expression index_type",
    "ProjectionDeclaration": "name query",
    "ProjectionSelectQuery": "with select order_by group_by",
    "Partition": "value all fields_count id",
    "RefreshStrategy": "schedule_kind period offset spread append",
    "TimeInterval": "seconds months",
    "Storage": "engine partition_by primary_key order_by sample_by ttl_table settings",
    "TTLElement": (
        "mode destination_type if_exists ttl_expr where_expr group_by_key group_by_assignments"
    ),
}

WRITE_NODES: dict[str, frozenset[str]] = {
    **READ_NODES,
    **{kind: words(keys) for kind, keys in _WRITE_NODES.items()},
    "ExpressionList": words("children separator"),
    "Function": READ_NODES["Function"] | {"no_empty_args"},
    # A view keeps the settings of its query.
    "SelectQuery": READ_NODES["SelectQuery"] | {"settings"},
}

WRITE_STATEMENTS = words("CreateQuery AlterQuery DropQuery OptimizeQuery DeleteQuery InsertQuery")

_ENGINES = words(
    """MergeTree ReplacingMergeTree SummingMergeTree AggregatingMergeTree CollapsingMergeTree
    VersionedCollapsingMergeTree CoalescingMergeTree Memory Null"""
)
_CODECS = words("CODEC NONE Default LZ4 LZ4HC ZSTD Delta DoubleDelta Gorilla T64 GCD FPC ALP")
_INDEX_TYPES = words("minmax set bloom_filter ngrambf_v1 tokenbf_v1 text")
_ALTER_COMMANDS = words(
    """ADD_COLUMN DROP_COLUMN MODIFY_COLUMN COMMENT_COLUMN RENAME_COLUMN MODIFY_COMMENT MODIFY_TTL
    REMOVE_TTL MATERIALIZE_TTL MATERIALIZE_COLUMN ADD_INDEX DROP_INDEX MATERIALIZE_INDEX
    ADD_PROJECTION DROP_PROJECTION MATERIALIZE_PROJECTION DELETE UPDATE DROP_PARTITION
    REPLACE_PARTITION MODIFY_SETTING MODIFY_ORDER_BY"""
)
_TABLE_SETTINGS = words(
    """allow_experimental_replacing_merge_with_cleanup allow_nullable_key
    deduplicate_merge_projection_mode enable_block_number_column enable_block_offset_column
    fsync_after_insert fsync_part_directory index_granularity index_granularity_bytes
    max_bytes_to_merge_at_max_space_in_pool max_compress_block_size merge_with_ttl_timeout
    min_age_to_force_merge_seconds min_bytes_for_wide_part min_compress_block_size
    min_rows_for_wide_part non_replicated_deduplication_window parts_to_delay_insert
    old_parts_lifetime parts_to_throw_insert ttl_only_drop_parts"""
)
# What a flag of CREATE or DROP says when it is set; none of these is served.
_REFUSED_FLAGS = {
    "attach": "ATTACH",
    "has_attach_from_path": "ATTACH FROM",
    "has_uuid": "UUID",
    "has_uuid_clause": "UUID",
    "has_inner_uuid_clause": "INNER UUID",
    "is_dictionary": "DICTIONARY",
    "is_time_series_table": "TIME SERIES TABLE",
    "has_all": "ALL TABLES",
    "has_tables": "ALL TABLES",
    "permanently": "PERMANENTLY",
    "detach": "DETACH",
}


def require_write_allowed(root: Node, scope: Scope) -> None:
    """Refuse a write statement unless every part of it is listed and inside the database."""
    kind = root.get("type")
    if kind not in WRITE_STATEMENTS:
        raise StatementRefusedError(f"{kind} is not served here")
    body = _without_targets(root, scope)
    require_known_shape(body, WRITE_NODES, ORDINARY_FUNCTION_KINDS | {"TABLE_ENGINE", "CODEC"})
    if not _is_create_own_database(root, scope):
        _require_own_table(root.get("database"), root.get("table"), scope)
    for node, parent, key in walk(body):
        _require_node(node, parent, key, scope)


def _require_node(node: Node, parent: Node | None, key: str, scope: Scope) -> None:
    for flag, name in _REFUSED_FLAGS.items():
        if node.get(flag):
            raise AccessDeniedError(f"{name} is not served here")
    match node.get("type"):
        case "CreateQuery":
            if node.get("as_table"):
                _require_own_table(node.get("as_database"), node.get("as_table"), scope)
        case "AlterQuery":
            if node.get("alter_object") != "TABLE":
                raise AccessDeniedError("ALTER is served for tables only")
        case "DropQuery":
            if node.get("kind") not in ("Drop", "Truncate"):
                raise AccessDeniedError(f"{node.get('kind')} is not served here")
        case "AlterCommand":
            if node.get("command_type") not in _ALTER_COMMANDS:
                raise AccessDeniedError(f"ALTER … {node.get('command_type')} is not served here")
            if node.get("from_table"):
                _require_own_table(node.get("from_database"), node.get("from_table"), scope)
        case "SetQuery":
            _require_settings(node, parent)
        case "Function":
            _require_function(node, parent, key, scope)
        case _:
            require_allowed_node(node, key, scope)


def _require_function(node: Node, parent: Node | None, key: str, scope: Scope) -> None:
    name = str(node.get("name", ""))
    if node.get("kind") == "TABLE_ENGINE":
        _require_listed(name, _ENGINES, "table engine")
    elif node.get("kind") == "CODEC":
        for codec in node.get("arguments", {}).get("children", []):
            _require_listed(str(codec.get("name", "")), _CODECS, "codec")
    elif parent is not None and parent.get("type") == "IndexDeclaration" and key == "index_type":
        _require_listed(name, _INDEX_TYPES, "index type")
    elif name not in _CODECS:
        require_allowed_node(node, key, scope)


def _require_listed(name: str, listed: frozenset[str], what: str) -> None:
    if name not in listed:
        raise AccessDeniedError(
            f"the {what} {name[:60]!r} is not served here; there are: {', '.join(sorted(listed))}"
        )


def _require_settings(node: Node, parent: Node | None) -> None:
    """Settings of a table or column, or of the query that a view keeps."""
    of_query = parent is not None and parent.get("type") == "SelectQuery"
    for change in node.get("changes", []):
        name, value = str(change.get("name")), change.get("value", {})
        listed = is_free_setting(name) if of_query else name in _TABLE_SETTINGS
        if not listed or value.get("field_type") not in SETTING_TYPES:
            raise AccessDeniedError(f"the setting {name[:60]!r} is not served here")


def _require_own_table(database: object, table: object, scope: Scope) -> None:
    """Both may be a name or an Identifier; an absent database is the current one."""
    names = [_plain_name(database), _plain_name(table)]
    if (names[0] or scope.current) != scope.database or not names[1]:
        raise AccessDeniedError(
            f"only tables of {scope.database!r} can be written; "
            f"this is {'.'.join(name for name in names if name)!r}"
        )


def _is_create_own_database(root: Node, scope: Scope) -> bool:
    """CREATE DATABASE IF NOT EXISTS of the served one, which it always is: clients open with it."""
    return (
        root.get("type") == "CreateQuery"
        and not root.get("table")
        and root.get("database") == scope.database
        and bool(root.get("if_not_exists"))
        and "storage" not in root
    )


def _plain_name(value: object) -> str:
    if isinstance(value, dict):
        parts = name_parts(value)
        return parts[0] if len(parts) == 1 else ".".join(parts)
    return str(value or "")


def _without_targets(root: Node, scope: Scope) -> Node:
    """The tree without the target of CREATE MATERIALIZED VIEW, which is no node, once checked."""
    targets = root.get("targets")
    if targets is None:
        return root
    for target in targets.get("targets", []):
        if "inner_engine" in target or not target.get("table_name"):
            raise AccessDeniedError("a materialized view needs TO and a table of this database")
        _require_own_table(target.get("table_database"), target.get("table_name"), scope)
    return {key: value for key, value in root.items() if key != "targets"}
