"""Every manifest is what the API servers of several Kubernetes versions take: no field unknown,
missing or of a wrong type. The schemas come with the package kubernetes-validate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

Manifest = dict[str, Any]

VERSIONS = ("1.28", "1.32", "1.37")
"""Oldest, one in between, newest of those that docs/kubernetes.md names."""
OPERATOR = "monitoring.coreos.com/v1"
"""Types of the Prometheus Operator; they have no schema in Kubernetes itself."""


@pytest.mark.parametrize("version", VERSIONS)
def test_overlays_fit_the_schema_of_kubernetes(manifests: list[Manifest], version: str) -> None:
    checked = 0
    for each in manifests:
        if each["apiVersion"] == OPERATOR:
            continue
        kubernetes_validate.validate(each, version, strict=True)
        checked += 1
    assert checked > 30


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_login_maker_writes_fits_it_too(
    login_folder: Callable[..., Path], version: str
) -> None:
    folder = login_folder("--nodes", "node-a b.example", "--tls", "--notebook", "students")
    checked = 0
    for path in sorted((folder / "manifests").iterdir()):
        for each in yaml.safe_load_all(path.read_text()):
            kubernetes_validate.validate(each, version, strict=True)
            checked += 1
    assert checked >= 4 + 1 + 2 + 3 + 2 * 2


def test_the_schema_check_can_fail(build: Callable[[str], list[Manifest]]) -> None:
    stateful = next(each for each in build("single") if each["kind"] == "StatefulSet")
    wrong = stateful | {"spec": stateful["spec"] | {"replicaz": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[1], strict=True)
