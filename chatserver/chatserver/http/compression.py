"""Compression of answers to GET (docs/decisions/0086).

A small answer is compressed at once, a large one in a thread. While enough threads do that, others stay uncompressed.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import zlib
from typing import TYPE_CHECKING, Final

from chatserver.http.cors import vary_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sanic.response import HTTPResponse

    from chatserver.http.context import Request

LEAST_BYTES: Final = 1400
"""Of an answer that is compressed: a smaller one is one packet with or without it."""

THREAD_BYTES: Final = 32 * 1024
"""Of an answer that a thread compresses. So many bytes take 0.3 ms, and a thread costs the event loop 0.1 ms."""

THREADS: Final = 4
"""Answers that are compressed by threads at once: 5 ms of a core each for 500 KB."""

LEVEL: Final = 1
"""JSON of rows becomes a quarter, 9 us a KB. Level 6 takes twice as long for a tenth less."""

MOST_PADDING_BYTES: Final = 100
"""Of a random length, so that the length of a compressed answer shows little (Palacios et al., 2022, on BREACH)."""

_NAME_FLAG = 0x08
_CODING = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q\s*=\s*([0-9.]+)\s*)?")


def preferred_coding(values: Iterable[str], offered: Iterable[str]) -> str | None:
    """Return the first offered coding that Accept-Encoding allows, in any of its lines (RFC 9110, section 12.5.3).

    Example:
        >>> [preferred_coding([value], ("br", "gzip")) for value in ("gzip, deflate, br", "gzip;q=0.5", "*;q=0", "")]
        ['br', 'gzip', None, None]
        >>> preferred_coding(["br;q=0, *"], ("br", "gzip"))
        'gzip'
    """
    allowed: dict[str, bool] = {}
    for value in values:
        for part in value.lower().split(","):
            found = _CODING.fullmatch(part)
            if found is not None:
                allowed[found[1]] = (found[2] or "1").strip("0.") != ""
    return next((coding for coding in offered if allowed.get(coding, allowed.get("*", False))), None)


def gzip_padded(content: bytes, padding: int) -> bytes:
    """Compress, with so many bytes of a file name that clients ignore (RFC 1952).

    Example:
        >>> short, long = gzip_padded(b"a" * 1000, 0), gzip_padded(b"a" * 1000, 50)
        >>> len(long) - len(short), zlib.decompress(long, 31) == b"a" * 1000
        (50, True)
    """
    machine = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
    made = machine.compress(content) + machine.flush()
    return made[:3] + bytes([made[3] | _NAME_FLAG]) + made[4:10] + b"x" * padding + b"\0" + made[10:]


class Compressor:
    """Compresses answers of one server."""

    def __init__(self) -> None:
        self._threads = 0

    @staticmethod
    def concerns(request: Request, response: HTTPResponse) -> bool:
        """Return whether an answer is compressed for clients that accept it.

        Only answers to GET: those with a token or a code are answers to POST. What is static has its own copies.
        """
        body = response.body
        return (
            request.method == "GET"
            and body is not None
            and len(body) >= LEAST_BYTES
            and request.path.startswith("/api/")
        )

    async def compress(self, accepted: Iterable[str], response: HTTPResponse) -> None:
        """Compress an answer that this concerns, if the client accepts it by its headers Accept-Encoding."""
        vary_by(response.headers, "Accept-Encoding")
        content = response.body
        if content is None or preferred_coding(accepted, ("gzip",)) is None:
            return
        padding = secrets.randbelow(MOST_PADDING_BYTES + 1)
        if len(content) <= THREAD_BYTES:
            response.body = gzip_padded(content, padding)
        elif self._threads < THREADS:
            self._threads += 1
            try:
                response.body = await asyncio.to_thread(gzip_padded, content, padding)
            finally:
                self._threads -= 1
        else:
            return
        response.headers["Content-Encoding"] = "gzip"
