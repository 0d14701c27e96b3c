"""Imports nats-py without aiohttp, which it takes for websockets wherever it finds it.

We speak plain NATS and TLS. A producer is 12 MB smaller without aiohttp, and its start 0.1 s
shorter. Whoever needs aiohttp itself still gets it: it is only hidden while nats-py is imported.
"""

import importlib
import sys


def import_nats() -> None:
    """Import ``nats``; does nothing if that has happened before."""
    if "nats" in sys.modules:
        return
    hidden = {name: sys.modules.get(name) for name in ("aiohttp", "multidict")}
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        importlib.import_module("nats")
    finally:
        for name, module in hidden.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


import_nats()
