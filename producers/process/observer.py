"""The process producer's observer: every exec and every exit on this node.

It observes by BPF where that is permitted. Where it is not, by the kernel's process connector, and
where that is not either, by polling /proc; both are marked degraded, and say why.
"""

import logging
import threading

from producers.base.observer import EventSink
from producers.process.assembly import EventAssembler
from producers.process.attach import attach
from producers.process.boot_clock import BootClock
from producers.process.bpf_source import BpfSource
from producers.process.errors import ProcessProducerError
from producers.process.handover import DurableSink
from producers.process.identity import ProcessNames
from producers.process.proc_connector import ConnectorSource
from producers.process.proc_polling import PollingSource
from producers.process.process_table import ProcessTable
from producers.process.redaction import Redactor
from producers.process.settings import ProcessSettings
from producers.process.source import ProcessSource

_LOG = logging.getLogger(__name__)


class ProcessObserver:
    """Reports execs and exits; see :class:`producers.base.observer.Observer`.

    :param node: the node's name, part of every ``exec_id``
    """

    kinds: tuple[str, ...] = ("process",)

    def __init__(self, node: str, settings: ProcessSettings) -> None:
        self._settings = settings
        self._clock = BootClock()
        self._table = ProcessTable(settings.remembered_processes, settings.remembered_bytes)
        self._names = ProcessNames(node)
        self._assembler = EventAssembler(
            self._names, Redactor(settings.redaction), self._table, self._clock
        )
        self.bridged = False
        """Whether the kernel kept what happened since the last life, and it is handed over."""
        self._source: ProcessSource | None = None
        self._refusals: list[str] = []
        self.failure: str | None = None
        """Why it stopped observing by itself, if it did."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process-observer", daemon=True)

    def start(self, sink: EventSink) -> None:
        """Begin to observe.

        :raises ProcessProducerError: no way to observe works here, or BPF does not and
            ``fallback`` is off
        """
        self._source = self._best_source(sink)
        self._thread.start()

    def stop(self) -> None:
        """Stop observing and hand over what the kernel still holds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def ready(self) -> str | None:
        """None when it observes; else why not."""
        if self.failure is not None:
            return f"observing processes failed: {self.failure}"
        return None if self._thread.is_alive() else "processes are not observed"

    def degraded(self) -> list[str]:
        """What does not work fully."""
        return self._refusals + (self._source.degraded() if self._source else [])

    def metrics(self) -> dict[str, float]:
        """Numbers of the source and of the table of living processes."""
        own: dict[str, float] = {
            "remembered_processes": len(self._table),
            "remembered_bytes": self._table.estimated_bytes,
            "forgotten_processes_total": self._table.forgotten,
        }
        return own | (self._source.metrics() if self._source else {})

    def _best_source(self, sink: EventSink) -> ProcessSource:
        for build in (self._bpf, self._connector, self._polling):
            try:
                return build(sink)
            except ProcessProducerError as error:
                if not self._settings.fallback:
                    raise
                self._refusals.append(str(error))
        raise ProcessProducerError("; ".join(self._refusals))

    def _bpf(self, sink: EventSink) -> ProcessSource:
        attached = attach(self._settings)
        source = BpfSource(attached, sink, self._assembler, self._table, self._clock)
        self.bridged = attached.resumed and isinstance(sink, DurableSink)
        return source

    def _connector(self, sink: EventSink) -> ProcessSource:
        return ConnectorSource(self._names, sink, self._assembler, self._clock)

    def _polling(self, sink: EventSink) -> ProcessSource:
        return PollingSource(sink, self._assembler, self._clock)

    def _run(self) -> None:
        source = self._source
        assert source is not None  # noqa: S101 - start() sets it before the thread runs
        interval = self._settings.drain_interval_ms / 1000
        try:
            while not self._stopping.is_set():
                source.poll(interval)
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            _LOG.exception("observing processes failed")
        finally:
            source.finish()
