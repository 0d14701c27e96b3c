"""Every exception this package raises on purpose, as one tree.

``JetStreamTransportError`` is the root: catching it catches whatever the transport
itself can raise. Errors carry the data a program needs as attributes; the message is
for people and says what was wrong, with what value, and what to do.
"""


class JetStreamTransportError(Exception):
    """Root of all errors of the transport."""


class ConfigurationError(JetStreamTransportError):
    """A setting, table or topic is declared in a way that cannot work."""


class NotSupportedError(ConfigurationError):
    """A faust feature that this transport refuses rather than does wrongly."""


class StreamMismatchError(ConfigurationError):
    """A stream exists already, with a configuration that contradicts the one needed."""

    def __init__(self, stream: str, differences: dict[str, tuple[object, object]]) -> None:
        told = ", ".join(
            f"{name} is {found!r} but must be {wanted!r}"
            for name, (found, wanted) in sorted(differences.items())
        )
        super().__init__(
            f"stream {stream} exists with another configuration: {told}. "
            "Change the stream, or the declaration, so that both agree."
        )
        self.stream = stream
        self.differences = differences


class ApiError(JetStreamTransportError):
    """The server refused a JetStream API request or a publish.

    ``code`` is the HTTP-like status, ``err_code`` the JetStream error code (see
    ``errors.json`` in the nats-server source), ``description`` the server's own words.
    """

    def __init__(self, code: int, err_code: int, description: str, subject: str = "") -> None:
        where = f" ({subject})" if subject else ""
        super().__init__(f"JetStream refused the request{where}: {description} [{err_code}]")
        self.code = code
        self.err_code = err_code
        self.description = description
        self.subject = subject


class PublishError(JetStreamTransportError):
    """Messages handed to a publisher were not acknowledged, and will not be.

    ``failed`` maps each subject to the reason its first failed message gave.
    """

    def __init__(self, failed: dict[str, str], count: int) -> None:
        subject, reason = next(iter(failed.items()))
        super().__init__(
            f"{count} message(s) could not be published; the first, to {subject}: {reason}. "
            "They are not stored: publish them again after the cause is removed."
        )
        self.failed = failed
        self.count = count


class WindowFullError(JetStreamTransportError):
    """``publish_nowait`` found the window of unacknowledged messages full."""

    def __init__(self, window: int) -> None:
        super().__init__(
            f"{window} messages wait for acknowledgement, which is the publish window. "
            "Await publish() instead, which waits for room, or raise publish_window."
        )
        self.window = window


class FencedError(JetStreamTransportError):
    """Another worker owns the partition now; nothing this worker holds of it is written."""

    def __init__(self, partition: int, owner: str) -> None:
        super().__init__(
            f"partition {partition} was taken over by {owner}: this worker's uncommitted "
            "state of it is discarded, and its events are processed again by the new owner."
        )
        self.partition = partition
        self.owner = owner


class StaleEventError(JetStreamTransportError):
    """An event of an earlier assignment tried to change a table or send a result."""

    def __init__(self, partition: int) -> None:
        super().__init__(
            f"an event of partition {partition} was still in process when the partition was "
            "reassigned or rolled back; its change is refused, and it is processed again."
        )
        self.partition = partition


class NotAssignedError(JetStreamTransportError):
    """A partition was addressed that this worker does not own at the moment."""

    def __init__(self, partition: int) -> None:
        super().__init__(
            f"partition {partition} is not assigned to this worker now. Use the partitions "
            "in app.jetstream.partitions, and expect it to change between awaits."
        )
        self.partition = partition


class BatchTooLargeError(JetStreamTransportError):
    """What one event changed does not fit into one atomic batch.

    The batch cannot be split without losing atomicity, so it is refused as a whole.
    """

    def __init__(self, partition: int, messages: int, limit: int) -> None:
        super().__init__(
            f"one commit of partition {partition} needs {messages} messages, but the server "
            f"takes {limit} in an atomic batch (jetstream.limits.batch.max_msgs). Pack several "
            "keys into one value, change less per event, lower commit_messages, or raise the "
            "server's limit together with batch_limit."
        )
        self.partition = partition
        self.messages = messages
        self.limit = limit


class MessageTooLargeError(JetStreamTransportError):
    """A message is above the server's ``max_payload``, which would close the connection."""

    def __init__(self, subject: str, size: int, limit: int) -> None:
        super().__init__(
            f"a message of {size} bytes for {subject} is above the server's max_payload of "
            f"{limit}: split it (a table value: into several keys), or raise the limit."
        )
        self.subject = subject
        self.size = size
        self.limit = limit


class DuplicateMemberError(JetStreamTransportError):
    """A younger process runs with this worker's member id; the older one gives way."""

    def __init__(self, member_id: str) -> None:
        super().__init__(
            f"another process joined the group as member {member_id!r}. Member ids must be "
            "unique among live workers; this worker stops."
        )
        self.member_id = member_id
