"""Roles at the broker, and exactly which subjects each of them may publish and subscribe.

The embedded server and Kubernetes both take their users from here. The subject's node is the truth
of the contract, and this is what makes it so: a producer can publish only below its own node.

Every user has an inbox prefix of its own (``_INBOX_<user>``), so that nobody can read another's
replies.

What permissions can't do: a JetStream answer goes to whatever reply subject its request named, and
no permission applies to that. So a producer can have an acknowledgement sent to another node's raw
subject. It has none of the headers of a batch, so it ends as a dead letter; nothing can be forged
with it. A sink could have messages delivered to a raw subject; it is trusted that far.

Sources: docs.nats.io, "Authorization" and "JetStream wire API reference" (subjects
``$JS.API.…`` and ``$JS.ACK.…``).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stream.contract.errors import ContractError
from stream.contract.subjects import BUCKETS, DEAD, EVENTS, LOSS, RAW, TAP, escape_token

CONTENT_KIND: Final = "snapshot"
"""The kind that holds what people wrote; reading it is a permission of its own."""
WORKER_STATE: Final = "faust"
"""First token of the subjects in which workers keep their state (``prefix`` of the transport)."""
REPLAY: Final = "replay"
"""First token of the subjects of replay runs."""


class Role(StrEnum):
    """What a user of the broker is for."""

    ADMIN = "admin"
    """Creates streams, reads and writes all; for ``tenwatch up``, replay and operators."""
    PRODUCER = "producer"
    """Publishes the raw events of one node, and nothing else."""
    NOTEBOOK = "notebook"
    """Publishes the process events (cells) of one node, and what it lost of them. It lies in users'
    own pods, so it may do no more than that; who holds it can invent process events of the node."""
    WORKER = "worker"
    """Reads RAW; writes events, buckets, its state, losses and dead letters."""
    SINK = "sink"
    """Reads EVENTS, BUCKETS and DEAD; writes only its own losses and dead letters."""
    TAP = "tap"
    """Reads live events, buckets and losses; writes nothing at all."""


@dataclass(frozen=True, slots=True)
class User:
    """One user of the broker: a password in clear, or the public part of an nkey."""

    name: str
    role: Role
    password: str = ""
    """At least 22 random characters; kept in the users file, which only the server may read."""
    nkey: str = ""
    """Public nkey (``U…``) instead of a password."""
    node: str = ""
    """Of a producer or notebook: the Kubernetes node's name, not escaped."""
    content: bool = False
    """Of a tap: whether it may read file contents (kind ``snapshot``)."""

    def __post_init__(self) -> None:
        if self.role in (Role.PRODUCER, Role.NOTEBOOK) and not self.node:
            raise ContractError(f"the {self.role} user {self.name!r} names no node; give it one")
        if bool(self.password) == bool(self.nkey):
            raise ContractError(f"the user {self.name!r} needs either a password or an nkey")


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects that a user may publish and subscribe; what isn't allowed is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    deny_publish: tuple[str, ...] = ()
    deny_subscribe: tuple[str, ...] = ()


def producer_name(node: str) -> str:
    """The user name of the producers of one node."""
    return f"producer-{escape_token(node)}"


def inbox_prefix(user: str) -> str:
    """The prefix of a user's own inbox; the first token of every reply subject that it uses."""
    return f"_INBOX_{escape_token(user)}"


def permissions_of(user: User) -> Permissions:
    """What the user may do."""
    inbox = f"{inbox_prefix(user.name)}.>"
    match user.role:
        case Role.ADMIN:
            return Permissions(publish=(">",), subscribe=(">",), deny_publish=("$SYS.>",))
        case Role.PRODUCER:
            return Permissions(publish=(f"{RAW}.*.{escape_token(user.node)}",), subscribe=(inbox,))
        case Role.NOTEBOOK:
            node = escape_token(user.node)
            return Permissions(
                publish=(f"{RAW}.process.{node}", f"{RAW}.loss.{node}"), subscribe=(inbox,)
            )
        case Role.WORKER:
            return _worker(inbox)
        case Role.SINK:
            return _sink(inbox)
        case Role.TAP:
            return _tap(inbox, user.content)


def _worker(inbox: str) -> Permissions:
    """A worker makes the streams of its own state, and adds its outboxes as sources to ours.

    It may not touch RAW but for removing what it has committed, nor delete any stream of ours.
    """
    guarded = [f"$JS.API.STREAM.{action}.RAW" for action in ("CREATE", "UPDATE", "DELETE")]
    guarded += [f"$JS.API.STREAM.DELETE.{name}" for name in ("EVENTS", "BUCKETS", "DEAD")]
    return Permissions(
        publish=(
            f"{EVENTS}.*.*",
            f"{BUCKETS}.*.*",
            f"{LOSS}.*.*",
            f"{DEAD}.worker.*",
            f"{WORKER_STATE}.>",
            f"{REPLAY}.>",
            "$JS.API.INFO",
            "$JS.API.STREAM.>",
            "$JS.API.CONSUMER.>",
            "$JS.API.DIRECT.GET.>",
            "$JS.ACK.>",
        ),
        subscribe=(inbox,),
        deny_publish=(f"{LOSS}.sink.*", *guarded),
    )


def _sink(inbox: str) -> Permissions:
    publish = [f"{LOSS}.sink.*", f"{DEAD}.sink.*", "$JS.API.INFO"]
    for name in ("EVENTS", "BUCKETS", "DEAD"):
        publish += [
            f"$JS.API.STREAM.INFO.{name}",
            f"$JS.API.STREAM.MSG.GET.{name}",
            f"$JS.API.DIRECT.GET.{name}",
            f"$JS.API.DIRECT.GET.{name}.>",
            f"$JS.API.STREAM.PURGE.{name}",
            f"$JS.API.CONSUMER.CREATE.{name}",
            f"$JS.API.CONSUMER.CREATE.{name}.>",
            f"$JS.API.CONSUMER.DURABLE.CREATE.{name}.*",
            f"$JS.API.CONSUMER.INFO.{name}.*",
            f"$JS.API.CONSUMER.NAMES.{name}",
            f"$JS.API.CONSUMER.LIST.{name}",
            f"$JS.API.CONSUMER.DELETE.{name}.*",
            f"$JS.API.CONSUMER.MSG.NEXT.{name}.*",
            f"$JS.ACK.{name}.>",
        ]
    return Permissions(publish=tuple(publish), subscribe=(inbox,))


def _tap(inbox: str, content: bool) -> Permissions:
    """Plain subscriptions only.

    A consumer would need ``$JS.API.CONSUMER.MSG.NEXT``, with which a tap could take messages from
    a sink's consumer, or have them delivered to any subject.
    """
    hidden = () if content else (f"{EVENTS}.{CONTENT_KIND}.>",)
    return Permissions(
        publish=(),
        subscribe=(f"{EVENTS}.>", f"{BUCKETS}.>", f"{TAP}.>", f"{LOSS}.>", inbox),
        deny_subscribe=hidden,
    )
