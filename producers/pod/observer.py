"""The observer of the pod producer: what the base starts, asks and stops."""

import os
from collections.abc import Mapping

from producers.base.observer import EventSink
from producers.pod.api_client import ApiClient, service_url
from producers.pod.errors import PodError
from producers.pod.following import KIND, Following
from producers.pod.settings import PodSettings


class PodObserver:
    """Emits what is known of each pod of the node when it changes, at the start and now and then.

    ``node`` is the Kubernetes node's name (``spec.nodeName``), never a pod's. Raises
    :class:`~producers.pod.errors.PodError` when the API is demanded and can't be named;
    :meth:`start` raises :class:`~producers.pod.errors.NoPodSourceError` when there is nothing to
    look at.
    """

    kinds: tuple[str, ...] = (KIND,)

    def __init__(
        self,
        node: str,
        settings: PodSettings | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings or PodSettings()
        self._client = api_client(
            node, self._settings, os.environ if environment is None else environment
        )
        self._following: Following | None = None

    def start(self, sink: EventSink) -> None:
        """Publish what the node shows, and follow it and the API from now on."""
        if self._following is not None:
            raise PodError("the pod observer was started twice; make another one")
        self._following = Following(self._settings, self._client, sink)
        self._following.start()

    def stop(self) -> None:
        """Stop following; whatever changed until now is published."""
        if self._following is not None:
            self._following.stop()

    def ready(self) -> str | None:
        """None while pods are followed; the API being away is a degradation, not an outage."""
        return self._following.problem if self._following is not None else "not started"

    def degraded(self) -> list[str]:
        """What is not known of pods, and how to get it."""
        return self._following.degraded() if self._following is not None else []

    def metrics(self) -> dict[str, float]:
        """Numbers of the following itself."""
        return self._following.metrics() if self._following is not None else {}


def api_client(
    node: str, settings: PodSettings, environment: Mapping[str, str]
) -> ApiClient | None:
    """A client of the API where the settings and a mounted service account allow one."""
    url = settings.api_url or service_url(environment)
    has_account = (settings.service_account / "token").exists()
    if settings.api == "off" or (settings.api == "auto" and not (url and has_account)):
        return None
    if not url:
        raise PodError(
            "pod.api is on, but this is no pod of a cluster (KUBERNETES_SERVICE_HOST is empty); "
            "set pod.api_url"
        )
    return ApiClient(url, node, settings.service_account)
