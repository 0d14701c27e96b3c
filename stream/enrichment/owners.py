"""Whom an event of one node belongs to: pod, container, workload and identity, as one object."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from stream.contract.owner import Owner
from stream.enrichment.identity import LABEL, NOBODY, Identity, IdentityRules
from stream.enrichment.lines import added_fields
from stream.enrichment.pods import PodRecord, PodTable

_BOUND: Final = 50_000
"""Owners kept for sharing; beyond it the cache starts anew, which changes no result."""
PODS: Final = "/pods/"
"""In the path of every file of a pod's volumes."""
_VOLUME: Final = re.compile(
    r"/pods/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})/volume(?:s|-subpaths)/"
)
_OUTSIDE: Final = PodRecord("")
_encode = msgspec.json.Encoder().encode


class Joined(NamedTuple):
    """An owner, and the JSON that says so at the end of a line: ``,"namespace":"…"``."""

    owner: Owner
    suffix: bytes


def pod_of_path(path: str) -> str:
    """The UID of the pod whose volume a path lies in, as the kubelet lays them out; or empty."""
    found = _VOLUME.search(path)
    return found[1] if found else ""


class OwnerResolver:
    """Joins the facts of one node. The same facts always give the same owner."""

    def __init__(self, node: str, pods: PodTable, rules: IdentityRules) -> None:
        self._node = node
        self._pods = pods
        self.rules = rules
        self._shared: dict[tuple[str, ...], Owner] = {}

    def owner(
        self,
        kind: str,
        pod_uid: str = "",
        container_id: str = "",
        fields: Mapping[str, str] | None = None,
        otherwise: Identity = NOBODY,
    ) -> Owner:
        """Resolve one owner. ``fields`` are what rules can look at besides the pod's own.

        ``otherwise`` fills the identity where no rule says anything.
        """
        pod = self._pods.pods.get(pod_uid) if pod_uid else None
        identity = self._identify(kind, pod or _OUTSIDE, fields or {})
        if otherwise is not NOBODY:
            identity = Identity(*(a or b for a, b in zip(identity, otherwise, strict=True)))
        known = pod or _OUTSIDE
        key = (
            known.namespace,
            known.pod,
            pod_uid,
            known.containers.get(container_id, ""),
            container_id,
            known.workload_kind,
            known.workload,
            *identity,
        )
        resolved = not pod_uid or pod is not None
        owner = self._shared.get(key)
        if owner is None or owner.resolved != resolved:
            if len(self._shared) >= _BOUND:
                self._shared.clear()
            owner = Owner(
                namespace=key[0],
                pod=key[1],
                pod_uid=key[2],
                container=key[3],
                container_id=key[4],
                workload_kind=key[5],
                workload=key[6],
                course=identity.course,
                division=identity.division,
                student=identity.student,
                assignment=identity.assignment,
                resolved=resolved,
            )
            self._shared[key] = owner
        return owner

    def _identify(self, kind: str, pod: PodRecord, fields: Mapping[str, str]) -> Identity:
        if not self.rules.rules:
            return NOBODY

        def look_up(name: str) -> str:
            text = fields.get(name, "")
            if text:
                return text
            if name.startswith(LABEL):
                return pod.labels.get(name[len(LABEL) :], "")
            if name == "node":
                return self._node
            if name in ("namespace", "pod", "workload", "hostname"):
                value: str = getattr(pod, name)
                return value
            return ""

        return self.rules.identify(kind, look_up)


@lru_cache(maxsize=16_384)
def suffix_of(kind: str, owner: Owner, omit: tuple[str, ...] = ()) -> bytes:
    """The owner's fields that a line of ``kind`` doesn't have already, as the end of an object.

    Starts with a comma, has no closing brace, and is empty where there is nothing to say.
    """
    allowed = added_fields(kind)
    values = {
        name: value
        for name in owner.__struct_fields__
        if name in allowed and name not in omit and (value := getattr(owner, name))
    }
    return tail_of(values)


def tail_of(values: Mapping[str, object]) -> bytes:
    """Further fields as the end of a JSON object: ``,"class":"compiler"``."""
    return b"," + _encode(values)[1:-1] if values else b""
