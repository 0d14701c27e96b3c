"""Making an app that runs on JetStream."""

from typing import Any

import faust

from .assignors import LeaderAssignor, PartitionAssignor
from .errors import NotSupportedError
from .jetstream import JetStream
from .settings import JetStreamSettings
from .table import Table, TableManager, UnsupportedTable


def create_app(
    app_id: str,
    *,
    servers: list[str] | None = None,
    settings: JetStreamSettings | None = None,
    **options: Any,
) -> Any:
    """Return a :class:`faust.App` on JetStream; its ``jetstream`` is a :class:`JetStream`.

    ``servers`` replaces those in ``settings``. Further options are faust's, over these
    defaults: no web server (it would listen on 6066), tables in memory and on JetStream,
    reading from the beginning, as many partitions for topics as for the app. Raises
    :exc:`ConfigurationError` for settings that cannot work.
    """
    if settings is None:
        settings = JetStreamSettings()
    if servers is not None:
        settings.servers = list(servers)
    settings.validate()
    if options.get("processing_guarantee", "at_least_once") != "at_least_once":
        raise NotSupportedError(
            "processing_guarantee selects Kafka transactions. Leave it out: on this transport "
            "state, results and offset are always committed together."
        )
    defaults: dict[str, Any] = {
        "broker": list(settings.servers),
        "store": "memory://",
        "web_enabled": False,
        "consumer_auto_offset_reset": "earliest",
        "topic_partitions": settings.partitions,
        "topic_replication_factor": settings.replicas,
        "broker_commit_interval": settings.commit_interval,
        "topic_disable_leader": False,
        "Table": Table,
        "TableManager": TableManager,
        "GlobalTable": UnsupportedTable,
        "SetTable": UnsupportedTable,
        "SetGlobalTable": UnsupportedTable,
        "PartitionAssignor": PartitionAssignor,
        "LeaderAssignor": LeaderAssignor,
    }
    app = faust.App(app_id, **{**defaults, **options})
    app.jetstream = JetStream(app, settings)
    return app
