"""``python -m producers NAME...``: producers of this node in one process.

The same as ``tenwatch produce``, without what only a command line for people needs: a producer
must stay small.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from producers.base.runner import ExitCode, run_producer
from producers.base.settings import RunSettings
from producers.registry import GROUPS, OBSERVERS, ObserverContext, expand
from stream.settings import Configuration, SettingsError
from stream.settings.logs import start_logging


def produce(names: Sequence[str], config: Path | None) -> int:
    """Run the named producers until SIGTERM; gives the exit code.

    Raises :class:`SettingsError` for a name that is none, and for bad settings.
    """
    start_logging()
    wanted = expand(names)
    for name in wanted:
        if name not in OBSERVERS:
            raise SettingsError(
                f"{name!r} is not a producer; name some of {', '.join([*OBSERVERS, *GROUPS])}"
            )
    configuration = Configuration.load(config)
    settings = RunSettings.load(configuration, names[0] if len(names) == 1 else "-".join(wanted))
    own = os.environ.get("TENWATCH_DATA")
    context = ObserverContext(
        configuration,
        settings.node,
        Path(settings.spool.folder) / settings.name,
        [Path(own)] if own else [],
    )
    return run_producer([OBSERVERS[name](context) for name in wanted], settings)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m producers", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--config", type=Path, default=os.environ.get("TENWATCH_CONFIG"))
    arguments = parser.parse_args()
    try:
        sys.exit(produce(arguments.names, arguments.config))
    except SettingsError as error:
        print(f"producers: {error}", file=sys.stderr)
        sys.exit(ExitCode.SETTINGS)


if __name__ == "__main__":
    main()
