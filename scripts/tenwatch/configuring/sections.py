"""Every section of the configuration, in one place. A new section is one line here."""

from typing import Final

from msgspec import Struct

from producers.base.settings import ProducerSettings, SpoolSettings
from producers.cgroup.settings import CgroupSettings
from producers.file.settings import FileSettings
from producers.hostpath.settings import HostPathSettings
from producers.pod.settings import PodSettings
from producers.process.settings import ProcessSettings
from sinks.ingest.settings import SinkSettings, SqlSettings
from sinks.store.settings import StoreSettings
from stream.broker.settings import BrokerSettings, StreamSettings
from stream.windows.settings import WindowSettings
from stream.worker.settings import WorkerSettings

SECTIONS: Final[dict[str, type[Struct]]] = {
    "broker": BrokerSettings,
    "streams": StreamSettings,
    "producer": ProducerSettings,
    "spool": SpoolSettings,
    "process": ProcessSettings,
    "file": FileSettings,
    "hostpath": HostPathSettings,
    "cgroup": CgroupSettings,
    "pod": PodSettings,
    "worker": WorkerSettings,
    "windows": WindowSettings,
    "store": StoreSettings,
    "sink": SinkSettings,
    "sql": SqlSettings,
}
"""By name, in the order in which an event passes them."""

OTHER_VARIABLES: Final = {
    "TENWATCH_CONFIG": "configuration file",
    "TENWATCH_DATA": "data folder of the instance",
    "TENWATCH_CREDENTIALS_FILE": "JSON file with the secrets of a role, mode 0600",
    "TENWATCH_SQL_USER": "user for a ClickHouse named by --url",
    "TENWATCH_SQL_PASSWORD": "its password",
}
"""Environment variables that are no setting of a section."""
