"""Takes secrets out of arguments before they leave the process.

Four forms are known: a value behind a name that says secret (``--password=x``, ``DB_TOKEN=x``,
``"secret": "x"``, ``--token x``), credentials in a URL, the short options of tools that take a
password (``mysql -px``, ``curl -u user:x``), and texts that are secrets by their look (a JSON web
token, a private key). Each is replaced by ``***``; what surrounds it stays. Command lines inside
one argument (``sh -c``) are looked through as well.

It guards against accidents: a password given as a bare positional argument looks like any word.
"""

import re
import shlex
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from producers.process.redaction_rules import (
    ASSIGNMENT,
    BEARER,
    HARMLESS_ENDINGS,
    HEADER,
    HINT,
    KNOWN_TOKEN,
    OPTION,
    PRIVATE_KEY,
    SECRET_PARTS,
    SECRET_WORDS,
    TOOLS,
    URL,
    VALUE,
    ToolRule,
)

MASK: Final = "***"
_NO_TOOL: Final = ToolRule()
# Command lines inside command lines: deeper than this nobody quotes.
_NESTING_LIMIT: Final = 4


class RedactionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is taken out of arguments."""

    enabled: bool = True
    """Default true: an argument list goes to everybody who may read events."""

    secret_names: list[str] = []
    """Further words that make a name secret, such as ``licence``: the value of an option or
    assignment whose name contains one is replaced. Upper and lower case, ``-``, ``_`` and ``.`` are
    the same. Default: none besides the built-in ones."""

    patterns: list[str] = []
    """Further regular expressions (Python's syntax). What the group ``secret`` matches is replaced,
    or the whole match if there is no such group. Default: none."""

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None


class Redactor:
    """Applies the rules to argument lists. It keeps no state; any thread may use it."""

    def __init__(self, settings: RedactionSettings) -> None:
        self._enabled = settings.enabled
        self._words = SECRET_WORDS + tuple(
            word for each in settings.secret_names if (word := _fold(each).replace("-", ""))
        )
        self._patterns = tuple(re.compile(pattern) for pattern in settings.patterns)
        # Nobody knows what rules of one's own may match.
        self._always = bool(settings.secret_names or self._patterns)

    def may_hold_secret(self, raw: bytes) -> bool:
        """A quick look at the arguments as the kernel gives them; False is certain."""
        if not self._enabled:
            return False
        if self._always:
            return True
        return HINT.search(raw.lower()) is not None

    def redact(self, argv: Sequence[str]) -> list[str]:
        """The arguments with every secret replaced by ``***``; as many as before."""
        return self._arguments(argv, 0) if self._enabled else list(argv)

    def _arguments(self, argv: Sequence[str], nesting: int) -> list[str]:
        result: list[str] = []
        tool, active, secret_follows = _NO_TOOL, False, False
        for argument in argv:
            # An option in the place of a value: the option before asks for its value itself.
            if secret_follows and not argument.startswith("--"):
                result.append(MASK)
                secret_follows = False
                continue
            secret_follows = False
            found = TOOLS.get(argument.rpartition("/")[2])
            if found is not None:
                tool, active = found, not found.command
            elif argument == tool.command:
                active = True
            elif active and argument in tool.separate:
                secret_follows = True
                active = not tool.once
            elif active and argument[:2] in tool.attached + tool.separate and len(argument) > 2:
                argument = argument[:2] + MASK
                active = not tool.once
            elif OPTION.fullmatch(argument) and self._is_secret(argument):
                secret_follows = True
            else:
                argument = self._text(argument)
                if nesting < _NESTING_LIMIT and len(argument.split(None, 1)) > 1:
                    argument = self._command_line(argument, nesting + 1)
            result.append(argument)
        return result

    def _command_line(self, text: str, nesting: int) -> str:
        """Redact the words of a command line within one argument, in their places."""
        try:
            words = shlex.split(text)
        except ValueError:
            words = text.split()
        for word, redacted in zip(words, self._arguments(words, nesting), strict=True):
            if word != redacted:
                text = text.replace(word, redacted)
        return text

    def _text(self, text: str) -> str:
        """One argument by itself."""
        for pattern in self._patterns:
            text = pattern.sub(_mask_group, text)
        text = PRIVATE_KEY.sub(MASK, text)
        text = KNOWN_TOKEN.sub(MASK, text)
        text = BEARER.sub(rf"\g<scheme> {MASK}", text)
        if "://" in text:
            text = URL.sub(_mask_credentials, text)
        else:
            header = HEADER.fullmatch(text)
            if header and self._is_secret(header["name"]):
                return text[: header.start("value")] + MASK
        return self._assignments(text)

    def _assignments(self, text: str) -> str:
        """Mask the values of all assignments, also of one inside another (``--from=KEY=x``)."""
        pieces: list[str] = []
        done = 0
        for name in ASSIGNMENT.finditer(text):
            value = VALUE.match(text, name.end()) if self._is_secret(name["name"]) else None
            if value and name.end() >= done and not value[0].startswith("//"):
                pieces += (text[done : value.start()], MASK)
                done = value.end()
        pieces.append(text[done:])
        return "".join(pieces)

    def _is_secret(self, name: str) -> bool:
        folded = _fold(name)
        if folded.startswith("no-") or folded.endswith(HARMLESS_ENDINGS):
            return False
        joined = folded.replace("-", "")
        return any(word in joined for word in self._words) or not SECRET_PARTS.isdisjoint(
            folded.split("-")
        )


def _fold(name: str) -> str:
    """A name in lower case, with one kind of separator."""
    return name.lower().replace("_", "-").replace(".", "-").strip("-")


def _mask_group(match: re.Match[str]) -> str:
    if "secret" not in match.re.groupindex or match["secret"] is None:
        return MASK if match[0] else ""
    start, end = (position - match.start() for position in match.span("secret"))
    return match[0][:start] + MASK + match[0][end:]


def _mask_credentials(match: re.Match[str]) -> str:
    scheme, user, password = match["scheme"], match["user"], match["password"]
    if password:
        return f"{scheme}://{user}:{MASK}@"
    # A lone user name over HTTP is a token (https://ghp_…@github.com); over ssh it is a name.
    return f"{scheme}://{MASK}@" if user and scheme.lower() in ("http", "https") else match[0]
