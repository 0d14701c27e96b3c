"""What can go wrong between the log and the store."""


class SinkError(Exception):
    """Base of every error of this package."""


class StoreError(SinkError):
    """Base of what the store can answer. ``code`` is ClickHouse's number of the error, 0 if none.

    https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class StoreLockedError(StoreError):
    """Another process has the store open; chDB allows one per folder."""


class StoreAwayError(StoreError):
    """The store doesn't answer, or is busy; the same request may succeed later."""


class StoreFullError(StoreError):
    """The store can't write: no space, or a file system that is read-only."""


class RowRejectedError(StoreError):
    """A row of the insert can't be stored; nothing of the insert was."""


class SchemaError(StoreError):
    """A table or column is missing, or the migrations can't be applied."""


class QueryRefusedError(StoreError):
    """The statement itself is wrong or not allowed; repeating it doesn't help."""


class QueryFileError(SinkError):
    """A named query is unknown, or one of its parameters is missing or malformed."""


class SnapshotError(SinkError):
    """A snapshot doesn't exist, or may not be written where it was asked for."""
