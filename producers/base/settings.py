"""What all producers can be told: who they are, how they batch, spool, publish and answer."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from msgspec import Meta, Struct

from stream.broker.settings import BrokerSettings
from stream.contract.batch import MAXIMUM_LINES, MAXIMUM_RAW_BYTES
from stream.settings import Configuration

Seconds = Annotated[float, Meta(gt=0)]
Policy = Literal["block", "drop_oldest", "drop_newest"]


class ProducerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section ``producer``."""

    node: str = ""
    """Name of the Kubernetes node. Default empty: the machine's host name, which is what a kubelet
    takes, too. In a pod it comes from ``spec.nodeName`` (downward API), since there the host name
    is the pod's."""

    queue_events: Annotated[int, Meta(ge=64)] = 16384
    """Events between the observers' threads and the publisher. Default 16384: five seconds at
    3000 processes/s, some 20 MB at worst. An event with content counts once more for each KiB."""

    queue_policy: Policy = "block"
    """What happens when that queue is full. Default ``block``: the observer waits, and the loss,
    if it comes to that, is counted by the kernel. The drop policies count what they drop."""

    batch_events: Annotated[int, Meta(ge=1, le=MAXIMUM_LINES)] = 256
    """Events after which a batch is closed. Default 256: measured as the point where the cost of a
    message no longer shows beside that of its lines."""

    batch_bytes: Annotated[int, Meta(ge=1024, le=MAXIMUM_RAW_BYTES)] = 256 * 1024
    """Bytes after which a batch is closed. Default 256 KiB, half of what the contract allows. One
    larger event makes a batch of its own."""

    batch_age_seconds: Seconds = 0.1
    """Longest age of a batch under load. Default 0.1 s."""

    batch_idle_age_seconds: Seconds = 1.0
    """Longest age of a batch when little happens. Default 1 s: fewer, fuller messages."""

    progress_seconds: Seconds = 1.0
    """How often the producer reports its progress. Default 1 s: windows close that much later."""

    publish_window: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Batches under way without an acknowledgement. Default 64: fills a line of 10 ms round trip at
    1.6 GB/s. With 1 the order in RAW is strict even when JetStream refuses a batch in between."""

    publish_window_bytes: Annotated[int, Meta(ge=MAXIMUM_RAW_BYTES)] = 4 * 1024 * 1024
    """Bytes of batches in memory that wait for their acknowledgement. Default 4 MiB; more stays
    in the spool. At most one segment of the spool, whatever is set here."""

    publish_timeout_seconds: Seconds = 5.0
    """How long to wait for an acknowledgement before the batch is sent again. Default 5 s: the
    election of a leader in a cluster takes less."""

    drain_bytes_per_second: Annotated[int, Meta(ge=64 * 1024)] = 16 * 1024 * 1024
    """How fast a backlog is sent. Default 16 MiB/s: an hour of a busy node in some minutes,
    without shutting out the others."""

    stop_seconds: Seconds = 10.0
    """How long a stop may take to publish what is left. Default 10 s, below the 30 s that
    Kubernetes gives; what is left stays in the spool for the next start."""

    health_host: str = "127.0.0.1"
    """Address of ``/ping``, ``/ready`` and ``/metrics``. Default: the loopback; in a pod
    ``0.0.0.0``, for the kubelet's probes."""

    health_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Its port. Default 0: any free one, which the log tells."""


class SpoolSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section ``spool``: what a producer keeps on disk until the broker has it."""

    folder: str = "/var/lib/tenwatch/producers"
    """Folder in which every producer has one of its own. Default as the embedded instance's; in a
    pod a hostPath, so that it outlives the pod."""

    max_bytes: Annotated[int, Meta(ge=256 * 1024)] = 512 * 1024 * 1024
    """Bytes on disk. Default 512 MiB: about an hour of 300 processes/s without a broker."""

    segment_bytes: Annotated[int, Meta(ge=16 * 1024)] = 16 * 1024 * 1024
    """Bytes of one segment file; a segment is removed once all in it is acknowledged. Default
    16 MiB: few files, and room comes back in steps of 3 %."""

    policy: Policy = "drop_oldest"
    """What happens when it is full. Default ``drop_oldest``: the newest is worth most, observers
    are never held up, and the loss names exactly what was dropped. ``block`` holds up the
    observers, so that the kernel counts the loss."""

    fsync: Literal["never", "interval", "always"] = "interval"
    """When written batches are forced to the disk. Default ``interval``, each second. That only
    matters if the machine crashes: after a kill -9 of the producer the kernel still has all."""


def default_node() -> str:
    """The host name of this machine."""
    return socket.gethostname()


@dataclass(frozen=True, slots=True)
class RunSettings:
    """All that :func:`producers.base.runner.run_producer` needs to know."""

    name: str
    """Name of this process among the producers of the node: names its spool folder."""
    producer: ProducerSettings = field(default_factory=ProducerSettings)
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)

    @property
    def node(self) -> str:
        """The node's name."""
        return self.producer.node or default_node()

    @classmethod
    def load(
        cls,
        configuration: Configuration,
        name: str,
        flags: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Self:
        """Read the sections ``producer``, ``spool`` and ``broker``; ``flags`` go by section.

        Raises :class:`~stream.settings.SettingsError`.
        """
        given = flags or {}
        return cls(
            name,
            configuration.section("producer", ProducerSettings, given.get("producer")),
            configuration.section("spool", SpoolSettings, given.get("spool")),
            configuration.section("broker", BrokerSettings, given.get("broker")),
        )
