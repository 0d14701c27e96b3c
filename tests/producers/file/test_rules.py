"""Which files are reported."""

import pytest

from producers.file.rules import Rules
from producers.file.settings import FileSettings

DEFAULTS = FileSettings()


def rules(include=("*",), exclude=(), snapshots=()) -> Rules:
    return Rules(include, exclude, snapshots)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.c", b"main.c", True),
        ("*.c", b"deep/down/main.c", True),
        ("*.c", b"main.cpp", False),
        ("hw*/*.c", b"hw1/main.c", True),
        ("hw*/*.c", b"hw1/src/main.c", False),
        ("hw*/**/*.c", b"hw1/main.c", True),
        ("hw*/**/*.c", b"hw1/a/b/main.c", True),
        ("hw*/**", b"hw1/a/b/any", True),
        ("/main.c", b"main.c", True),
        ("/main.c", b"sub/main.c", False),
        ("**/test/*.py", b"test/a.py", True),
        ("**/test/*.py", b"x/y/test/a.py", True),
        ("?.c", b"a.c", True),
        ("?.c", "é.c".encode(), True),
        ("?.c", b"ab.c", False),
        ("[ab].c", b"b.c", True),
        ("[!ab].c", b"b.c", False),
        ("[a-c]*", b"x", False),
        ("a.b", b"axb", False),
        ("*", b"new\nline", True),
        ("*.c", b"\xff.c", True),
        ("[", b"[", True),
        ("a+(b)", b"a+(b)", True),
    ],
)
def test_patterns(pattern: str, path: bytes, expected: bool) -> None:
    assert rules(include=(pattern,)).reports(path) is expected


def test_an_excluded_folder_hides_all_beneath() -> None:
    found = rules(exclude=("node_modules", "build/out"))
    assert not found.enters(b"x/node_modules/y/z")
    assert not found.reports(b"node_modules/main.c")
    assert not found.reports(b"build/out/a/b.c")
    assert found.reports(b"out/b.c")
    assert found.enters(b"")


def test_an_excluded_file_is_left_out_by_name() -> None:
    assert not rules(exclude=("*.swp",)).reports(b"a/.main.c.swp")


def test_files_that_hold_secrets_are_not_published_by_default() -> None:
    found = Rules(DEFAULTS.include, DEFAULTS.exclude, DEFAULTS.snapshot_include)
    for name in (b".env", b"id_rsa", b"server.pem", b"a/credentials.json", b".netrc"):
        assert not found.publishes_content(name)
    assert found.publishes_content(b"hw1/main.c")


def test_homework_as_the_web_ide_lays_it_out() -> None:
    found = rules(include=("*-*-*/hw[0-9]*/**/*.c", "*-*-*/hw[0-9]*/**/*.py"))
    assert found.reports(b"os-1-2020123/hw1/main.c")
    assert found.reports(b"os-1-2020123/hw21/a/b/c/main.py")
    assert not found.reports(b"os-1-2020123/notes/main.c")
    assert not found.reports(b"os-1/hw1/main.c")
