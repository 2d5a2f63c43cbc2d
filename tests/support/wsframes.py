"""Frames of a WebSocket's client, good and bad."""

from __future__ import annotations

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
MASK = b"\x01\x02\x03\x04"


def frame(
    opcode: int, payload: bytes = b"", *, flags: int = FIN, masked: bool = True, length: int | None = None
) -> bytes:
    """Return a frame as RFC 6455, section 5.2, draws it.

    Args:
        opcode: what it is.
        payload: unmasked.
        flags: FIN and the reserved bits.
        masked: as every frame of a client must be.
        length: what the header claims; None: the truth.
    """
    claimed = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    if claimed < 126:
        size = bytes([bit | claimed])
    elif claimed < 2**16:
        size = bytes([bit | 126]) + struct.pack("!H", claimed)
    else:
        size = bytes([bit | 127]) + struct.pack("!Q", claimed)
    if masked:
        payload = MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))
    return bytes([flags | opcode]) + size + payload


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return the opcode and payload of each whole frame of a server, which masks none, and the bytes behind them."""
    found, at = [], 0
    while len(data) - at >= 2:
        length, start = data[at + 1], at + 2
        if length > 125:
            size = 2 if length == 126 else 8
            length, start = int.from_bytes(data[start : start + size]), start + size
        if len(data) < start + length:
            break
        found.append((data[at] & 0x0F, data[start : start + length]))
        at = start + length
    return found, data[at:]
