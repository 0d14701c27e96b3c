"""The exceptions of the worker."""


class WorkerError(Exception):
    """Base of what keeps a worker from running; the message says what to do."""


class StateFormatError(WorkerError):
    """The state at the broker was written by another version of the program."""


class WorkerSettingsError(WorkerError):
    """Settings that can't work together."""
