"""From owners to workloads."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.pod.workload import workload_by_name, workload_of

CREATED = "2026-11-19T10:00:00Z"
MINUTES = 29918040  # 2026-11-19T10:00 in minutes since the epoch
NAME = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
SAFE = "bcdfghjklmnpqrstvwxz2456789"


@pytest.mark.parametrize(
    ("kind", "name", "labels", "expected"),
    [
        (
            "ReplicaSet",
            "web-7d4f8c9b6d",
            {"pod-template-hash": "7d4f8c9b6d"},
            ("Deployment", "web"),
        ),
        ("ReplicaSet", "bare", {}, ("ReplicaSet", "bare")),
        ("ReplicaSet", "a-b", {"pod-template-hash": "c"}, ("ReplicaSet", "a-b")),
        ("ReplicaSet", "r-5b", {"rollouts-pod-template-hash": "5b"}, ("Rollout", "r")),
        ("StatefulSet", "db", {}, ("StatefulSet", "db")),
        ("DaemonSet", "agent", {}, ("DaemonSet", "agent")),
        ("Job", f"backup-{MINUTES}", {}, ("CronJob", "backup")),
        ("Job", f"backup-{MINUTES * 60}", {}, ("CronJob", "backup")),
        ("Job", "import-20261119", {}, ("Job", "import-20261119")),
        ("Job", "once", {}, ("Job", "once")),
        ("Node", "worker-1", {}, ("Pod", "the-pod")),
        ("", "", {}, ("Pod", "the-pod")),
        ("Workflow", "w", {}, ("Workflow", "w")),
    ],
)
def test_an_owner_leads_to_the_workload_that_people_know(
    kind: str, name: str, labels: dict[str, str], expected: tuple[str, str]
) -> None:
    assert time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(MINUTES * 60)) == CREATED
    assert workload_of(kind, name, labels, "the-pod", CREATED) == expected


@given(NAME, st.text(SAFE, min_size=6, max_size=10), st.text(SAFE, min_size=5, max_size=5))
def test_a_deployments_pod_is_known_by_its_name(name: str, template: str, unique: str) -> None:
    pod = f"{name}-{template}-{unique}"
    assert workload_by_name(pod) == ("Deployment", name)
    assert workload_of(
        "ReplicaSet", f"{name}-{template}", {"pod-template-hash": template}, pod, CREATED
    ) == ("Deployment", name)


@pytest.mark.parametrize("pod", ["web-0", "agent-x2k4p", "etcd-node-1", "web", "a-1234-bcdfg"])
def test_a_name_that_proves_nothing_gives_no_workload(pod: str) -> None:
    assert workload_by_name(pod) == ("", "")


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text()), st.text(), st.text())
def test_nothing_makes_it_fail(
    kind: str, name: str, labels: dict[str, str], pod: str, created: str
) -> None:
    workload_of(kind, name, labels, pod, created)
    workload_by_name(pod)
