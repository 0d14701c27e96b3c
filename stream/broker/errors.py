"""What can go wrong between this program and NATS."""


class BrokerError(Exception):
    """Base of every error of this package."""


class CredentialsError(BrokerError):
    """The credentials file can't be read, is open to others, or names no way to log in."""


class NotConnectedError(BrokerError):
    """There is no connection to any server at the moment."""


class JetStreamError(BrokerError):
    """JetStream refused a request. ``code`` is HTTP-like, ``err_code`` names the exact reason."""

    def __init__(
        self, description: str, code: int = 0, err_code: int = 0, subject: str = ""
    ) -> None:
        self.description = description
        self.code = code
        self.err_code = err_code
        self.subject = subject
        where = f" (asked on {subject})" if subject else ""
        super().__init__(f"JetStream says: {description} [code {code}, err_code {err_code}]{where}")


class NotFoundError(JetStreamError):
    """The stream, consumer or message does not exist."""


class StreamFullError(JetStreamError):
    """The stream is at its limit and refuses what is new; make room or raise ``max_bytes``."""


class NoJetStreamError(JetStreamError):
    """Nobody answers: JetStream is off, has no leader for the moment, or no stream listens."""


class RequestTimeoutError(JetStreamError):
    """No answer in time; whether the request was carried out is not known."""


class ConfigMismatchError(BrokerError):
    """A stream or consumer exists with settings that can't be changed into the wanted ones."""
