"""However a forbidden name is written, it stays forbidden; however a query is, it stays itself."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sinks.sql_endpoint.attacks import REFUSALS
from tests.sinks.sql_endpoint.endpoint_process import EndpointProcess

# The server is shared on purpose: it keeps nothing between two requests.
quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

GAPS = [" ", "\n", "\t", "\r\n", "  ", "/**/", "/* file( */", "/*'*/", "-- x\n", "--'\n", "# c\n",
        "/*\n*/ ", "\u00a0", "\u2003", "\ufeff"]  # fmt: skip
ODD_GAPS = ["", "\0", "\v", "\f", "\\", ";", "'", "`", "/*", "*/", "--", "\u2028", "\u200b", "\r"]
quote = st.sampled_from(["{}", "`{}`", '"{}"'])
WORDS = [
    ("SELECT", "{name}(", "'/etc/passwd'", ")"),
    ("SELECT", "*", "FROM", "{name}(", "'/etc/passwd'", ",", "'LineAsString'", ")"),
    ("SELECT", "1", "WHERE", "'a'", "IN", "(", "SELECT", "{name}(", "'/etc/passwd'", ")", ")"),
    ("WITH", "a", "AS", "(", "SELECT", "*", "FROM", "{name}(", "'x'", ")", ")", "SELECT", "*",
     "FROM", "a"),
    ("DESCRIBE", "TABLE", "{name}(", "'/etc/passwd'", ")"),
    ("EXPLAIN", "SELECT", "*", "FROM", "{name}(", "'x'", ")"),
]  # fmt: skip
NAMES = "file url remote s3 mysql executable python sqlite merge dictGet joinGet sleep"
HEAP = (
    "SELECT FROM INTO OUTFILE FORMAT SETTINGS INSERT DROP TABLE KILL QUERY SYSTEM SET "
    "UNION ALL WITH AS ( ) , ; * 1 'a' a file('x') numbers(2) default.other processes "
    "DESCRIBE EXISTS EXPLAIN SHOW CREATE -- /* */ {x:Identifier} readonly=0 VALUES "
    "TRUNCATE PARALLEL ` \" ' \\ \n"
)


def spelled(draw: st.DrawFn, word: str) -> str:
    """The word with every letter in a case of its own, unless it is a literal."""
    if word.startswith("'"):
        return word
    return "".join(draw(st.sampled_from([c.lower(), c.upper()])) for c in word)


@st.composite
def attack(draw: st.DrawFn, gaps: list[str], ends: list[str]) -> str:
    gap = st.sampled_from(gaps)
    name = draw(st.sampled_from(NAMES.split()))
    call = draw(quote).format(spelled(draw, name))
    words = [
        word.format(name=call) if "{name}" in word else spelled(draw, word)
        for word in draw(st.sampled_from(WORDS))
    ]
    text = draw(gap)
    for word in words:
        text += word.replace("(", draw(st.sampled_from(["(", " (", "/**/(", "\n("]))) + draw(gap)
    return text + draw(st.sampled_from(ends))


@given(sql=attack(GAPS, ["", ";", "-- end", "/* end */", " FORMAT CSV", "\n;\n", "# end"]))
@quick
def test_forbidden_names_stay_refused_in_every_spelling(
    endpoint: EndpointProcess, sql: str
) -> None:
    """Each of these is good SQL, so it is refused for its name, not for its syntax."""
    answer = endpoint.ask(sql)
    assert (answer.code, answer.status) == (497, 403), (sql, answer.text)


@given(sql=attack(GAPS + ODD_GAPS, ["", ";;", "; SELECT 1", "\0", "INTO OUTFILE 'x'", "\\G"]))
@quick
def test_forbidden_names_stay_refused_in_broken_spelling(
    endpoint: EndpointProcess, sql: str
) -> None:
    answer = endpoint.ask(sql)
    # A gap may turn the rest into a comment, and then "SELECT 1" is left.
    harmless = answer.body == b"1\n" and ("--" in sql or "#" in sql or "/*" in sql)
    assert harmless or answer.code in REFUSALS, (sql, answer.status, answer.text)
    assert "root:" not in answer.text


@given(
    words=st.lists(
        st.sampled_from(HEAP.split(" ")),
        max_size=14,
    )
)
@quick
def test_no_heap_of_words_writes_or_reaches_out(
    endpoint: EndpointProcess, words: list[str]
) -> None:
    answer = endpoint.ask(" ".join(words), param_x="default")
    assert answer.status != 500 or answer.code > 0, answer.text
    assert "endpoint failed" not in answer.text
    if answer.status == 200:
        assert "in another database" not in answer.text
        assert not {"OUTFILE", "DROP", "INSERT"} & _bare_words(endpoint, answer.text, words)


def _bare_words(endpoint: EndpointProcess, result: str, words: list[str]) -> set[str]:
    """Words of a served statement that the engine itself reads as keywords of a write."""
    formatted = endpoint.ask(
        "SELECT formatQuerySingleLine({q:String})",
        param_q=" ".join(words).replace("\\", "\\\\").replace("\n", "\\n"),
    )
    first = formatted.text.split(" ", 1)[0]
    return {first.upper(), "OUTFILE" if "INTO OUTFILE" in formatted.text else ""}


@given(
    value=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")),
    number=st.integers(-(2**63), 2**64 - 1),
    real=st.floats(allow_nan=False, allow_infinity=False),
)
@quick
def test_literals_come_through_unchanged(
    endpoint: EndpointProcess, value: str, number: int, real: float
) -> None:
    """The statement runs as the engine writes it back: no literal may change on that way."""
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    answer = endpoint.ask(
        f"SELECT '{quoted}' AS a, {number} AS b, {real!r}::Float64 AS c FORMAT JSONCompactEachRow"
    )
    assert answer.status == 200, answer.text
    text, whole, broken = json.loads(answer.body)
    assert (text, whole, float(broken)) == (value, number, real)
