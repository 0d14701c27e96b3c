"""What the docstring under each field of a struct says: settings, and events too."""

import ast
import inspect
import textwrap
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct


@dataclass(frozen=True, slots=True)
class FieldDocumentation:
    """One setting, for people."""

    name: str
    type: str
    default: Any
    """None of a field without one is told by ``required``."""
    required: bool
    text: str


@cache
def document(model: type[Struct]) -> tuple[str, tuple[FieldDocumentation, ...]]:
    """What a section is, and its fields in order."""
    described: dict[str, tuple[str, str]] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, Struct) and base is not Struct:
            described |= _docstrings(base)
    fields = []
    for field in msgspec.structs.fields(model):
        default = field.default
        if default is NODEFAULT and field.default_factory is not NODEFAULT:
            default = field.default_factory()
        fields.append(
            FieldDocumentation(
                field.encode_name,
                described.get(field.name, ("", ""))[0],
                None if default is NODEFAULT else default,
                default is NODEFAULT,
                described.get(field.name, ("", ""))[1],
            )
        )
    return inspect.cleandoc(model.__doc__ or ""), tuple(fields)


def _docstrings(model: type[Struct]) -> dict[str, tuple[str, str]]:
    """Type as it is written, and the text below it, by field."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(model)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found: dict[str, tuple[str, str]] = {}
    for node, following in zip(body, [*body[1:], ast.Pass()], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = " ".join(inspect.cleandoc(str(following.value.value)).split())
        found[node.target.id] = (ast.unparse(node.annotation), text)
    return found
