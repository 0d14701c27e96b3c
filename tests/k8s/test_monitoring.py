"""Alerts name metrics that exist, and the dashboard's SQL runs on the real schema."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from sinks.store.client import Store
from sinks.store.migrations import apply_schema
from sinks.store.settings import StoreSettings

Manifest = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
METRICS = {
    "tenwatch_worker_": "stream/worker/metrics.py",
    "tenwatch_sink_": "sinks/ingest",
    "tenwatch_": "producers/base/metrics.py",
}
"""Prefix of a metric → where its name is written; the longest prefix counts."""
MACRO = re.compile(r"\$__timeFilter\((\w+)\)")


def exists(metric: str) -> bool:
    """Whether the program writes a metric of this name."""
    prefix = next(each for each in METRICS if metric.startswith(each))
    place = ROOT / METRICS[prefix]
    texts = {
        node.value
        for path in (place.glob("*.py") if place.is_dir() else [place])
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return metric.removeprefix(prefix) in texts


def names(expression: Any) -> Iterator[str]:
    """Metrics that a parsed expression reads."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield str(expression.name)
        return
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs", "param"):
        if (inner := getattr(expression, name, None)) is not None:
            yield from names(inner)
    for each in getattr(expression, "args", None) or ():
        yield from names(each)


@pytest.fixture
def rules(build: Callable[[str], list[Manifest]]) -> list[Manifest]:
    """All alerts."""
    rule = next(each for each in build("production") if each["kind"] == "PrometheusRule")
    return [each for group in rule["spec"]["groups"] for each in group["rules"]]


def test_every_alert_reads_metrics_that_the_program_writes(rules: list[Manifest]) -> None:
    assert len(rules) > 10
    for rule in rules:
        found = set(names(promql_parser.parse(rule["expr"])))
        assert found, rule["alert"]
        for name in found:
            assert exists(name), f"{rule['alert']}: {name}"
    assert not exists("tenwatch_worker_no_such_metric")


def test_every_alert_says_what_happened_and_what_to_do(rules: list[Manifest]) -> None:
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "action"}
    assert len({rule["alert"] for rule in rules}) == len(rules)


def test_the_autoscaler_reads_a_metric_that_the_worker_writes(
    build: Callable[[str], list[Manifest]],
) -> None:
    scaler = next(each for each in build("production") if each["kind"] == "HorizontalPodAutoscaler")
    assert exists(scaler["spec"]["metrics"][0]["pods"]["metric"]["name"])


def test_every_panel_of_the_dashboard_asks_what_the_store_can_answer(
    build: Callable[[str], list[Manifest]], tmp_path: Path
) -> None:
    text = next(
        each["data"]["tenwatch.json"]
        for each in build("production")
        if each["metadata"]["name"] == "tenwatch-dashboard"
    )
    panels = json.loads(text)["panels"]
    assert len(panels) >= 10
    with Store(StoreSettings(path=str(tmp_path / "store"))) as store:
        apply_schema(store)
        for panel in panels:
            for target in panel["targets"]:
                sql = MACRO.sub(r"\1 >= now() - 600 AND \1 <= now()", target["rawSql"])
                assert "$__" not in sql
                store.writer.rows(sql)


def test_the_rules_of_the_course_are_those_that_the_program_ships() -> None:
    shipped = ROOT / "stream/enrichment/rules/web-ide-course.yaml"
    assert (ROOT / "k8s/overlays/course/rules.yaml").read_text() == shipped.read_text()
