"""Paths as text: readable, and never two paths with one text."""

from hypothesis import given
from hypothesis import strategies as st

from producers.base.path_text import path_bytes, path_text

PATHS = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([b"\\", b"x", b"5", b"c", b"f", b"\xff", b"\xc3\xa9", b"/"])).map(
        b"".join
    ),
)


def test_plain_paths_stay_as_they_are() -> None:
    assert path_text("/home/jörg/hw1/main.c".encode()) == "/home/jörg/hw1/main.c"
    assert path_text(rb"C:\new") == r"C:\new"


def test_bytes_that_are_not_utf8_are_escaped() -> None:
    assert path_text(b"/a/\xff\xc3") == r"/a/\xff\xc3"


def test_a_name_that_looks_like_an_escape_is_told_from_the_byte() -> None:
    assert path_text(rb"\xff") == r"\x5cxff"


@given(PATHS)
def test_every_path_comes_back(path: bytes) -> None:
    text = path_text(path)
    text.encode("utf-8")
    assert path_bytes(text) == path
