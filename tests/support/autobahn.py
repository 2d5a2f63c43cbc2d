"""The cases of the Autobahn test suite (25.10, which needs Python 2) for a server that echoes, as a table.

They have the suite's numbers: 1 framing, 2 pings, 3 reserved bits, 4 opcodes, 5 fragmentation, 6 UTF-8, 7 closing, 9
limits (here of the size that a frame may have), 10 what is split on its way. 12 and 13 are about compression, which is
never agreed on: a compressed frame is one with a reserved bit.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

from chatserver.protocol import MAX_FRAME_BYTES
from tests.support.wsframes import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, frame

OK, PROTOCOL_ERROR, INVALID_TEXT, TOO_LARGE = 1000, 1002, 1007, 1009
Frame = tuple[int, bytes]


@dataclass(frozen=True)
class Case:
    """What is sent, and what has to come back.

    Attributes:
        writes: the bytes, each part by itself.
        frames: that come back before the close frame; where the connection fails, some of the last may be missing.
        code: of the close frame.
    """

    writes: tuple[bytes, ...]
    frames: tuple[Frame, ...] = ()
    code: int = OK


def close(code: int | None = OK, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def octets(wire: bytes) -> tuple[bytes, ...]:
    """Return each byte by itself."""
    return tuple(bytes([byte]) for byte in wire)


def chops(wire: bytes, size: int) -> tuple[bytes, ...]:
    """Return the bytes in parts."""
    return tuple(wire[at : at + size] for at in range(0, len(wire), size))


def fragments(opcode: int, *payloads: bytes) -> tuple[bytes, ...]:
    """Return the frames of one message."""
    last = len(payloads) - 1
    return tuple(
        frame(CONTINUATION if at else opcode, payload, flags=FIN if at == last else 0)
        for at, payload in enumerate(payloads)
    )


def echoed(opcode: int, payload: bytes, *writes: bytes) -> Case:
    """Return a case of a message that comes back, after which the client closes."""
    return Case((*(writes or (frame(opcode, payload),)), close()), ((opcode, payload),))


def ways(name: str, frames: tuple[bytes, ...], back: tuple[Frame, ...], code: int = OK) -> dict[str, Case]:
    """Return a case three times: its frames one by one, byte by byte, and all at once."""
    end = (close(),) if code == OK else ()
    return {
        f"{name}, at once": Case((b"".join(frames + end),), back, code),
        f"{name}, by frames": Case(frames + end, back, code),
        f"{name}, by bytes": Case(octets(b"".join(frames + end)), back, code),
    }


SIZES = (0, 125, 126, 127, 128, 65_535, 65_536)
FRAMING = {
    f"1.{kind}.{number} {size} bytes": echoed(opcode, b"*" * size)
    for kind, opcode in ((1, TEXT), (2, BINARY))
    for number, size in enumerate(SIZES, 1)
} | {
    f"1.{kind}.8 in parts of 997 bytes": Case(
        chops(frame(opcode, b"*" * 65_536) + close(), 997), ((opcode, b"*" * 65_536),)
    )
    for kind, opcode in ((1, TEXT), (2, BINARY))
}

NO_TEXT = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
TEN = tuple(f"payload-{number}".encode() for number in range(10))
PINGS = {
    "2.1 empty": Case((frame(PING), close()), ((PONG, b""),)),
    "2.2 text": Case((frame(PING, b"Hello, world!"), close()), ((PONG, b"Hello, world!"),)),
    "2.3 no text": Case((frame(PING, NO_TEXT), close()), ((PONG, NO_TEXT),)),
    "2.4 as large as may be": Case((frame(PING, b"\xfe" * 125), close()), ((PONG, b"\xfe" * 125),)),
    "2.5 too large": Case((frame(PING, b"\xfe" * 126),), code=PROTOCOL_ERROR),
    "2.6 by bytes": Case(octets(frame(PING, b"\xfe" * 125) + close()), ((PONG, b"\xfe" * 125),)),
    "2.7 an empty pong": Case((frame(PONG), close())),
    "2.8 a pong": Case((frame(PONG, b"unsolicited"), close())),
    "2.9 a pong and a ping": Case((frame(PONG, b"x"), frame(PING, b"y"), close()), ((PONG, b"y"),)),
    **ways("2.10-11 ten", tuple(frame(PING, text) for text in TEN), tuple((PONG, text) for text in TEN)),
}

HELLO = b"Hello, world!"
GOOD, PINGED = frame(TEXT, HELLO), frame(PING)
BITS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70)
RESERVED = {
    f"3 the bits {bits:#x} in opcode {opcode}{name}": case
    for bits, opcode in itertools.product(BITS, (TEXT, BINARY, PING, PONG, CLOSE))
    for name, case in {
        "": Case((frame(opcode, flags=FIN | bits),), code=PROTOCOL_ERROR),
        **ways(
            " behind a good one",
            (GOOD, frame(opcode, HELLO, flags=FIN | bits), PINGED),
            ((TEXT, HELLO),),
            PROTOCOL_ERROR,
        ),
    }.items()
    if bits in {0x10, 0x40, 0x70} or opcode == TEXT
}
OPCODES = {
    f"4 the opcode {opcode}{name}": case
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    for name, case in {
        "": Case((frame(opcode),), code=PROTOCOL_ERROR),
        " with a payload": Case((frame(opcode, HELLO),), code=PROTOCOL_ERROR),
        **ways(" behind a good one", (GOOD, frame(opcode, HELLO), PINGED), ((TEXT, HELLO),), PROTOCOL_ERROR),
    }.items()
}

ONE, TWO = fragments(TEXT, b"fragment1", b"fragment2")
WHOLE: Frame = (TEXT, b"fragment1fragment2")
ORPHAN, ORPHAN_OPEN = frame(CONTINUATION, b"x"), frame(CONTINUATION, b"x", flags=0)
FIVE = fragments(TEXT, *(f"fragment{number}".encode() for number in range(1, 6)))
FIVE_BACK: Frame = (TEXT, b"fragment1fragment2fragment3fragment4fragment5")
FRAGMENTATION = {
    "5.1 a ping": Case(fragments(PING, b"a", b"b"), code=PROTOCOL_ERROR),
    "5.2 a pong": Case(fragments(PONG, b"a", b"b"), code=PROTOCOL_ERROR),
    "5 a close": Case(fragments(CLOSE, b"\x03\xe8", b"b"), code=PROTOCOL_ERROR),
    **ways("5.3-5 a text", (ONE, TWO), (WHOLE,)),
    **ways("5.6-8 a ping within", (ONE, frame(PING, b"p"), TWO), ((PONG, b"p"), WHOLE)),
    **ways("5.9-11 a last frame of nothing", (ORPHAN, GOOD), (), PROTOCOL_ERROR),
    **ways("5.12-14 a frame of nothing", (ORPHAN_OPEN, GOOD), (), PROTOCOL_ERROR),
    **ways("5.15 one behind a message", (ONE, TWO, ORPHAN_OPEN, GOOD), (WHOLE,), PROTOCOL_ERROR),
    **ways("5.16 two of nothing", (ORPHAN_OPEN, GOOD) * 2, (), PROTOCOL_ERROR),
    **ways("5.17 two last ones of nothing", (ORPHAN, GOOD) * 2, (), PROTOCOL_ERROR),
    **ways("5.18 two beginnings", (ONE, frame(TEXT, b"fragment2")), (), PROTOCOL_ERROR),
    **ways(
        "5.19-20 pings between five",
        (*FIVE[:2], frame(PING, b"p1"), *FIVE[2:4], frame(PING, b"p2"), FIVE[4]),
        ((PONG, b"p1"), (PONG, b"p2"), FIVE_BACK),
    ),
    **ways("5 binary", fragments(BINARY, NO_TEXT, b"", NO_TEXT), ((BINARY, NO_TEXT * 2),)),
}

MIXED = "Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!!".encode()
GREEK = "\u03ba\u1f79\u03c3\u03bc\u03b5".encode()
BEYOND = GREEK + b"\xf4\x90\x80\x80" + b"edited"
# Of Markus Kuhn's UTF-8 decoder test, as the suite has them.
TEXTS: dict[str, list[bytes]] = {
    "some": [b"hello$world", b"hello\xc2\xa2world", b"hello\xe2\x82\xacworld", b"hello\xf0\xa4\xad\xa2world", GREEK],
    "the first of each length": [b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"],
    "the last of each length": [b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"],
    "around the surrogates": [b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd"],
    "no characters": [
        chr(plane << 16 | low).encode() for plane in range(17) for low in (0xFFFE, 0xFFFF)
    ],
    "specials": [chr(point).encode() for point in range(0xFFF9, 0x10000)],
}  # fmt: skip
NO_TEXTS: dict[str, list[bytes]] = {
    "half of the last character": [GREEK[:end] for end in (1, 3, 4, 6, 8, 10)],
    "five or six bytes": [
        b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf",
    ],
    "beyond the last": [b"\xf4\x90\x80\x80", b"\xf7\xbf\xbf\xbf"],
    "a continuation of nothing": [
        *(bytes(itertools.islice(itertools.cycle(b"\x80\xbf"), size)) for size in range(1, 7)), b"\xbf",
        bytes(range(0x80, 0xC0)),
    ],
    "a beginning alone": [
        b"".join(bytes([first, 0x20]) for first in range(*bounds))
        for bounds in ((0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE))
    ],
    "the last byte missing": (MISSING := [
        b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80",
        b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf",
    ]),
    "the last bytes missing, together": [b"".join(MISSING)],
    "no byte of any": [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
    "a longer slash": [
        b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf",
    ],
    "the last that is longer": [
        b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf",
    ],
    "a longer NUL": [
        b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80",
    ],
    "a surrogate": [
        chr(point).encode(errors="surrogatepass")
        for point in (0xD800, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDF80, 0xDFFF)
    ],
    "a pair of surrogates": [
        (chr(high) + chr(low)).encode(errors="surrogatepass")
        for high in (0xD800, 0xDB7F, 0xDB80, 0xDBFF)
        for low in (0xDC00, 0xDFFF)
    ],
}  # fmt: skip


def _by_one(text: bytes) -> tuple[bytes, ...]:
    return fragments(TEXT, *octets(text))


UTF8 = {
    "6.1.1 empty": echoed(TEXT, b""),
    "6.1.2 three empty frames": echoed(TEXT, b"", *fragments(TEXT, b"", b"", b"")),
    "6.1.3 the middle one not empty": echoed(TEXT, b"middle", *fragments(TEXT, b"", b"middle", b"")),
    "6.2.1 one frame": echoed(TEXT, MIXED),
    "6.2.2 split between characters": echoed(TEXT, MIXED, *fragments(TEXT, MIXED[:12], MIXED[12:])),
    "6.2.3 split anywhere": echoed(TEXT, MIXED, *_by_one(MIXED)),
    "6.2.4 split anywhere": echoed(TEXT, GREEK, *_by_one(GREEK)),
    "6.3.1 no UTF-8": Case((frame(TEXT, GREEK + b"\xed\xa0\x80edited"),), code=INVALID_TEXT),
    "6.3.2 no UTF-8, split anywhere": Case(_by_one(GREEK + b"\xed\xa0\x80edited"), code=INVALID_TEXT),
    # The message never ends: its second frame has to be enough, and one byte of the character that is none.
    "6.4.1 in the second of three": Case(
        (frame(TEXT, BEYOND[:11], flags=0), frame(CONTINUATION, BEYOND[11:15], flags=0)), code=INVALID_TEXT
    ),
    "6.4.2 up to the byte": Case(
        (frame(TEXT, BEYOND[:12], flags=0), frame(CONTINUATION, BEYOND[12:13], flags=0)), code=INVALID_TEXT
    ),
    **{
        f"6.5-23 {name} {number}{way}": echoed(TEXT, text, *frames)
        for name, texts in TEXTS.items()
        for number, text in enumerate(texts)
        for way, frames in (("", ()), (", split anywhere", _by_one(text)))
    },
    **{
        f"6.5-23 {name} {number}{way}": Case(frames, code=INVALID_TEXT)
        for name, texts in NO_TEXTS.items()
        for number, text in enumerate(texts)
        for way, frames in (("", (frame(TEXT, text),)), (", split anywhere", _by_one(text)))
    },
}

CLOSING = {
    "7.1.1 after a message": Case((GOOD, close()), ((TEXT, HELLO),)),
    # The suite would have 1000: picows looks at the next frame before it hands one over, and refuses a second close.
    "7.1.2 twice": Case((close() + close(),), code=PROTOCOL_ERROR),
    "7.1.3 and a ping": Case((close(), PINGED)),
    "7.1.4 and a text": Case((close(), GOOD)),
    "7.1.5 within a message": Case((ONE, close(), TWO)),
    "7.1.6 behind a large message": Case((frame(TEXT, b"x" * 262_144), close(), PINGED), ((TEXT, b"x" * 262_144),)),
    "7.3.1 empty": Case((close(None),)),
    "7.3.2 half a code": Case((frame(CLOSE, b"\x03"),), code=PROTOCOL_ERROR),
    "7.3.3 a code": Case((close(),)),
    "7.3.4 a reason": Case((close(OK, b"Hello World!"),)),
    "7.3.5 a reason as long as may be": Case((close(OK, b"*" * 123),)),
    "7.3.6 a longer reason": Case((close(OK, b"*" * 124),), code=PROTOCOL_ERROR),
    "7.5.1 a reason that is no UTF-8": Case((close(OK, GREEK + b"\xed\xa0\x80edited"),), code=INVALID_TEXT),
    **{
        f"7.7 the code {code}": Case((close(code),), code=code)
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    },
    **{
        f"7.9, 7.13 the code {code}": Case((close(code),), code=PROTOCOL_ERROR)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
}

LARGEST = b"x" * MAX_FRAME_BYTES
LIMITS = {
    **{
        f"9.1-2 {size} bytes in opcode {opcode}": echoed(opcode, b"x" * size)
        for size in (65_536, 262_144, MAX_FRAME_BYTES)
        for opcode in (TEXT, BINARY)
    },
    **{
        f"9.3-4 frames of {size} bytes in opcode {opcode}": echoed(
            opcode, LARGEST, *fragments(opcode, *chops(LARGEST, size))
        )
        for size in (256, 1024, 4096, 65_536, MAX_FRAME_BYTES)
        for opcode in (TEXT, BINARY)
    },
    **{
        f"9.5-6 parts of {size} bytes": Case(
            chops(frame(TEXT, b"x" * 262_144) + close(), size), ((TEXT, b"x" * 262_144),)
        )
        for size in (64, 512, 2048)
    },
    **{
        f"9.7-8 500 messages of {size} bytes in opcode {opcode}": Case(
            (frame(opcode, b"x" * size) * 500, close()), ((opcode, b"x" * size),) * 500
        )
        for size in (0, 16, 64, 256, 1024, 4096)
        for opcode in (TEXT, BINARY)
    },
    "9 a byte too much": Case((frame(TEXT, LARGEST + b"x"),), code=TOO_LARGE),
    "9 a byte too much, in frames": Case(
        (frame(BINARY, LARGEST, flags=0), frame(CONTINUATION, b"x", flags=0)), code=TOO_LARGE
    ),
    "10.1.1 frames of 1300 bytes": echoed(TEXT, b"*" * 65_536, *fragments(TEXT, *chops(b"*" * 65_536, 1300))),
    "12-13 a compressed frame": Case((frame(TEXT, b"\xf2\x48\xcd", flags=FIN | 0x40),), code=PROTOCOL_ERROR),
}

CASES: dict[str, Case] = FRAMING | PINGS | RESERVED | OPCODES | FRAGMENTATION | UTF8 | CLOSING | LIMITS
