"""Whose work an event is: course, division, student and assignment, by rules from a file.

A rules file is YAML::

    version: 2026-autumn            # a name for people; optional
    rules:
      - name: host name of the pod  # what errors and metrics call it
        field: hostname             # what is looked at; one name or a list, see FIELDS
        kinds: [process]            # optional: only events of these kinds
        when: {namespace: '^jcode$'}  # optional: all of these fields must match, too
        pattern: '^jcode-(?P<course>[^-]+)-(?P<division>[^-]+)-(?P<student>[^-]+)'
        set: {assignment: exam}     # optional: fixed values

Named groups of ``pattern`` are the fields they fill: ``course``, ``division``, ``student`` and
``assignment``. Patterns are Python regular expressions, searched anywhere unless anchored. Rules
are tried in order; the first value found for a field stays.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from stream.contract.kinds import KINDS
from stream.enrichment.errors import RulesError

IDENTITY_FIELDS: Final = ("course", "division", "student", "assignment")
FIELDS: Final = (
    "hostname", "cgroup", "path", "cwd", "exe", "source", "namespace", "pod", "workload", "node",
)  # fmt: skip
"""What a rule can look at, besides ``label:<name>``. ``path`` is the path of a file, ``source`` the
first source of a command line, made absolute with the working folder."""
LABEL: Final = "label:"
_KEYS: Final = ("name", "field", "kinds", "when", "pattern", "set")
_MAXIMUM_BYTES: Final = 256 * 1024


class Identity(NamedTuple):
    """Whose work it is; empty where no rule says it."""

    course: str = ""
    division: str = ""
    student: str = ""
    assignment: str = ""


NOBODY: Final = Identity()
Lookup = Callable[[str], str]
"""Gives the text of a field of an event, or an empty one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled."""

    name: str
    fields: tuple[str, ...]
    pattern: re.Pattern[str]
    kinds: frozenset[str]
    when: tuple[tuple[str, re.Pattern[str]], ...]
    fixed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """All rules of one file; the same text always gives the same answers."""

    text: str
    """The file as it was read; kept with a worker's state, so that a restart reads the same."""
    version: str
    """The file's own ``version`` and a digest of its text."""
    rules: tuple[Rule, ...]

    def identify(self, kind: str, lookup: Lookup) -> Identity:
        """Try all rules on one event."""
        found: dict[str, str] = {}
        for rule in self.rules:
            if rule.kinds and kind not in rule.kinds:
                continue
            if not all(pattern.search(lookup(name)) for name, pattern in rule.when):
                continue
            for name in rule.fields:
                text = lookup(name)
                match = rule.pattern.search(text) if text else None
                if match is None:
                    continue
                for field, value in (*match.groupdict().items(), *rule.fixed):
                    if value and field not in found:
                        found[field] = value
                break
            if len(found) == len(IDENTITY_FIELDS):
                break
        return Identity(**found) if found else NOBODY


NO_RULES: Final = IdentityRules("", "none", ())


def read_rules(path: Path) -> IdentityRules:
    """Read and check a file; raises :class:`RulesError` naming file, line and problem."""
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except OSError as error:
        raise RulesError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RulesError(f"{path}: is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    return parse_rules(text, str(path))


def parse_rules(text: str, source: str) -> IdentityRules:
    """Check the text of a rules file; ``source`` is what errors call it."""
    if len(text) > _MAXIMUM_BYTES:
        raise RulesError(f"{source}: {len(text)} characters; at most {_MAXIMUM_BYTES} are read")
    return _Parser(source).parse(text)


class _Parser:
    """Turns YAML nodes into rules; nodes know their lines."""

    def __init__(self, source: str) -> None:
        self._source = source

    def parse(self, text: str) -> IdentityRules:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise RulesError(f"{self._source}: not valid YAML: {error}") from None
        if root is None:
            return NO_RULES
        top = self._mapping(root, ("version", "rules"))
        version = self._text(top["version"]) if "version" in top else ""
        if "rules" not in top:
            raise self._error(root, "has no 'rules'; give a list of them")
        digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
        rules = tuple(self._rule(each) for each in self._items(top["rules"]))
        return IdentityRules(text, f"{version}@{digest}" if version else digest, rules)

    def _rule(self, node: yaml.Node) -> Rule:
        entries = self._mapping(node, _KEYS)
        for needed in ("field", "pattern"):
            if needed not in entries:
                raise self._error(node, f"the rule has no '{needed}'")
        fields = tuple(self._field(each) for each in self._one_or_more(entries["field"]))
        pattern = self._pattern(entries["pattern"])
        fixed = self._texts(entries["set"]) if "set" in entries else {}
        for name in (*pattern.groupindex, *fixed):
            if name not in IDENTITY_FIELDS:
                raise self._error(
                    entries["pattern"],
                    f"{name!r} can't be filled; a rule fills {', '.join(IDENTITY_FIELDS)}",
                )
        if not pattern.groupindex and not fixed:
            raise self._error(
                entries["pattern"],
                "fills nothing; name a group, like (?P<student>[^-]+), or use 'set'",
            )
        return Rule(
            name=self._text(entries["name"]) if "name" in entries else ", ".join(fields),
            fields=fields,
            pattern=pattern,
            kinds=frozenset(self._kinds(entries.get("kinds"))),
            when=tuple(self._when(entries.get("when"))),
            fixed=tuple(fixed.items()),
        )

    def _kinds(self, node: yaml.Node | None) -> Iterable[str]:
        for each in self._one_or_more(node) if node is not None else ():
            name = self._text(each)
            if name not in KINDS:
                raise self._error(each, f"{name!r} is not a kind; the kinds are {', '.join(KINDS)}")
            yield name

    def _when(self, node: yaml.Node | None) -> Iterable[tuple[str, re.Pattern[str]]]:
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, "expected fields and their patterns (a mapping)")
        for key, value in node.value:
            yield self._field(key), self._pattern(value)

    def _field(self, node: yaml.Node) -> str:
        name = self._text(node)
        if name not in FIELDS and not (name.startswith(LABEL) and len(name) > len(LABEL)):
            raise self._error(
                node, f"{name!r} is not a field; use {', '.join(FIELDS)} or {LABEL}<name>"
            )
        return name

    def _pattern(self, node: yaml.Node) -> re.Pattern[str]:
        text = self._text(node)
        try:
            return re.compile(text)
        except re.error as error:
            raise self._error(node, f"the pattern {text!r} is wrong: {error}") from None

    def _texts(self, node: yaml.Node) -> dict[str, str]:
        return {name: self._text(value) for name, value in self._mapping(node, None).items()}

    def _one_or_more(self, node: yaml.Node) -> list[yaml.Node]:
        return self._items(node) if isinstance(node, yaml.SequenceNode) else [node]

    def _items(self, node: yaml.Node) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self._error(node, "expected a list")
        return list(node.value)

    def _mapping(self, node: yaml.Node, allowed: Iterable[str] | None) -> Mapping[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, "expected names and values (a mapping)")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._text(key)
            if allowed is not None and name not in allowed:
                raise self._error(key, f"{name!r} is not known; use {', '.join(allowed)}")
            if name in found:
                raise self._error(key, f"{name!r} is there twice")
            found[name] = value
        return found

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "expected a text")
        value: Any = node.value
        return str(value)

    def _error(self, node: yaml.Node, problem: str) -> RulesError:
        return RulesError(f"{self._source}:{node.start_mark.line + 1}: {problem}")
