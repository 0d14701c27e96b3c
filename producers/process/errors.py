"""What can go wrong when processes are observed."""


class ProcessProducerError(Exception):
    """Base of the errors of this package."""


class RecordError(ProcessProducerError):
    """A record from the ring buffer does not have the form that the BPF program writes."""


class AttachError(ProcessProducerError):
    """The BPF program cannot observe here; the text says why and what to do."""


class ConnectorError(ProcessProducerError):
    """The netlink proc connector cannot observe here; the text says why and what to do."""
