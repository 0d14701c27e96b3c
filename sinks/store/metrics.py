"""How the metrics of bucket rows are added up: over the nodes of one window, over windows."""

from typing import Final

from stream.contract.bucket_metrics import BUCKET_METRICS, BucketMetric

TABLES: Final = ("buckets_10s", "buckets_1m", "buckets_1h", "replay_buckets")
MEASURED_TIME: Final = "measured_us"
"""How much of a window was measured: adds up over windows, not over nodes."""


def column_definition(metric: BucketMetric) -> str:
    """The column of a metric, for a statement that adds it."""
    comment = f"{metric.description} ({metric.unit})".replace("\\", "\\\\").replace("'", "\\'")
    comment = comment[0].upper() + comment[1:]
    return f"`{metric.name}` Nullable({metric.type}) CODEC(ZSTD(1)) COMMENT '{comment}'"


def plain() -> str:
    """The columns as they are."""
    return ",\n    ".join(f"`{metric.name}`" for metric in BUCKET_METRICS)


def over_nodes() -> str:
    """One row out of the parts of all nodes of a window."""
    return ",\n    ".join(f"{_over_nodes(metric)} AS `{metric.name}`" for metric in BUCKET_METRICS)


def over_windows() -> str:
    """One row out of the windows of a longer one. ``window_start`` orders them."""
    return ",\n    ".join(
        f"{_over_windows(metric)} AS `{metric.name}`" for metric in BUCKET_METRICS
    )


def _over_nodes(metric: BucketMetric) -> str:
    name = f"b.`{metric.name}`"
    if metric.name == MEASURED_TIME:
        return f"max({name})"
    if metric.combine == "distinct":
        # What two nodes have in common isn't known, so there is no number for several of them.
        return f"if(count() = 1, any({name}), NULL)"
    # sum() of nothing but NULL is NULL: what no node measured stays unknown.
    return f"sum({name})"


def _over_windows(metric: BucketMetric) -> str:
    name = f"b.`{metric.name}`"
    if metric.name == MEASURED_TIME:
        return f"sum({name})"
    match metric.combine:
        case "sum":
            return f"sum({name})"
        case "max":
            return f"max({name})"
        case "last":
            return f"argMax({name}, b.window_start)"
        case "mean":
            return f"sum({name} * b.samples) / nullIf(sumIf(b.samples, {name} IS NOT NULL), 0)"
        case "rate":
            return f"1000 * sum(b.cpu_us) / nullIf(sum(b.`{MEASURED_TIME}`), 0)"
        case "distinct":
            return f"if(count() = 1, any({name}), NULL)"
