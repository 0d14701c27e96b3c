"""The reference says what the code says, and every command shows an example."""

import re
from pathlib import Path

import pytest

from tenwatch.reference.pages import PAGES, leaves

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
COMMANDS = dict(leaves())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_the_code_says(page: str) -> None:
    assert (FOLDER / page).read_text(encoding="utf-8") == PAGES[page](), (
        "run: python -m tenwatch.reference docs/reference"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_an_example_that_it_would_take(name: str) -> None:
    text = COMMANDS[name].help or ""
    assert "Example: " in text, f"{name} shows no example"
    example = " ".join(text.split("Example: ")[1].split("\n\n")[0].split())
    assert name in example
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", example.split(name, 1)[1]):
        assert option in options, f"the example of {name} uses {option}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_and_option_is_explained(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"
