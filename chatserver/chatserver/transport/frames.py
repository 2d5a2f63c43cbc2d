"""What RFC 6455 says about frames, without I/O: headers, close codes, and messages that come in several."""

from __future__ import annotations

import codecs
import struct

# The first byte of a text message in one frame.
TEXT_FIN = 0x81

# Of RFC 6455, section 7.4.1.
CLOSE_OK = 1000
CLOSE_PROTOCOL_ERROR = 1002
CLOSE_INVALID_TEXT = 1007
# Those that a frame may have: registered ones, and those of libraries and applications.
PEERS_CLOSE_CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
NOT_UTF8 = "text is not UTF-8"

_UTF8 = codecs.getincrementaldecoder("utf-8")


class MessageTooLargeError(Exception):
    """The frames of a message are more together than one may be."""


class Fragments:
    """The frames of one message so far (section 5.4).

    Text that is no UTF-8 is found in the frame where it is, and not when the last one has come.

    Args:
        is_text: whether the message is text.
        most_bytes: that it may have.
    """

    __slots__ = ("_most_bytes", "_payload", "_utf8")

    def __init__(self, *, is_text: bool, most_bytes: int) -> None:
        self._payload = bytearray()
        self._most_bytes = most_bytes
        self._utf8 = _UTF8() if is_text else None

    def add(self, payload: bytes, *, is_last: bool) -> str | bytes | None:
        """Take the next frame; return the message when it is the last one.

        Raises:
            MessageTooLargeError: there is too much of it.
            UnicodeDecodeError: it is no UTF-8, whatever else may come.
        """
        self._payload += payload
        if len(self._payload) > self._most_bytes:
            raise MessageTooLargeError
        if self._utf8 is not None:
            self._utf8.decode(payload, is_last)
        if not is_last:
            return None
        return bytes(self._payload) if self._utf8 is None else self._payload.decode()


def header(length: int) -> bytes:
    """Return what goes before a whole text message of a server (RFC 6455, section 5.2).

    Example:
        >>> header(5).hex(), header(300).hex()
        ('8105', '817e012c')
    """
    if length < 126:  # noqa: PLR2004 - of the RFC
        return bytes((TEXT_FIN, length))
    if length < 1 << 16:
        return struct.pack("!BBH", TEXT_FIN, 126, length)
    return struct.pack("!BBQ", TEXT_FIN, 127, length)


def answer_to_close(payload: bytes) -> int:
    r"""Return the code to close with, which is that of the peer if it may send such a one (RFC 6455, section 7.4).

    Args:
        payload: of its close frame, of which picows has checked the length, most of the codes, and the text.

    Example:
        >>> answer_to_close(b""), answer_to_close(b"\x03\xe8bye"), answer_to_close(b"\x00\x00")
        (1000, 1000, 1002)
    """
    if not payload:
        # That there was none must not be sent.
        return CLOSE_OK
    code = int.from_bytes(payload[:2], "big")
    return code if code in PEERS_CLOSE_CODES else CLOSE_PROTOCOL_ERROR
