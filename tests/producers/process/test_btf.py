"""The BTF parser: on the running kernel, on hand-made data, and on damaged data."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.process import offsets
from producers.process.btf import Btf, BtfError, UnknownTypeError

INT, POINTER, STRUCT, UNION, ENUM, TYPEDEF, CONST, PROTOTYPE = 1, 2, 4, 5, 6, 8, 10, 13


class Builder:
    """Writes BTF as include/uapi/linux/btf.h describes it."""

    def __init__(self) -> None:
        self._strings = bytearray(b"\0")
        self._types = bytearray()
        self._count = 0

    def string(self, text: str) -> int:
        at = len(self._strings)
        self._strings += text.encode() + b"\0"
        return at if text else 0

    def type(
        self, kind: int, name: str = "", size_or_type: int = 0, *,
        elements: int = 0, flag: bool = False, rest: bytes = b"",
    ) -> int:  # fmt: skip
        info = kind << 24 | elements | int(flag) << 31
        self._types += struct.pack("=III", self.string(name), info, size_or_type) + rest
        self._count += 1
        return self._count

    def structure(
        self, name: str, members: list[tuple[str, int, int]], *, kind: int = STRUCT,
        flag: bool = False,
    ) -> int:  # fmt: skip
        rest = b"".join(struct.pack("=III", self.string(n), t, bits) for n, t, bits in members)
        return self.type(kind, name, 64, elements=len(members), flag=flag, rest=rest)

    def data(self) -> bytes:
        head = struct.pack(
            "=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self._types), len(self._types), len(self._strings)
        )
        return head + bytes(self._types) + bytes(self._strings)


@pytest.fixture(scope="module")
def sample() -> bytes:
    builder = Builder()
    number = builder.type(INT, "int", 4, rest=struct.pack("=I", 32))
    inner = builder.structure("inner", [("first", number, 0), ("second", number, 32)])
    alias = builder.type(TYPEDEF, "inner_t", inner)
    qualified = builder.type(CONST, "", alias)
    anonymous = builder.structure("", [("left", number, 0), ("right", number, 0)], kind=UNION)
    builder.structure(
        "outer",
        [
            ("head", number, 0),
            ("", anonymous, 64),
            ("body", qualified, 128),
            ("after", number, 192),
        ],
    )
    builder.structure("packed", [("flag", number, 1 << 24 | 3), ("word", number, 32)], flag=True)
    builder.type(
        ENUM, "colour", 4, elements=2,
        rest=struct.pack("=IiIi", builder.string("red"), 3, builder.string("blue"), -1),
    )  # fmt: skip
    prototype = builder.type(PROTOTYPE, "", 0, elements=3, rest=struct.pack("=II", 0, number) * 3)
    pointer = builder.type(POINTER, "", prototype)
    builder.type(TYPEDEF, "handler", pointer)
    return builder.data()


def test_members_are_found_through_embedded_and_anonymous_structures(sample: bytes) -> None:
    btf = Btf(sample)
    assert btf.offset("outer.head") == 0
    assert btf.offset("outer.right") == 8
    assert btf.offset("outer.body.second") == 20
    assert btf.offset("packed.word") == 4


def test_a_renamed_member_is_found_under_either_name(sample: bytes) -> None:
    btf = Btf(sample)
    assert btf.offset("outer.before|after") == btf.offset("outer.after|before") == 24
    with pytest.raises(UnknownTypeError, match=r"outer\.gone\|lost"):
        btf.offset("outer.gone|lost")


def test_enumerators_and_argument_counts(sample: bytes) -> None:
    btf = Btf(sample)
    assert btf.enumerator("colour", "red") == 3
    assert btf.enumerator("colour", "blue") == -1
    assert btf.argument_count("handler") == 3
    with pytest.raises(UnknownTypeError):
        btf.enumerator("colour", "green")
    with pytest.raises(UnknownTypeError):
        btf.argument_count("inner_t")


@pytest.mark.parametrize("path", ["nothing.x", "inner.third", "ner.first", "inner.first.more"])
def test_what_the_kernel_does_not_have_is_told(sample: bytes, path: str) -> None:
    with pytest.raises(UnknownTypeError):
        Btf(sample).offset(path)


def test_a_bit_field_has_no_offset(sample: bytes) -> None:
    with pytest.raises(BtfError, match="bit field"):
        Btf(sample).offset("packed.flag")


def test_types_that_refer_to_themselves_are_an_error() -> None:
    builder = Builder()
    builder.type(TYPEDEF, "loop", 1)
    builder.structure("looping", [("member", 1, 0)])
    builder.structure("nested", [("", 3, 0)])
    btf = Btf(builder.data())
    with pytest.raises(BtfError):
        btf.offset("looping.member.x")
    with pytest.raises(BtfError):
        btf.offset("nested.x")


def ask_everything(data: bytes) -> None:
    """Whatever the data are: an answer or a BtfError."""
    try:
        btf = Btf(data)
    except BtfError:
        return
    for ask in (
        lambda: btf.offset("outer.body.second"),
        lambda: btf.offset("outer.right"),
        lambda: btf.offset("packed.word"),
        lambda: btf.enumerator("colour", "blue"),
        lambda: btf.argument_count("handler"),
    ):
        with contextlib.suppress(BtfError):
            assert isinstance(ask(), int)


@given(st.binary(max_size=400))
def test_garbage_is_refused(data: bytes) -> None:
    ask_everything(data)


@given(st.data())
def test_truncated_data_are_refused(sample: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(sample) - 1))
    with pytest.raises(BtfError):
        Btf(sample[:cut])


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_data_give_an_answer_or_an_error(
    sample: bytes, damage: list[tuple[int, int]]
) -> None:
    damaged = bytearray(sample)
    for at, value in damage:
        damaged[at % len(damaged)] = value
    ask_everything(bytes(damaged))


def test_the_running_kernel_has_everything_that_the_program_needs() -> None:
    macros = offsets.macros(Btf.of_running_kernel())
    assert len(macros) == len(offsets.MEMBERS) + 2
    assert macros["OFFSET_TASK_STRUCT_TGID"] == macros["OFFSET_TASK_STRUCT_PID"] + 4
    assert macros["OFFSET_MM_STRUCT_ARG_END"] == macros["OFFSET_MM_STRUCT_ARG_START"] + 8
    # struct new_utsname: sysname and nodename have 65 bytes each (include/uapi/linux/utsname.h).
    assert macros["OFFSET_UTS_NAMESPACE_NAME_NODENAME"] >= 65
    assert macros["EXIT_TELLS_GROUP_DEAD"] in (0, 1)


@settings(max_examples=10, deadline=None)
@given(st.floats(0, 1, exclude_max=True))
def test_the_kernels_own_types_cut_anywhere_are_refused(part: float) -> None:
    data = Path("/sys/kernel/btf/vmlinux").read_bytes()
    with pytest.raises(BtfError):
        Btf(data[: int(len(data) * part)])


def test_a_kernel_without_type_information_is_told(tmp_path: Path) -> None:
    with pytest.raises(BtfError, match="CONFIG_DEBUG_INFO_BTF"):
        Btf.of_running_kernel(str(tmp_path / "vmlinux"))
