"""A process's class and purpose: what a program run was for.

Builds are the runs of compiler drivers, linkers and build tools; what a driver starts for itself
(``cc1``, ``as``, ``collect2``, ``ld``, Go's ``compile``) belongs to the driver's build and is not
one of its own. Runs are scripts, modules and code given to an interpreter, and users' binaries.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from stream.enrichment.command_lines import NOTHING, WorkedOn, read_build
from stream.enrichment.interpreters import read_run, read_shell
from stream.enrichment.programs import Program, Role, identify

Purpose = Literal["build", "run", "other"]


class ProcessClass(NamedTuple):
    """What a process was and what it was for."""

    name: str
    """One of :data:`stream.contract.bucket_metrics.PROCESS_CLASSES`."""
    purpose: Purpose
    """As if it had no parent; see :func:`purpose_below`."""
    sources: tuple[str, ...]
    target: str


PARTS: Final = ("compiler", "linker")
"""Classes that are one build when one of them starts another."""

_CLASS: Final[dict[Role, str]] = {
    "driver": "compiler",
    "stage": "compiler",
    "go": "compiler",
    "linker": "linker",
    "build_tool": "build_tool",
    "interpreter": "interpreter",
    "shell": "shell",
    "user": "user",
    "system": "system",
    "other": "other",
}


def classify(exe: str, argv: Sequence[str], comm: str, notebook: bool = False) -> ProcessClass:
    """Tell class, purpose, sources and target from what the kernel saw of one exec."""
    if notebook:
        return ProcessClass("interpreter", "run", (), "")
    argv = list(argv)
    program = identify(exe, argv[0] if argv else "", comm)
    purpose, work = _work(program, exe, argv)
    if not work.works:
        purpose = "other"
    return ProcessClass(_CLASS[program.role], purpose, work.sources, work.target)


def _work(program: Program, exe: str, argv: Sequence[str]) -> tuple[Purpose, WorkedOn]:
    match program.role:
        case "driver" | "linker" | "build_tool":
            return "build", read_build(program, argv)
        case "go":
            work = read_build(program, argv)
            return ("run" if "run" in argv[1:2] else "build"), work
        case "interpreter":
            return "run", read_run(program.name, argv)
        case "shell":
            return "run", read_shell(argv)
        case "user":
            return "run", WorkedOn((), exe or (argv[0] if argv else ""))
        case _:
            return "other", NOTHING


def purpose_below(own: ProcessClass, parent_class: str) -> Purpose:
    """The purpose of a process, given its parent's class.

    A compiler or linker that a compiler started (``cc1``, ``ld``, the ``gcc`` behind ``ccache`` or
    ``rustc``) is part of that build. Below a build tool each compiler is a build.
    """
    part = own.name in PARTS and parent_class in PARTS
    return "other" if part and own.purpose == "build" else own.purpose
