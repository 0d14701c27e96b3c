"""What a shell proposes behind ``tenwatch query``; imported only when it asks."""

import os

from sinks.queries import named_queries


def questions(incomplete: str) -> list[tuple[str, str]]:
    """Names of prepared questions with their titles."""
    return [
        (query.name, query.title)
        for query in named_queries().values()
        if query.name.startswith(incomplete)
    ]


def parameters(incomplete: str) -> list[tuple[str, str]]:
    """``NAME=`` of the parameters of the prepared question on the command line, less those that
    are given already."""
    # Behind a lone -p the parser has no arguments to tell of, so the shell's own words are read.
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    words = line.split()
    queries = named_queries()
    question = next((word for word in words if word in queries), None)
    if question is None:
        return []
    taken = {word.partition("=")[0] for word in words if "=" in word and word != incomplete}
    return [
        (f"{parameter.name}=", parameter.help)
        for parameter in queries[question].parameters
        if parameter.name not in taken and f"{parameter.name}=".startswith(incomplete)
    ]
