"""What a process was: class, purpose, sources and target of real command lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.bucket_metrics import PROCESS_CLASSES
from stream.enrichment.classes import classify, purpose_below
from stream.enrichment.programs import identify, plain_name


def look(
    exe: str, command: str | list[str], comm: str = ""
) -> tuple[str, str, tuple[str, ...], str]:
    argv = command.split() if isinstance(command, str) else command
    found = classify(exe, argv, comm or exe.rpartition("/")[2][:15])
    return found.name, found.purpose, found.sources, found.target


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("gcc", "gcc"),
        ("gcc-12", "gcc"),
        ("x86_64-linux-gnu-gcc-12", "gcc"),
        ("aarch64-linux-gnu-g++-13", "g++"),
        ("arm-none-eabi-gcc-10.3.1", "gcc"),
        ("riscv64-unknown-linux-gnu-gcc", "gcc"),
        ("x86_64-w64-mingw32-gcc-12-posix", "gcc"),
        ("avr-gcc", "gcc"),
        ("clang-14", "clang"),
        ("clang++-14", "clang++"),
        ("python3.11", "python"),
        ("python3.12d", "python"),
        ("pypy3.10", "pypy"),
        ("x86_64-linux-gnu-ld.bfd", "ld.bfd"),
        ("cc1", "cc1"),
        ("hw1", "hw1"),
        ("main-2", "main-2"),
        ("c99-wrapper", "c99-wrapper"),
        ("python3-config", "python3-config"),
    ],
)
def test_names_lose_triplet_and_version_only_where_they_are_known(name: str, plain: str) -> None:
    assert plain_name(name) == plain


@pytest.mark.parametrize(
    ("exe", "command", "sources", "target"),
    [
        ("/usr/bin/x86_64-linux-gnu-gcc-12", "gcc -O2 -Wall main.c -o main", ["main.c"], "main"),
        ("/usr/bin/x86_64-linux-gnu-gcc-12", "gcc a.c b.c -lm -o p", ["a.c", "b.c"], "p"),
        ("/usr/bin/gcc", "gcc -I include -include config.h -D X=1 -MF d.d x.c", ["x.c"], ""),
        ("/usr/bin/gcc", "gcc -ohello hello.c", ["hello.c"], "hello"),
        ("/usr/bin/gcc", "gcc -fopenmp -openmp x.c", ["x.c"], ""),
        ("/usr/bin/gcc", "gcc main.o util.o -o prog", ["main.o", "util.o"], "prog"),
        ("/usr/bin/gcc", "gcc main.c util.o -o prog", ["main.c"], "prog"),
        ("/usr/bin/gcc", "gcc @args.txt -o prog", ["@args.txt"], "prog"),
        ("/usr/bin/gcc", "gcc -x c program -o p", ["program"], "p"),
        ("/usr/bin/gcc", "gcc -xc - -o p", ["-"], "p"),
        ("/usr/bin/g++-12", "g++ -std=c++20 한글.cpp sub/x.cc", ["한글.cpp", "sub/x.cc"], ""),
        ("/opt/cross/bin/aarch64-linux-gnu-g++", "aarch64-linux-gnu-g++ k.cxx", ["k.cxx"], ""),
        ("/usr/lib/llvm-14/bin/clang", "clang -target arm-linux x.m", ["x.m"], ""),
        ("/home/u/.cargo/bin/rustc", "rustc --edition 2021 -C lto=fat a.rs -o a", ["a.rs"], "a"),
        ("/usr/lib/jvm/java-17/bin/javac", "javac -d out -cp lib A.java B.java",
         ["A.java", "B.java"], "out"),
        ("/usr/lib/go-1.21/bin/go", "go build -o srv -tags x ./cmd/srv", ["./cmd/srv"], "srv"),
        ("/usr/local/go/bin/go", "go test ./...", ["./..."], ""),
        ("/usr/bin/nvcc", "nvcc -ccbin g++ kernel.cu -o k", ["kernel.cu"], "k"),
        ("/usr/bin/gfortran-12", "gfortran x.f90", ["x.f90"], ""),
        ("/usr/bin/ccache", "ccache gcc -c x.c -o x.o", ["x.c"], "x.o"),
    ],
)  # fmt: skip
def test_every_compiler_driver_makes_a_build_with_all_its_sources(
    exe: str, command: str, sources: list[str], target: str
) -> None:
    assert look(exe, command) == ("compiler", "build", tuple(sources), target)


@pytest.mark.parametrize(
    ("exe", "command"),
    [
        ("/usr/lib/gcc/x86_64-linux-gnu/12/cc1", "cc1 -quiet main.c -o /tmp/x.s"),
        ("/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus", "cc1plus main.cc"),
        ("/usr/lib/gcc/x86_64-linux-gnu/12/collect2", "collect2 -o main main.o"),
        ("/usr/lib/llvm-14/bin/clang", "clang -cc1 -triple x86_64 main.c -o main.o"),
        ("/usr/local/go/pkg/tool/linux_amd64/compile", "compile -o x x.go"),
        ("/usr/bin/gcc", "gcc --version"),
        ("/usr/bin/gcc", "gcc -dumpmachine"),
        ("/usr/local/go/bin/go", "go env"),
    ],
)
def test_parts_of_a_build_and_questions_are_no_builds(exe: str, command: str) -> None:
    name, purpose, _, _ = look(exe, command)
    assert (name, purpose) == ("compiler", "other")


def test_a_compiler_below_a_compiler_is_part_of_its_build() -> None:
    assembler = classify("/usr/bin/as", ["as", "-o", "x.o", "/tmp/cc1.s"], "as")
    assert assembler.purpose == "build"
    assert purpose_below(assembler, "compiler") == "other"
    gcc = classify("/usr/bin/gcc", ["gcc", "main.c"], "gcc")
    assert purpose_below(gcc, "compiler") == "other"
    assert purpose_below(gcc, "build_tool") == "build"
    assert purpose_below(gcc, "shell") == "build"


def test_linkers_and_build_tools_are_classes_of_their_own() -> None:
    assert look("/usr/bin/x86_64-linux-gnu-ld.bfd", "ld a.o b.o -o p") == (
        "linker", "build", ("a.o", "b.o"), "p",
    )  # fmt: skip
    assert look("/usr/bin/make", "make -C hw1 -j4 CC=clang test") == (
        "build_tool", "build", (), "test",
    )  # fmt: skip
    assert look("/usr/bin/make", "make -f My.mk")[2] == ("My.mk",)
    assert look("/usr/bin/make", "make --version")[1] == "other"


@pytest.mark.parametrize(
    ("exe", "command", "sources", "target"),
    [
        ("/usr/bin/python3.11", "python3 hw1.py --n 3", ["hw1.py"], "hw1.py"),
        ("/usr/local/bin/python3.12", "python -u -X dev a/b.py", ["a/b.py"], "a/b.py"),
        ("/home/s/venv/bin/python", "python x.py", ["x.py"], "x.py"),
        ("/home/s/miniconda3/bin/python3.11", ["python", "-c", "print(1)"], [], ""),
        ("/usr/bin/python3.11", ["python3", "-Bc", "print(1)", "x.py"], [], ""),
        ("/usr/bin/python3.11", "python3 -m pytest tests/t.py", [], "pytest"),
        ("/usr/bin/python3.11", "python3 -um http.server", [], "http.server"),
        ("/usr/bin/python3.11", "python3", [], ""),
        ("/usr/bin/node", "node --require x server.js", ["server.js"], "server.js"),
        ("/usr/bin/node", ["node", "-e", "1"], [], ""),
        ("/usr/lib/jvm/java-17/bin/java", "java -cp out:lib Main arg", [], "Main"),
        ("/usr/lib/jvm/java-17/bin/java", "java -jar app.jar", ["app.jar"], "app.jar"),
        ("/usr/lib/jvm/java-17/bin/java", "java Hello.java", ["Hello.java"], "Hello.java"),
        ("/usr/bin/perl", "perl -I lib s.pl", ["s.pl"], "s.pl"),
        ("/usr/bin/ruby3.1", "ruby a.rb", ["a.rb"], "a.rb"),
    ],
)
def test_interpreters_run_scripts_modules_and_code(
    exe: str, command: str | list[str], sources: list[str], target: str
) -> None:
    assert look(exe, command) == ("interpreter", "run", tuple(sources), target)


def test_a_shell_script_is_a_run_and_a_shell_is_not() -> None:
    script = ("run.sh",)
    assert look("/usr/bin/bash", "bash -e run.sh") == ("shell", "run", script, "run.sh")
    assert look("/usr/bin/dash", ["sh", "-c", "gcc x.c"])[:2] == ("shell", "other")
    assert look("/usr/bin/bash", "-bash")[:2] == ("shell", "other")
    assert look("/bin/busybox", "sh run.sh") == ("shell", "run", script, "run.sh")


@pytest.mark.parametrize(
    ("exe", "argv0", "name"),
    [
        ("/home/coder/project/hw1/hw1", "./hw1", "user"),
        ("/workspace/os-1-2021/hw1/make", "./make", "user"),
        ("/tmp/a.out", "./a.out", "user"),
        ("/home/s/hw2/a.out (deleted)", "./a.out", "user"),
        ("/usr/bin/ls", "ls", "system"),
        ("/usr/lib/systemd/systemd", "systemd", "system"),
        ("/pause", "/pause", "system"),
        ("", "", "other"),
    ],
)
def test_users_binaries_are_told_from_the_systems_by_where_they_lie(
    exe: str, argv0: str, name: str
) -> None:
    found = classify(exe, [argv0] if argv0 else [], "kworker/0:1")
    assert found.name == name
    assert found.purpose == ("run" if name == "user" else "other")
    assert found.target == (exe if name == "user" else "")


def test_a_notebook_cell_is_a_run() -> None:
    assert classify("", [], "python", notebook=True)[:2] == ("interpreter", "run")


@given(
    st.text(max_size=30),
    st.lists(st.text(max_size=12) | st.sampled_from(["-o", "-x", "-c", "-m", "@", "-", "--"])),
    st.sampled_from(["gcc", "python3", "bash", "java", "go", "make", "ld", "node", "rustc", ""]),
)
def test_any_command_line_gets_a_class(exe: str, argv: list[str], name: str) -> None:
    for path in (exe, f"/usr/bin/{name}" if name else ""):
        found = classify(path, [name, *argv], name)
        assert found.name in PROCESS_CLASSES
        assert found.purpose in ("build", "run", "other")
        assert set(found.sources) <= {*argv} | {each[2:] for each in argv if each[:2] == "-f"}
        identify(path, "", name)
