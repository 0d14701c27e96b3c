"""What a command line worked on: its sources and its target.

Options that take the next argument as their value are listed per family of tools, from GCC's
"Option Summary", ``rustc --help -v``, ``go help build``, ``javac --help``, and the manual pages of
the interpreters.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from stream.enrichment.programs import Program


class WorkedOn(NamedTuple):
    """Sources of a build or run, all of them in order, and its target."""

    sources: tuple[str, ...]
    """Files; a response file as ``@file``. Object files only of a command that just links."""
    target: str
    """Of a build what it makes (``-o``); of a run the script, module or program that it runs."""
    works: bool = True
    """False for a command that builds or runs nothing, such as ``gcc --version``."""


NOTHING: Final = WorkedOn((), "", False)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SOURCE: Final = re.compile(
    r"\.(?:c|C|cc|cp|cpp|cxx|c\+\+|CPP|h|H|hh|hp|hpp|hxx|h\+\+|tcc|inl|i|ii|m|mi|mm|mii|s|S|sx|asm"
    r"|f|for|ftn|F|FOR|fpp|FPP|f90|f95|f03|f08|F90|F95|F03|F08|ada|adb|ads|d|di|cu|hip|rs|go|java"
    r"|kt|kts|scala|hs|lhs|ml|mli|swift|pas|pp|cs|zig|nim|proto|ll|bc)$"
)
_OBJECT: Final = re.compile(r"\.(?:o|obj|a|lo|la|so(?:\.\d+)*|dylib|lib)$")

_C_VALUES: Final = _words(
    """
    -o -I -include -imacros -D -U -MF -MT -MQ -L -l -isystem -idirafter -iquote -iprefix
    -iwithprefix -iwithprefixbefore -isysroot --sysroot -x -T -Xlinker -Xassembler -Xpreprocessor
    -Xclang -Xcompiler -Xarch_host -u -z -e -b -V -A -arch -target --target --param -aux-info
    -dumpdir -dumpbase -dumpbase-ext -specs -wrapper -mllvm -framework -rpath -soname -h -m
    -dynamic-linker -Map -gencode -ccbin -working-directory -G -J -fplugin -f
    """
)
_RUST_VALUES: Final = _words(
    """
    -o --out-dir --edition --crate-type --crate-name --emit --print --cfg --check-cfg -L -l --extern
    -C --codegen -A --allow -W --warn -D --deny -F --forbid --target --cap-lints --error-format
    --color --explain --sysroot -Z --remap-path-prefix --json --diagnostic-width
    """
)
_JAVA_COMPILER_VALUES: Final = _words(
    """
    -d -cp -classpath --class-path -sourcepath --source-path -bootclasspath --boot-class-path
    --release -source --source -target --target -encoding -h -s -p --module-path -m --module
    --module-source-path --add-modules --limit-modules --system --upgrade-module-path -processor
    -processorpath --processor-path -extdirs -endorseddirs --add-exports --add-reads -Xmaxerrs
    -Xmaxwarns -profile
    """
)
_GO_VALUES: Final = _words(
    """
    -o -p -C -asmflags -buildmode -buildvcs -compiler -covermode -coverpkg -gccgoflags -gcflags
    -installsuffix -ldflags -mod -modfile -overlay -pgo -pkgdir -tags -toolexec -exec -run -bench
    -count -timeout -cpu -parallel -coverprofile -cpuprofile -memprofile -vet -outputdir
    """
)
_GO_BUILDS: Final = _words("build install test vet generate run")
_MAKE_VALUES: Final = _words(
    "-C --directory -f --file --makefile -I --include-dir -o --old-file -W --what-if --new-file "
    "--eval -E -t --target --preset --config --parallel -D -G -S -B -A -T -p --manifest-path "
    "--features --package --bin --example --profile --color --target-dir"
)
_INFORM: Final = _words(
    "--version -version -V --help -help -h -dumpversion -dumpmachine -dumpspecs -print-search-dirs "
    "-print-multi-lib -print-sysroot -print-libgcc-file-name -v --print-search-dirs -vV -###"
)


def read_build(program: Program, argv: Sequence[str]) -> WorkedOn:
    """Read the command line of a compiler, linker or build tool."""
    arguments = argv[1:]
    if program.name in ("ccache", "sccache", "distcc"):
        arguments = argv[2:]
    if program.role == "go":
        return _read_go(arguments)
    if program.role == "build_tool":
        return _read_make(arguments)
    if program.role == "linker":
        sources, target, _ = _scan(arguments, _C_VALUES, ("-o",), _OBJECT)
        return WorkedOn(sources, target) if sources else NOTHING
    if program.name == "rustc":
        return _compiler(arguments, _RUST_VALUES, ("-o",))
    if program.name in ("javac", "kotlinc", "scalac"):
        return _compiler(arguments, _JAVA_COMPILER_VALUES, ("-d",))
    if arguments[:1] in (["-cc1"], ["-cc1as"]):
        return NOTHING
    return _compiler(arguments, _C_VALUES, ("-o", "--output"))


def _compiler(
    arguments: Sequence[str], values: frozenset[str], outputs: tuple[str, ...]
) -> WorkedOn:
    sources, target, others = _scan(arguments, values, outputs, _SOURCE)
    if not sources:
        sources = tuple(each for each in others if _OBJECT.search(each))
    if not sources and not target and all(each in _INFORM for each in arguments):
        return NOTHING
    return WorkedOn(sources, target)


def _scan(
    arguments: Sequence[str],
    values: frozenset[str],
    outputs: tuple[str, ...],
    wanted: re.Pattern[str],
) -> tuple[tuple[str, ...], str, list[str]]:
    """Sources, target, and the other arguments that are no options."""
    sources: list[str] = []
    others: list[str] = []
    target = ""
    language = ""
    position = 0
    end = len(arguments)
    while position < end:
        argument = arguments[position]
        position += 1
        if argument.startswith("@") and len(argument) > 1:
            sources.append(argument)
        elif argument in values or argument in outputs:
            value = arguments[position] if position < end else ""
            position += 1
            if argument in outputs:
                target = value
            elif argument == "-x":
                language = "" if value == "none" else value
        elif argument.startswith("-") and argument != "-":
            if argument.startswith("-o") and "-o" in outputs and _is_joined_output(argument):
                target = argument[2:]
            elif argument.startswith("-x") and len(argument) > 2 and "-x" in values:
                language = "" if argument == "-xnone" else argument[2:]
            elif any(argument.startswith(f"{each}=") for each in outputs if each[:2] == "--"):
                target = argument.partition("=")[2]
        elif language or wanted.search(argument):
            sources.append(argument)
        else:
            others.append(argument)
    return tuple(sources), target, others


def _is_joined_output(argument: str) -> bool:
    """``-oprog`` is an output; ``-openmp`` and ``-objc…`` are not."""
    return not argument.startswith(("-openmp", "-object", "-objc"))


def _read_go(arguments: Sequence[str]) -> WorkedOn:
    arguments = list(arguments)
    if arguments[:1] == ["-C"]:
        arguments = arguments[2:]
    if not arguments or arguments[0] not in _GO_BUILDS:
        return NOTHING
    _, target, named = _scan(arguments[1:], _GO_VALUES, ("-o",), _NEVER)
    if arguments[0] == "run":
        files = [each for each in named if each.endswith(".go")] or named[:1]
        return WorkedOn(tuple(files), target or (files[0] if files else ""))
    return WorkedOn(tuple(named), target)


_NEVER: Final = re.compile(r"(?!)")


def _read_make(arguments: Sequence[str]) -> WorkedOn:
    if arguments and all(each in ("--version", "-v", "--help", "-h", "-V") for each in arguments):
        return NOTHING
    files: list[str] = []
    goals: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if argument in _MAKE_VALUES:
            if argument in ("-f", "--file", "--makefile") and position < len(arguments):
                files.append(arguments[position])
            position += 1
        elif argument.startswith("-f") and len(argument) > 2:
            files.append(argument[2:])
        elif not argument.startswith("-") and "=" not in argument:
            goals.append(argument)
    return WorkedOn(tuple(files), goals[0] if goals else "")
