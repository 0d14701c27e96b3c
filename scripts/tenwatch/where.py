"""Conditions on fields of an event: ``exit_code != 0 and comm in ("gcc", "cc")``.

The text is read with Python's grammar and only these are allowed: field names, literals,
comparisons, ``in``, ``and``, ``or``, ``not``. Nothing is ever executed.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from tenwatch.errors import UsageError

Condition = Callable[[Mapping[str, Any]], Any]

_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
}
MAXIMUM_LENGTH: Final = 2000


def compile_condition(text: str) -> Condition:
    """A function from an event (a mapping) to whether it matches.

    A field that the event doesn't have is null; a comparison with null, or of values that can't
    be compared, is false (but ``x == None`` and ``x != None`` work). Raises :class:`UsageError`.
    """
    if len(text) > MAXIMUM_LENGTH:
        raise UsageError(f"the condition is longer than {MAXIMUM_LENGTH} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{text!r} is not a condition: {error}; write one like exit_code != 0"
        ) from None
    return _build(tree.body, text)


def _build(node: ast.expr, text: str) -> Condition:
    match node:
        case ast.Constant(value=value):
            return lambda event: value
        case ast.Name(id=name):
            # JSON's words work, too.
            words = {"null": None, "true": True, "false": False}
            if name in words:
                return lambda event: words[name]
            return lambda event: event.get(name)
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            parts = [_build(element, text) for element in elements]
            return lambda event: [part(event) for part in parts]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _build(operand, text)
            return lambda event: not inner(event)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return lambda event: -value
        case ast.BoolOp(op=ast.And(), values=values):
            conditions = [_build(value, text) for value in values]
            return lambda event: all(condition(event) for condition in conditions)
        case ast.BoolOp(op=ast.Or(), values=values):
            conditions = [_build(value, text) for value in values]
            return lambda event: any(condition(event) for condition in conditions)
        case ast.Compare(left=left, ops=operators, comparators=comparators):
            return _comparison(left, operators, comparators, text)
    raise UsageError(
        f"{ast.unparse(node)!r} is not allowed in a condition; use fields, literals, comparisons, "
        "in, and, or, not"
    )


def _comparison(
    left: ast.expr, operators: list[ast.cmpop], comparators: list[ast.expr], text: str
) -> Condition:
    operands = [_build(operand, text) for operand in (left, *comparators)]
    for each in operators:
        if type(each) not in _COMPARISONS:
            raise UsageError(f"'is' is not allowed in a condition; use == in {text!r}")
    compare = [_COMPARISONS[type(each)] for each in operators]
    only_equality = all(isinstance(each, ast.Eq | ast.NotEq) for each in operators)
    names_null = any(
        (isinstance(each, ast.Constant) and each.value is None)
        or (isinstance(each, ast.Name) and each.id == "null")
        for each in (left, *comparators)
    )

    def matches(event: Mapping[str, Any]) -> bool:
        values = [operand(event) for operand in operands]
        if any(value is None for value in values) and not (only_equality and names_null):
            return False
        try:
            return all(each(values[index], values[index + 1]) for index, each in enumerate(compare))
        except TypeError:
            return False

    return matches
