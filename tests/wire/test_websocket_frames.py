import pytest

from nkfast.errors import WireError
from nkfast.wire.websocket import (
    CloseCode,
    FrameReader,
    Opcode,
    accept_key,
    encode_frame,
)

MASK = b"\x01\x02\xfe\xff"


def frame(opcode, payload, *, is_final=True, mask=MASK):
    first = (0x80 if is_final else 0) | opcode
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((first, 0xFE)) + size.to_bytes(2)
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def read(data, piece=None, message_bytes_max=1 << 20):
    reader = FrameReader(message_bytes_max)
    found = []
    piece = piece or len(data)
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
        while (message := reader.next_message()) is not None:
            found.append((message.opcode, message.payload))
    return found


@pytest.mark.parametrize("size", [0, 1, 3, 4, 125, 126, 65_535, 65_536, 100_001])
def test_messages_of_every_size_are_unmasked(size):
    payload = bytes(i % 251 for i in range(size))
    assert read(frame(1, payload) * 2) == [(Opcode.TEXT, payload)] * 2


@pytest.mark.parametrize("piece", [1, 2, 5, 100, None])
def test_pieces_make_one_message_and_control_frames_come_between(piece):
    data = (
        frame(1, b"one ", is_final=False)
        + frame(9, b"ping")
        + frame(0, b"two ", is_final=False)
        + frame(0, b"three")
        + frame(2, b"bin", is_final=False)
        + frame(0, b"ary")
        + frame(8, b"\x03\xe8")
    )
    assert read(data, piece) == [
        (Opcode.PING, b"ping"),
        (Opcode.TEXT, b"one two three"),
        (Opcode.BINARY, b"binary"),
        (Opcode.CLOSE, b"\x03\xe8"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x00",  # not masked
        b"\xc1\x80" + MASK,  # a bit of an extension
        frame(3, b""),
        frame(11, b""),
        frame(0, b""),  # continues nothing
        frame(1, b"a", is_final=False) + frame(1, b"b"),
        frame(9, b"", is_final=False),
        frame(9, b"x" * 126),
    ],
)
def test_what_breaks_the_protocol_is_refused(data):
    reader = FrameReader(1000)
    reader.feed(data)
    with pytest.raises(WireError):
        while reader.next_message() is not None:
            pass
    assert reader.close_code is CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "data", [frame(1, b"x" * 11), frame(1, b"x" * 6, is_final=False) + frame(0, b"x" * 5)]
)
def test_too_long_a_message_is_refused_by_its_own_code(data):
    reader = FrameReader(10)
    reader.feed(data)
    with pytest.raises(WireError, match="longer than 10 bytes"):
        reader.next_message()
    assert reader.close_code is CloseCode.TOO_BIG


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\0\0\0\0\0\x01\0\0"),
    ],
)
def test_frames_of_a_server_are_plain(size, head):
    payload = b"x" * size
    assert encode_frame(Opcode.TEXT, payload) == head + payload


def test_key_is_accepted_as_the_standard_shows():
    # RFC 6455, section 1.3.
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
