"""Whom an event belongs to, as one object that all its events share."""

from stream.contract.event import Enrichment


class Owner(Enrichment, eq=False, kw_only=True, omit_defaults=True):
    """The enrichment of all events of one container (or host process) of one person.

    Compared by identity, so that it is a cheap key: events with the same owner usually carry the
    same object, and two objects with the same fields mean the same owner. Never changed once made.
    """


HOST_OWNER = Owner(resolved=True)
"""A process or cgroup of the node itself, of nobody that a rule knows."""
