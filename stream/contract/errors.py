"""The exceptions of the contract: what can be wrong with a subject, a header, a line or a time."""


class ContractError(ValueError):
    """Base of every violation of the contract on the wire."""


class SubjectError(ContractError):
    """A subject is not one of ours, or a token in it is not allowed."""


class HeaderError(ContractError):
    """A header of a batch is missing, malformed, or disagrees with the subject."""


class LineError(ContractError):
    """A line of a batch is not a valid event of its kind."""


class TimestampError(ContractError):
    """A time is not RFC 3339 in UTC with exactly six fractional digits."""
