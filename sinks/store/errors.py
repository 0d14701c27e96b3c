"""Sorts what the store answers into what the sink can do about it."""

from typing import Final

from sinks.errors import (
    QueryRefusedError,
    RowRejectedError,
    SchemaError,
    StoreAwayError,
    StoreError,
    StoreFullError,
)

# Numbers from src/Common/ErrorCodes.cpp of ClickHouse.
_ROW: Final = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        33,  # CANNOT_READ_ALL_DATA: the text ends inside a value
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        130,  # CANNOT_READ_ARRAY_FROM_TEXT
        131,  # TOO_LARGE_STRING_SIZE
        190,  # SIZES_OF_ARRAYS_DONT_MATCH
        247,  # UNKNOWN_ELEMENT_OF_ENUM in older servers
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        376,  # CANNOT_PARSE_UUID
        407,  # DECIMAL_OVERFLOW
        441,  # CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING
        675,  # CANNOT_PARSE_IPV4
        676,  # CANNOT_PARSE_IPV6
        691,  # UNKNOWN_ELEMENT_OF_ENUM
    }
)
_FULL: Final = frozenset(
    {
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR
        76,  # CANNOT_OPEN_FILE
        84,  # DIRECTORY_ALREADY_EXISTS left by a write that failed
        243,  # NOT_ENOUGH_SPACE
        481,  # PATH_ACCESS_DENIED
        491,  # ACCESS_DENIED of the file system
        1001,  # STD_EXCEPTION: std::filesystem says why in the text
    }
)
_AWAY: Final = frozenset(
    {
        159,  # TIMEOUT_EXCEEDED
        164,  # READONLY: the server (or endpoint) doesn't take writes now
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        252,  # TOO_MANY_PARTS
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        289,  # REPLICA_IS_NOT_IN_QUORUM
        319,  # UNKNOWN_STATUS_OF_INSERT
        394,  # QUERY_WAS_CANCELLED
        425,  # SYSTEM_ERROR
        439,  # CANNOT_SCHEDULE_TASK
        516,  # AUTHENTICATION_FAILED: the password may be on its way
        999,  # KEEPER_EXCEPTION
    }
)
_SCHEMA: Final = frozenset(
    {
        8,  # THERE_IS_NO_COLUMN
        16,  # NO_SUCH_COLUMN_IN_TABLE
        47,  # UNKNOWN_IDENTIFIER
        60,  # UNKNOWN_TABLE
        81,  # UNKNOWN_DATABASE
        218,  # TABLE_IS_DROPPED
    }
)
_FULL_TEXTS: Final = (
    "no space left",
    "errno: 28",
    "read-only file system",
    "errno: 30",
    "not enough space",
    "disk quota",
)


def store_error(message: str, code: int | None) -> StoreError:
    """The error of this package for what ClickHouse answered.

    An unknown number counts as away: it is tried again and shown in the health, for calling a
    sound row bad would lose it.
    """
    number = code or 0
    text = message.lower()
    if any(each in text for each in _FULL_TEXTS):
        return StoreFullError(message, number)
    if number in _ROW:
        return RowRejectedError(message, number)
    if number in _FULL:
        return StoreFullError(message, number)
    if number in _SCHEMA:
        return SchemaError(message, number)
    if number in _AWAY or number == 0:
        return StoreAwayError(message, number)
    if number == 62:
        return QueryRefusedError(message, number)
    return StoreAwayError(message, number)
