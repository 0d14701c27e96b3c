"""What an interpreter or a shell was told to run."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from stream.enrichment.command_lines import NOTHING, WorkedOn


class _Options(NamedTuple):
    """How one interpreter reads its command line."""

    values: frozenset[str] = frozenset()
    """Options whose value is the next argument."""
    code: str = ""
    """Letters of short options that are followed by code, and end the options."""
    long_code: frozenset[str] = frozenset()
    module: str = ""
    """Letter of the short option that names a module."""
    clusters: bool = True
    """Whether short options can be joined (``-Bc``)."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PYTHON: Final = _Options(_words("-W -X -Q --check-hash-based-pycs"), code="c", module="m")
_NODE: Final = _Options(
    _words(
        "-r --require --import --loader --experimental-loader -C --conditions --env-file --title "
        "--inspect-port --icu-data-dir --openssl-config --stack-trace-limit"
    ),
    code="ep",
    long_code=_words("--eval --print"),
    clusters=False,
)
_JAVA: Final = _Options(
    _words("-cp -classpath --class-path -p --module-path --add-modules --add-opens --add-exports"),
    clusters=False,
)
_SHELL: Final = _Options(_words("-o +o -O +O --rcfile --init-file"), code="c")
_OF_NAME: Final[dict[str, _Options]] = {
    "python": _PYTHON,
    "pypy": _PYTHON,
    "ipython": _PYTHON,
    "node": _NODE,
    "nodejs": _NODE,
    "bun": _NODE,
    "java": _JAVA,
    "perl": _Options(_words("-I -M"), code="eE"),
    "ruby": _Options(_words("-I -r -C -E"), code="e"),
    "jruby": _Options(_words("-I -r -C -E"), code="e"),
    "php": _Options(_words("-c -d -t -S -z"), code="rRBE", clusters=False),
    "lua": _Options(_words("-l"), code="e"),
    "luajit": _Options(_words("-l -j -O"), code="e"),
    "Rscript": _Options(frozenset(), code="e", clusters=False),
    "julia": _Options(
        _words("-C -J -H -p -t -L -i --project"),
        code="eE",
        long_code=_words("--eval --print"),
        clusters=False,
    ),
}
_ANY: Final = _Options()
_INFORM: Final = _words("--version -version -V -VV --help -help -h -? --list-modules")


def read_run(name: str, argv: Sequence[str]) -> WorkedOn:
    """Read the command line of an interpreter: a script, ``-m module``, ``-c code``, or nothing.

    Code is not repeated: ``-c`` gives no source and no target.
    """
    arguments = argv[1:]
    if arguments and all(each in _INFORM for each in arguments):
        return NOTHING
    if name == "java":
        return _read_java(arguments)
    if name in ("deno", "dotnet") and arguments[:1] in (["run"], ["exec"]):
        arguments = arguments[1:]
    return _read(_OF_NAME.get(name, _ANY), arguments)


def read_shell(argv: Sequence[str]) -> WorkedOn:
    """Read the command line of a shell: only a script counts as a run.

    ``sh -c`` is how programs start programs, and a shell without a script is somebody's terminal.
    """
    found = _read(_SHELL, argv[1:])
    return found if found.sources else NOTHING


def _read(options: _Options, arguments: Sequence[str]) -> WorkedOn:
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if argument == "--":
            break
        if argument == "-" or not argument.startswith(("-", "+")):
            position -= 1
            break
        if argument in options.long_code:
            return WorkedOn((), "")
        if argument in options.values:
            position += 1
            continue
        if argument.startswith("--"):
            continue
        letters = argument[1:] if options.clusters else argument[1:2]
        for index, letter in enumerate(letters):
            if letter in options.code:
                return WorkedOn((), "")
            if letter and letter == options.module:
                joined = argument[index + 2 :]
                module = joined or (arguments[position] if position < len(arguments) else "")
                return WorkedOn((), module)
            if f"-{letter}" in options.values:
                break
    if position >= len(arguments) or arguments[position] == "-":
        return WorkedOn((), "")
    script = arguments[position]
    return WorkedOn((script,), script)


def _read_java(arguments: Sequence[str]) -> WorkedOn:
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if argument in ("-jar", "-m", "--module"):
            target = arguments[position] if position < len(arguments) else ""
            return WorkedOn((target,) if argument == "-jar" and target else (), target)
        if argument in _JAVA.values:
            position += 1
        elif argument.startswith("@") and len(argument) > 1:
            return WorkedOn((argument,), "")
        elif not argument.startswith("-"):
            return WorkedOn((argument,) if argument.endswith(".java") else (), argument)
    return WorkedOn((), "")
