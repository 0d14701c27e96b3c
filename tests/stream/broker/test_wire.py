"""Messages framed by us are what the server and nats-py understand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg

from stream.broker import wire
from stream.broker.errors import BrokerError
from tests.support.nats_server import NatsServer, processed
from tests.support.polling import eventually


async def test_headers_and_payload_arrive_as_they_were(nats_server: NatsServer) -> None:
    sender, receiver = await nats_server.connect(), await nats_server.connect()
    got: list[Msg] = []

    async def keep(message: Msg) -> None:
        got.append(message)

    await receiver.subscribe("a.*", cb=keep)
    await processed(receiver)
    headers = {"Nats-Msg-Id": "n:k:b:0", "X": "väl: ue", "Empty": ""}
    payload = b"line 1\r\nPUB forged 1\r\nx\r\n"
    await wire.send(
        sender,
        wire.frame("a.b", "reply.to", wire.encode_headers(headers), payload)
        + wire.frame("a.c", "", b"", b"")
        + wire.frame("a.d", "", wire.encode_headers({"A": "1"}), b""),
    )
    await eventually(lambda: len(got) == 3, 5)
    assert (got[0].subject, got[0].reply, got[0].data, got[0].headers) == (
        "a.b", "reply.to", payload, headers,
    )  # fmt: skip
    assert (got[1].data, got[1].headers, got[2].headers) == (b"", None, {"A": "1"})
    await sender.close()
    await receiver.close()


@given(st.dictionaries(st.sampled_from(["A", "B-C", "D"]), st.text(max_size=30)))
def test_no_header_value_can_add_a_line(headers: dict[str, str]) -> None:
    try:
        block = wire.encode_headers(headers)
    except BrokerError:
        assert any(character in value for value in headers.values() for character in "\r\n")
    except UnicodeEncodeError:
        assert any(
            "\ud800" <= character <= "\udfff" for each in headers.values() for character in each
        )
    else:
        assert block.count(b"\r\n") == len(headers) + 2
        assert block.count(b"\n") == block.count(b"\r")


def test_a_line_break_in_a_header_is_refused() -> None:
    with pytest.raises(BrokerError, match="line break"):
        wire.encode_headers({"A": "x\r\nB: forged"})
