"""Metadata of the node's pods (kind ``pod``), which enrichment joins to."""

from producers.pod.errors import ApiError, NoPodSourceError, PodError
from producers.pod.observer import PodObserver
from producers.pod.settings import PodSettings

__all__ = ["ApiError", "NoPodSourceError", "PodError", "PodObserver", "PodSettings"]
