"""From a pod's owner to the workload that people know by name."""

import calendar
import re
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

_TEMPLATE_HASHES: Final = (
    ("pod-template-hash", "Deployment"),
    ("rollouts-pod-template-hash", "Rollout"),
)
_SCHEDULED: Final = re.compile(r"(?P<cronjob>.+)-(?P<time>\d{8,10})")
_MINUTES_OF_SECONDS: Final = 100_000_000
"""Above it a suffix is in seconds (CronJob controllers before Kubernetes 1.21), else minutes."""
_TOLERANCE_MINUTES: Final = 14 * 24 * 60
_SAFE: Final = "[bcdfghjklmnpqrstvwxz2456789]"
"""The alphabet of generated names (apimachinery ``util/rand``): no vowels, no look-alikes."""
_DEPLOYMENT_POD: Final = re.compile(rf"(?P<deployment>.+)-{_SAFE}{{6,10}}-{_SAFE}{{5}}")


class Workload(NamedTuple):
    """Kind and name; both empty when unknown."""

    kind: str = ""
    name: str = ""


def workload_of(
    owner_kind: str, owner_name: str, labels: Mapping[str, str], pod: str, created: str
) -> Workload:
    """The workload of a pod with this controlling owner (both texts empty: a bare pod).

    A ReplicaSet that a Deployment made is named ``<deployment>-<pod-template-hash>``, and its pods
    carry that hash as a label. A Job that a CronJob made is named ``<cronjob>-<time>``, with the
    time for which it was scheduled, in minutes since the epoch; a Job that merely ends in digits
    lies far from the time when its pod was created (``created``, RFC 3339).
    """
    if owner_kind == "ReplicaSet":
        for label, kind in _TEMPLATE_HASHES:
            value = labels.get(label, "")
            if value and owner_name.endswith(f"-{value}"):
                return Workload(kind, owner_name[: -len(value) - 1])
    if owner_kind == "Job" and (match := _SCHEDULED.fullmatch(owner_name)):
        scheduled = int(match["time"])
        minutes = scheduled // 60 if scheduled > _MINUTES_OF_SECONDS else scheduled
        if abs(minutes - _minutes(created)) <= _TOLERANCE_MINUTES:
            return Workload("CronJob", match["cronjob"])
    if owner_kind in ("", "Node"):
        return Workload("Pod", pod)
    return Workload(owner_kind, owner_name)


def workload_by_name(pod: str) -> Workload:
    """What a pod's name alone says for sure: a Deployment's pods end in two generated parts.

    Other kinds can't be told apart by name (``web-0`` may be a StatefulSet's or a bare pod), and
    stay empty.
    """
    if match := _DEPLOYMENT_POD.fullmatch(pod):
        return Workload("Deployment", match["deployment"])
    return Workload()


def _minutes(created: str) -> int:
    try:
        return calendar.timegm(time.strptime(created[:19], "%Y-%m-%dT%H:%M:%S")) // 60
    except ValueError:
        return 0
