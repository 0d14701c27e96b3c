"""Conditions of ``tenwatch tap --where``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenwatch.errors import UsageError
from tenwatch.where import compile_condition

EVENT = {"exit_code": 3, "signal": None, "comm": "gcc", "argv": ["gcc", "-o", "a"], "ok": True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exit_code != 0", True),
        ("exit_code == 0", False),
        ("exit_code > 2 and comm == 'gcc'", True),
        ("comm in ('cc', 'gcc')", True),
        ("'-o' in argv", True),
        ("'-x' not in argv", True),
        ("not ok", False),
        ("signal == None", True),
        ("signal != null", False),
        ("signal > 3", False),
        ("missing == 1 or exit_code == 3", True),
        ("0 < exit_code < 4", True),
        ("exit_code < 'text'", False),
        ("exit_code == -1", False),
    ],
)
def test_a_condition_matches_fields_of_an_event(text: str, expected: bool) -> None:
    assert bool(compile_condition(text)(EVENT)) is expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "comm.__class__",
        "[x for x in argv]",
        "lambda: 1",
        "exit_code is 3",
        "f'{comm}'",
        "exit_code !",
        "",
        "(" * 500 + "1" + ")" * 500,
        "1 +" * 900,
    ],
)
def test_what_is_not_a_condition_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(UsageError):
        compile_condition(text)


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        condition = compile_condition(text)
    except UsageError:
        return
    condition(EVENT)
