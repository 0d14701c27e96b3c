"""What a program is, told from its name and place alone.

A name may carry a target triplet before it and a version behind it, as Debian, LLVM and cross
toolchains write them: ``x86_64-linux-gnu-gcc-12``, ``clang++-14``, ``python3.11``. The triplet's
forms are those of GNU config (``config.sub``).
"""

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple

Role = Literal[
    "driver",
    "stage",
    "go",
    "linker",
    "build_tool",
    "interpreter",
    "shell",
    "user",
    "system",
    "other",
]
"""What decides how a command line is read. ``stage`` is what a driver starts for itself (cc1)."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NAMES: Final[dict[Role, frozenset[str]]] = {
    "driver": _words(
        """
        gcc g++ c++ cc c89 c99 clang clang++ clang-cl gfortran gnat gdc gccgo tcc icc icpc icx icpx
        nvcc hipcc emcc em++ musl-gcc afl-gcc afl-g++ afl-clang afl-clang++ afl-clang-fast afl-cc
        ccache sccache distcc rustc javac kotlinc scalac ghc swiftc dmd ldc ocamlc ocamlopt fpc mcs
        csc nasm yasm as zig nim protoc
        """
    ),
    "stage": _words(
        """
        cc1 cc1plus cc1obj cc1objplus f951 lto1 d21 gnat1 collect2 lto-wrapper cicc ptxas fatbinary
        cudafe++ nvlink
        """
    ),
    "go": _words("go"),
    "linker": _words(
        "ld ld.bfd ld.gold ld.lld lld ld.mold mold gold ar gcc-ar llvm-ar ranlib strip objcopy"
    ),
    "build_tool": _words(
        """
        make gmake bmake remake cmake ctest ninja ninja-build samu meson cargo bazel scons waf tup
        xmake mvn gradle ant sbt dune cabal stack
        """
    ),
    "interpreter": _words(
        """
        python pypy ipython jupyter node nodejs deno bun java ruby irb jruby perl php lua luajit
        tclsh Rscript R julia octave guile racket sbcl clisp elixir erl escript beam.smp ocaml
        groovy dotnet mono wish expect gawk mawk awk
        """
    ),
    "shell": _words("sh bash dash zsh ksh mksh ash fish csh tcsh rbash yash"),
}
_ROLE_OF: Final[dict[str, Role]] = {name: role for role, names in _NAMES.items() for name in names}
_GO_STAGES: Final = _words("compile asm link cgo buildid vet pack cover")
_MULTI_CALL: Final = _words("busybox toybox coreutils")
_TRIPLET_START: Final = re.compile(
    r"""
    (?:x86_64|i[3-7]86|amd64|arm\w*|aarch64\w*|riscv\d+\w*|powerpc\w*|ppc\w*|s390x?|mips\w*|sparc\w*
    |loongarch\d+|alpha\w*|hppa\w*|ia64|m68k|sh\d\w*|avr|msp430\w*|xtensa\w*|wasm\d+|bpf|or1k|nios2
    |microblaze\w*|rx|v850|h8300|arc\w*|csky|nvptx\w*|amdgcn)-
    """,
    re.VERBOSE,
)
_VERSION: Final = re.compile(r"(?:-?\d+(?:\.\d+)*)?(?:-posix|-win32|d|-dbg)?$")
_SYSTEM_FOLDERS: Final = (
    "/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/opt/", "/snap/",
    "/nix/store/", "/gnu/store/", "/var/lib/", "/run/", "/etc/",
)  # fmt: skip
_TOOL_FOLDERS: Final = ("/bin", "/sbin", "/libexec")
_PAUSE: Final = "/pause"
"""What keeps a pod's namespaces; part of the system in every pod."""
_DELETED: Final = " (deleted)"


class Program(NamedTuple):
    """One program: its plain name, and the role in which it runs."""

    name: str
    """Without folder, triplet and version: ``gcc``, ``python``."""
    role: Role


@lru_cache(maxsize=8192)
def plain_name(file_name: str) -> str:
    """The name without triplet and version: ``aarch64-linux-gnu-g++-13`` → ``g++``.

    A name that isn't known without them stays as it is (``hw1``).
    """
    candidate = file_name
    while True:
        if candidate in _ROLE_OF:
            return candidate
        unversioned = _VERSION.sub("", candidate)
        if unversioned in _ROLE_OF:
            return unversioned
        if candidate is file_name and not _TRIPLET_START.match(candidate):
            return file_name
        _, dash, candidate = candidate.partition("-")
        if not dash:
            return file_name


@lru_cache(maxsize=16384)
def identify(exe: str, argv0: str, comm: str) -> Program:
    """Tell what runs. ``exe`` (what the kernel ran) counts more than what it calls itself.

    Any of the three may be empty. Nothing is asked of the file system, so the answer is always the
    same. Outside the system's folders a known name counts only inside a ``bin``: a student's own
    ``hw1/make`` is a user's program, ``~/miniconda3/bin/python3.11`` is Python.
    """
    path = (exe or argv0).removesuffix(_DELETED)
    folder, slash, file_name = path.rpartition("/")
    name = plain_name(file_name or comm)
    if name in _MULTI_CALL:
        name = plain_name(argv0.rpartition("/")[2].removeprefix("-"))
    if name in _GO_STAGES and "/pkg/tool/" in path:
        return Program(name, "stage")
    in_system = path.startswith(_SYSTEM_FOLDERS) or path == _PAUSE
    known = _ROLE_OF.get(name)
    if known is not None and (in_system or not slash or folder.endswith(_TOOL_FOLDERS)):
        return Program(name, known)
    if not slash:
        return Program(name, "other")
    return Program(file_name, "system" if in_system else "user")
