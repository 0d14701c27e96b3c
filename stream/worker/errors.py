"""The exceptions of the worker."""


class WorkerError(Exception):
    """Base of what keeps a worker from running; the message says what to do."""


class WorkerSettingsError(WorkerError):
    """Settings that can't work together."""
