"""What can go wrong in what all producers share."""


class ProducerError(Exception):
    """Base of the errors of :mod:`producers.base`."""


class SpoolError(ProducerError):
    """The spool's folder can't be used at all."""


class SpoolBusyError(SpoolError):
    """Another process uses the same spool."""


class SpoolFullError(ProducerError):
    """The spool has reached its limit; its policy decides what goes."""


class SpoolWriteError(ProducerError):
    """The disk refused a write (full, broken, read-only)."""


class EventTooLargeError(ProducerError):
    """One event alone is larger than a batch may be."""
