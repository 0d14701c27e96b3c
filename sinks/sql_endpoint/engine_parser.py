"""The engine's parser, used as one: text to tree, tree to text, text to tokens."""

import json
import re
from dataclasses import dataclass

from sinks.sql_endpoint.errors import (
    EngineError,
    StatementRefusedError,
    SyntaxRefusedError,
    from_engine,
)
from sinks.sql_endpoint.readers import EngineConnection
from sinks.sql_endpoint.syntax_tree import Node

# Parsing one statement of the allowed length takes some 100 ms and MB at worst.
_LOCK = (
    "SET max_execution_time = 10, max_memory_usage = 1000000000, max_query_size = {size}, "
    "max_ast_depth = 1000, max_ast_elements = 50000, max_parser_depth = 1000"
)
# The engine adds the query that called the parser, which is ours, not the client's.
_CALLER = re.compile(r": In scope SELECT \w+\(.*\)\. \((?P<name>[A-Z_]+)\)$", re.DOTALL)
_NOT_SERIALIZABLE = 36
_FIRST_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the engine's lexer."""

    kind: str
    """Its type, e.g. BareWord, QuotedIdentifier, OpeningRoundBracket."""
    text: str
    """Its characters."""
    end: int
    """Byte offset behind it in the UTF-8 text."""

    @property
    def word(self) -> str:
        """The word in upper case, or empty when it is not a bare word."""
        return self.text.upper() if self.kind == "BareWord" else ""


class EngineParser:
    """Calls the parser on a connection that runs nothing else meanwhile."""

    def __init__(self, connection: EngineConnection, statement_bytes: int) -> None:
        self._connection = connection
        self._bytes = statement_bytes
        self._last: tuple[str, list[Token]] = ("", [])
        # What is written back may be longer than what came in.
        self._call(_LOCK.format(size=statement_bytes * 16), {})

    def parse(self, text: str) -> Node:
        """The tree of exactly one statement; a SqlEndpointError when the text is not one."""
        try:
            answer = self._call("SELECT parseQueryToJSON({text:String})", {"text": text})
        except EngineError as error:
            if error.code == _NOT_SERIALIZABLE:
                raise StatementRefusedError(
                    f"this statement is not served: {self.first_words(text)}"
                ) from None
            raise
        try:
            tree = json.loads(answer)
        except (ValueError, RecursionError):
            raise SyntaxRefusedError(
                "the statement is nested too deeply, or has bytes that are not UTF-8; "
                "write such bytes as unhex('…')"
            ) from None
        if not isinstance(tree, dict):
            raise SyntaxRefusedError("the statement is empty")
        return tree

    def write_back(self, tree: Node) -> tuple[str, Node]:
        """The SQL of a tree, canonical, on one line; and what the parser makes of that."""
        answer = self._call(
            "SELECT formatQueryFromJSON({text:String}) AS sql, parseQueryToJSON(sql)",
            {"text": json.dumps(tree, ensure_ascii=False)},
            "JSONCompactEachRow",
        )
        sql, again = json.loads(answer)
        parsed: Node = json.loads(again)
        return sql, parsed

    def tokens(self, text: str, limit: int) -> list[Token]:
        """The first `limit` tokens that are neither space nor comment."""
        if self._last[0] != text or len(self._last[1]) < limit:
            self._last = (text, self._tokens(text, max(limit, _FIRST_TOKENS)))
        return self._last[1][:limit]

    def _tokens(self, text: str, limit: int) -> list[Token]:
        raw = text.encode()
        answer = self._call(
            "SELECT arraySlice(arrayFilter(t -> t.3 NOT IN ('Whitespace', 'Comment', "
            "'EndOfStream'), tokenizeQuery({text:String})), 1, {limit:UInt32})",
            {"text": text, "limit": str(limit)},
            "JSONCompactEachRow",
        )
        found = json.loads(answer)[0]
        return [
            Token(t["type"], raw[t["begin"] : t["end"]].decode("utf-8", "replace"), t["end"])
            for t in found
        ]

    def first_words(self, text: str) -> str:
        """The statement's first two words, for messages."""
        words = []
        for token in self.tokens(text, 2):
            if not token.word:
                break
            words.append(token.word[:40])
        return " ".join(words) or "not a statement"

    def require_length(self, text: str) -> None:
        """Refuse a statement longer than allowed."""
        length = len(text.encode("utf-8", "surrogatepass"))
        if length > self._bytes:
            raise SyntaxRefusedError(
                f"Max query size exceeded: the statement has {length} bytes, "
                f"at most {self._bytes} are served; send data as parameters"
            )

    def _call(self, sql: str, values: dict[str, str], output: str = "TSVRaw") -> bytes:
        try:
            result = self._connection.query(
                sql, output, params={name: escape(value) for name, value in values.items()}
            )
        except RuntimeError as error:
            mapped = from_engine(error)
            if isinstance(mapped, EngineError):
                mapped.message = _CALLER.sub(r". (\g<name>)", mapped.message)
            raise mapped from None
        return (result.bytes() or b"").removesuffix(b"\n")


def escape(value: str) -> str:
    """A string as the engine reads the value of a query parameter: escaped as in TSV."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
