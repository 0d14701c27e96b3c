"""Decoding of what the kernel wrote, and of what it did not."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.base.path_text import path_bytes
from producers.process.errors import RecordError
from producers.process.record import EXEC, EXIT, RecordDecoder, split_arguments

HEAD = struct.Struct("=QQQIIIIIHHHHHHHH16s")


def write(
    *, action: int = EXEC, flags: int = 0, status: int = 0, cgroup: bytes = b"/a/b",
    hostname: bytes = b"host", argv: bytes = b"x\0y\0", argv_size: int | None = None,
    exe: bytes = b"x\0bin\0", cwd: bytes = b"home\0", comm: bytes = b"x",
) -> bytes:  # fmt: skip
    """A record as ``program.bpf.c`` writes it."""
    sections = cgroup, hostname, argv, exe, cwd
    size = len(argv) if argv_size is None else argv_size
    head = HEAD.pack(
        3000, 1000, 500, 7, 6, 1001, status, size, action, flags, *map(len, sections), 0, comm
    )
    return head + b"".join(sections)


def test_an_exec_is_decoded_field_by_field() -> None:
    record = RecordDecoder().decode(write())
    assert (record.timestamp, record.start, record.parent_start) == (3000, 1000, 500)
    assert (record.pid, record.parent_pid, record.uid) == (7, 6, 1001)
    assert (record.comm, record.cgroup, record.hostname) == ("x", "/a/b", "host")
    assert (record.argv, record.argv_truncated) == (b"x\0y\0", False)
    assert (record.exe, record.cwd) == ("/bin/x", "/home")
    assert not record.forked
    assert not record.incomplete


def test_roots_are_a_slash() -> None:
    record = RecordDecoder().decode(write(cgroup=b"", cwd=b""))
    assert (record.cgroup, record.cwd) == ("/", "/")


@given(st.integers(0, 255), st.integers(1, 126), st.booleans())
def test_the_status_is_read_as_wait_defines_it(code: int, signal: int, core: bool) -> None:
    decoder = RecordDecoder()
    by_code = decoder.decode(write(action=EXIT, status=code << 8))
    assert (by_code.exit_code, by_code.signal, by_code.core_dumped) == (code, None, False)
    status = signal | core << 7
    by_signal = decoder.decode(write(action=EXIT, status=status))
    assert (by_signal.exit_code, by_signal.signal, by_signal.core_dumped) == (None, signal, core)
    assert os.waitstatus_to_exitcode(code << 8) == by_code.exit_code
    assert os.waitstatus_to_exitcode(status) == -signal


def test_paths_that_were_cut_begin_with_dots_and_mark_the_record() -> None:
    record = RecordDecoder().decode(write(flags=2 | 4 | 8))
    assert (record.cgroup, record.exe, record.cwd) == (".../a/b", ".../bin/x", ".../home")
    assert record.incomplete


def test_only_an_exec_and_a_process_without_one_have_a_directory() -> None:
    decoder = RecordDecoder()
    ended = decoder.decode(write(action=EXIT, argv=b"", exe=b""))
    assert (ended.exe, ended.cwd) == ("", "")
    forked = decoder.decode(write(action=EXIT, flags=1, argv=b"", exe=b""))
    assert (forked.cwd, forked.forked) == ("/home", True)


def test_arguments_keep_empty_ones_and_survive_truncation() -> None:
    assert split_arguments(b"") == []
    assert split_arguments(b"\0") == [""]
    assert split_arguments(b"a\0\0b\0") == ["a", "", "b"]
    assert split_arguments(b"a\0cut of") == ["a", "cut of"]
    assert split_arguments("é".encode()[:1]) == ["\\xc3"]
    assert RecordDecoder().decode(write(argv_size=9)).argv_truncated


@given(st.lists(st.binary(max_size=20).filter(lambda each: b"\0" not in each), min_size=1))
def test_any_bytes_become_as_many_texts_that_tell_them_apart(arguments: list[bytes]) -> None:
    texts = split_arguments(b"".join(each + b"\0" for each in arguments))
    assert [path_bytes(text) for text in texts] == arguments
    for text in texts:
        text.encode("utf-8")


@given(st.binary(max_size=300))
def test_garbage_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(RecordError, match="record"):
        RecordDecoder().decode(data)


@given(st.data())
def test_a_record_of_the_wrong_length_is_refused(data: st.DataObject) -> None:
    whole = write()
    cut = data.draw(st.integers(0, len(whole) - 1))
    extra = data.draw(st.binary(min_size=1, max_size=20))
    for damaged in (whole[:cut], whole + extra):
        with pytest.raises(RecordError):
            RecordDecoder().decode(damaged)


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(RecordError, match="action is 1 or 2, got 9"):
        RecordDecoder().decode(write(action=9))


def test_remembered_texts_are_bounded() -> None:
    decoder = RecordDecoder()
    for number in range(10_000):
        name = b"%d\0" % number
        record = decoder.decode(write(cwd=name, cgroup=b"/" + name[:-1]))
        assert record.cwd == record.cgroup == f"/{number}"
    assert max(len(decoder._texts), len(decoder._paths)) <= 4096
