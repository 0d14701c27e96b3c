"""Logs of the roles: one line each on stderr, in UTC."""

import logging
import time


def start_logging() -> None:
    """Log from INFO on. Libraries speak only when something is wrong."""
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("tenwatch").setLevel(logging.INFO)
