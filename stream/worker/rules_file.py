"""The identity rules file, read again when it changes."""

import logging
from pathlib import Path
from typing import Final

from stream.enrichment.errors import RulesError
from stream.enrichment.identity import NO_RULES, IdentityRules, read_rules

_log: Final = logging.getLogger("tenwatch.worker")


class RulesFile:
    """Gives the rules in force; a file that went bad changes nothing, and is named in the log."""

    def __init__(self, path: str) -> None:
        """Read the file; raises :class:`RulesError` if it can't be used. No path means no rules."""
        self._path = Path(path) if path else None
        self._seen: tuple[int, int] | None = None
        self.rules: IdentityRules = NO_RULES
        self.problem = ""
        """Why the file as it is now is not in force; empty when it is."""
        if self._path is not None:
            self._seen = self._signature()
            self.rules = read_rules(self._path)

    def check(self) -> bool:
        """Read the file if it changed; True if the rules are others now. Blocks on the disk."""
        if self._path is None:
            return False
        signature = self._signature()
        if signature == self._seen:
            return False
        self._seen = signature
        try:
            rules = read_rules(self._path)
        except RulesError as error:
            self.problem = str(error)
            _log.error("the identity rules stay as they were: %s", error)
            return False
        self.problem = ""
        changed = rules.version != self.rules.version
        self.rules = rules
        if changed:
            _log.info("identity rules %s from %s", rules.version, self._path)
        return changed

    def _signature(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino
