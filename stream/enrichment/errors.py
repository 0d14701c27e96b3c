"""The exceptions of enrichment."""


class EnrichmentError(Exception):
    """Base of what can go wrong in enrichment."""


class RulesError(EnrichmentError):
    """An identity rules file can't be used; the message names file, line and problem."""
