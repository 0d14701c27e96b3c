"""Expected failures of the packages below, each with the exit code that a script sees.

Imported only when something has failed, so that it costs no start-up time.
"""

from producers.base.errors import ProducerError
from sinks.errors import QueryFileError, QueryRefusedError, SinkError, StoreAwayError
from stream.broker.errors import BrokerError, NotConnectedError
from stream.contract.errors import ContractError
from stream.settings import SettingsError
from stream.worker.errors import WorkerError, WorkerSettingsError
from tenwatch.errors import NotRunningError, TenwatchError, UsageError
from tenwatch.sql_client import QueryError

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (SettingsError, UsageError.exit_code),
    (WorkerSettingsError, UsageError.exit_code),
    (QueryFileError, UsageError.exit_code),
    (StoreAwayError, NotRunningError.exit_code),
    (NotConnectedError, NotRunningError.exit_code),
    (QueryRefusedError, QueryError.exit_code),
    (SinkError, TenwatchError.exit_code),
    (BrokerError, TenwatchError.exit_code),
    (ContractError, TenwatchError.exit_code),
    (WorkerError, TenwatchError.exit_code),
    (ProducerError, TenwatchError.exit_code),
)


def expected_exit_code(error: BaseException) -> int | None:
    """The exit code for an expected failure; None for a defect, which keeps its traceback."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)
