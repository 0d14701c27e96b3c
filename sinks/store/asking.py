"""The seam between what asks the store and how it is reached: a client, or SQL over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Asks(Protocol):
    """Whoever can run a SELECT. :class:`sinks.store.client.Client` is one."""

    def rows(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[Sequence[Any]]:
        """All rows; parameters are bound by the server to ``{name:Type}``.

        Numbers may come as text, and times in any form: statements of this package ask for whole
        numbers where it matters.
        """
