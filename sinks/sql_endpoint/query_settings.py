"""Which engine settings a client may change, and how far."""

from collections.abc import Mapping

from sinks.sql_endpoint.config import QueryLimits
from sinks.sql_endpoint.errors import SettingRefusedError
from sinks.sql_endpoint.words import words

# Parameters of the HTTP interface itself: read here or without effect, never sent to the engine.
# (Every compressed block names its method, so a client reads LZ4 whatever method it asked for.)
TRANSPORT_PARAMETERS = words(
    """add_http_cors_header buffer_size cancel_http_readonly_queries_on_client_close
    client_protocol_version compress database decompress default_format enable_http_compression
    http_headers_progress_interval_ms http_write_exception_in_output_format
    http_zlib_compression_level password query query_id quota_key readonly role
    send_progress_in_http_headers session_check session_id session_timeout stacktrace user
    wait_end_of_query close_session framing http_response_headers log_queries
    async_insert wait_for_async_insert network_compression_method network_zstd_compression_level"""
)

# Settings that change only how a result is computed or written. None of them names a file, a
# server or a schema; `format_schema`, `format_template_*` and `output_format_schema` do.
_FREE = words(
    """aggregate_functions_null_for_empty any_join_distinct_right_table_keys
    cast_string_to_dynamic_use_inference cast_string_to_variant_use_inference
    asterisk_include_alias_columns asterisk_include_materialized_columns cast_keep_nullable
    bool_false_representation bool_true_representation count_distinct_implementation
    date_time_input_format date_time_output_format date_time_overflow_behavior
    decimal_check_overflow distinct_overflow_mode
    do_not_merge_across_partitions_select_final empty_result_for_aggregation_by_empty_set
    extremes final format_csv_delimiter format_csv_null_representation
    format_tsv_null_representation group_by_overflow_mode group_by_use_nulls interval_output_format
    join_algorithm join_any_take_last_row join_default_strictness join_overflow_mode join_use_nulls
    limit offset optimize_aggregation_in_order optimize_read_in_order
    prefer_column_name_to_alias read_overflow_mode result_overflow_mode session_timezone
    sort_overflow_mode timeout_overflow_mode totals_mode transform_null_in union_default_mode
    intersect_default_mode except_default_mode use_query_condition_cache
    use_skip_indexes"""
)
_FREE_FAMILIES = (
    "output_format_arrow_",
    "output_format_csv_",
    "output_format_decimal_",
    "output_format_json_",
    "output_format_markdown_",
    "output_format_native_",
    "output_format_orc_",
    "output_format_parquet_",
    "output_format_pretty_",
    "output_format_sql_insert_",
    "output_format_tsv_",
    "output_format_values_",
    "output_format_write_",
)
# Types of literals in a SETTINGS clause, as the engine's parser names them.
SETTING_TYPES = words("UInt64 Int64 Float64 String Bool")
_FREE_VALUE_LENGTH = 200
_LARGEST_BLOCK = 1_048_576  # rows; a block lies in memory as a whole

# Settings of a write, for an admin.
_FREE_FOR_WRITES = words(
    """alter_sync deduplicate_blocks_in_dependent_materialized_views distributed_foreground_insert
    input_format_defaults_for_omitted_fields input_format_json_read_numbers_as_strings
    input_format_null_as_default input_format_parallel_parsing input_format_skip_unknown_fields
    insert_deduplicate insert_deduplication_token insert_quorum log_comment
    materialize_ttl_after_modify max_insert_block_size
    max_insert_threads max_partitions_per_insert_block min_insert_block_size_bytes
    min_insert_block_size_rows mutations_sync optimize_throw_if_noop"""
)


def _ceilings(limits: QueryLimits) -> dict[str, float]:
    """Settings with a ceiling; a ceiling of 0 is no bound."""
    return {
        "max_execution_time": limits.execution_seconds,
        "max_memory_usage": limits.memory_bytes,
        "max_result_rows": limits.result_rows,
        "max_result_bytes": limits.result_bytes,
        "max_rows_to_read": limits.read_rows,
        "max_bytes_to_read": limits.read_bytes,
        "max_threads": limits.threads,
        "max_block_size": _LARGEST_BLOCK,
    }


def engine_settings(
    asked: Mapping[str, str], limits: QueryLimits, *, writes: bool
) -> dict[str, str]:
    """The settings of one query: the limits, and of the asked ones those that are allowed.

    A limit asked larger than its ceiling, or as 0 for "none", becomes the ceiling: many clients
    always send their own defaults. SettingRefusedError names any setting that is not listed.
    """
    ceilings = _ceilings(limits)
    chosen = {name: _number(ceiling) for name, ceiling in ceilings.items()}
    del chosen["max_block_size"]  # the engine's own default is far below the ceiling
    # The same answer on every machine, whatever its own time zone; a client may ask for another.
    chosen["session_timezone"] = "UTC"
    # Spill would fill the store's disk; a query that needs more memory is told so.
    chosen["max_bytes_before_external_group_by"] = "0"
    chosen["max_bytes_ratio_before_external_group_by"] = "0"
    chosen["max_bytes_before_external_sort"] = "0"
    chosen["max_bytes_ratio_before_external_sort"] = "0"
    chosen["max_temporary_data_on_disk_size_for_query"] = "1000000"
    # The canonical statement is longer than what was sent, never by this much.
    chosen["max_query_size"] = str(limits.statement_bytes * 16)
    # Views and aliases multiply a statement; unbounded, the analyser takes 400 MB for one.
    chosen["max_expanded_ast_elements"] = "100000"
    chosen["allow_introspection_functions"] = "0"
    chosen["timeout_before_checking_execution_speed"] = "0"
    # Expressions in the data of VALUES would be run without having been checked.
    chosen["input_format_values_interpret_expressions"] = "0"
    chosen["input_format_values_deduce_templates_of_expressions"] = "0"
    for name, value in asked.items():
        if name == "log_comment" and not writes:
            continue  # it carries our own mark of a query that reads
        if name in ceilings:
            chosen[name] = _capped(name, value, ceilings[name])
        elif is_free_setting(name) or (writes and name in _FREE_FOR_WRITES):
            if len(value) > _FREE_VALUE_LENGTH:
                raise SettingRefusedError(f"the value of {name} is longer than 200 characters")
            chosen[name] = value
        else:
            raise SettingRefusedError(
                f"the setting {name[:100]!r} may not be changed here; leave it out"
            )
    return chosen


def is_free_setting(name: str) -> bool:
    """Whether a setting may have any value, in a request as in the query of a view."""
    return name in _FREE or name.startswith(_FREE_FAMILIES)


def _capped(name: str, value: str, ceiling: float) -> str:
    try:
        asked = float(value)
    except ValueError:
        raise SettingRefusedError(f"{name} must be a number, not {value[:50]!r}") from None
    if not asked > 0:
        return _number(ceiling)
    return _number(min(asked, ceiling) if ceiling else asked)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
