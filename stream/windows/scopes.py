"""Which rows an owner's events count in."""

from functools import lru_cache
from typing import Final, NamedTuple

from stream.contract.buckets import Scope
from stream.contract.owner import Owner


class CellKey(NamedTuple):
    """One cell of a window: an owner's fields, and a variant of the kind's own."""

    namespace: str = ""
    workload_kind: str = ""
    workload: str = ""
    pod: str = ""
    pod_uid: str = ""
    container: str = ""
    container_id: str = ""
    course: str = ""
    division: str = ""
    student: str = ""
    assignment: str = ""
    variant: str = ""


class ScopeKey(NamedTuple):
    """One row of a window. Fields that its scope does not have are empty."""

    scope: Scope
    namespace: str = ""
    workload_kind: str = ""
    workload: str = ""
    pod: str = ""
    pod_uid: str = ""
    container: str = ""
    container_id: str = ""
    course: str = ""
    division: str = ""
    student: str = ""
    assignment: str = ""


NODE: Final = ScopeKey("node")
HOST: Final = ScopeKey("host")


def cell_key(owner: Owner, variant: str = "") -> CellKey:
    """The key of an owner's cell."""
    return CellKey(
        owner.namespace,
        owner.workload_kind,
        owner.workload,
        owner.pod,
        owner.pod_uid,
        owner.container,
        owner.container_id,
        owner.course,
        owner.division,
        owner.student,
        owner.assignment,
        variant,
    )


def container_scope(key: CellKey) -> ScopeKey:
    """The row of the container."""
    return ScopeKey("container", *key[:7])


def pod_scope(key: CellKey) -> ScopeKey:
    """The row of the pod."""
    return ScopeKey("pod", *key[:5])


def group_scopes(key: CellKey) -> list[ScopeKey]:
    """The rows of workload, namespace, student and assignment, as far as they are known."""
    found = []
    if key.workload:
        found.append(ScopeKey("workload", key.namespace, key.workload_kind, key.workload))
    if key.namespace:
        found.append(ScopeKey("namespace", key.namespace))
    if key.student:
        person = {"course": key.course, "division": key.division, "student": key.student}
        found.append(ScopeKey("student", **person))
        if key.assignment:
            found.append(ScopeKey("assignment", **person, assignment=key.assignment))
    return found


@lru_cache(maxsize=65536)
def scopes_by_owner(key: CellKey) -> tuple[ScopeKey, ...]:
    """All rows of an event that belongs to an owner: its own, its groups', and the node's.

    ``host`` is what runs on the node outside any pod.
    """
    found = [NODE]
    if key.pod_uid:
        found.append(pod_scope(key))
    else:
        found.append(HOST)
    if key.container_id:
        found.append(container_scope(key))
    found += group_scopes(key)
    return tuple(found)
