"""The kinds of events. A new kind is one module here and one line in ``_DEFINITIONS``."""

from typing import Final

from stream.contract.errors import ContractError
from stream.contract.event import KindDefinition
from stream.contract.kinds import (
    cgroup,
    file,
    hostpath,
    loss,
    pod,
    process,
    progress,
    snapshot,
)

_DEFINITIONS: Final = (
    file.DEFINITION,
    snapshot.DEFINITION,
    process.DEFINITION,
    hostpath.DEFINITION,
    cgroup.DEFINITION,
    pod.DEFINITION,
    progress.DEFINITION,
    loss.DEFINITION,
)

KINDS: Final[dict[str, KindDefinition]] = {each.name: each for each in _DEFINITIONS}


def kind_definition(name: str) -> KindDefinition:
    """The definition of a kind; raises :class:`ContractError` for a name that is none."""
    try:
        return KINDS[name]
    except KeyError:
        raise ContractError(
            f"{name!r} is not a kind of event; the kinds are {', '.join(KINDS)}"
        ) from None
