"""What can keep the pod producer from observing."""


class PodError(Exception):
    """Base of this package's errors; the message says what to do."""


class NoPodSourceError(PodError):
    """Neither the Kubernetes API nor anything on the node tells of pods."""


class ApiError(PodError):
    """The Kubernetes API refused or could not be reached."""

    def __init__(self, message: str, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; 0 when there was no answer."""
        self.retry_after = retry_after
        """Seconds that the server asked to wait; 0 when it didn't."""
