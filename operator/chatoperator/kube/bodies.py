"""Bodies of requests to the API server, and of its answers, which are read with bounds."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from chatoperator.metadata import Manifest

LINE_BYTES_MAX = 12 * 1024 * 1024
"""Of a watch's event of one object: six bytes for each of an object's, where all have to be escaped."""

ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""Of the API server's answer to one request: the largest object, with who owns which field, has a third of it."""

ERROR_BYTES_MAX = 1024 * 1024
"""Of a refusal: it may repeat a field. Of a longer one only its status is reported."""

REASON_LENGTH_MAX = 2_000
"""Characters of a refusal, which may repeat all of a field that is wrong."""

RETRY_AFTER_MAX_SECONDS = 10
"""The longest wait that an API server can require."""

_ESCAPED_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Beside what JSON escapes: control characters, line breaks, the byte order mark, no characters."""


class LineTooLongError(ValueError):
    """A line of a stream is longer than any that is expected."""


async def read_at_most(response: aiohttp.ClientResponse, bytes_max: int) -> bytes | None:
    """The whole body; None where it is larger."""
    parts: list[bytes] = []
    left = bytes_max
    async for part in response.content.iter_any():
        left -= len(part)
        if left < 0:
            # Or the connection would bring the rest before it is used again.
            response.close()
            return None
        parts.append(part)
    return b"".join(parts)


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Each line of a stream, however long up to LINE_BYTES_MAX: aiohttp's own lines end before an object may.

    Raises:
        LineTooLongError: One is longer.
    """
    begun: list[bytes] = []
    length = 0
    async for part in content.iter_any():
        *ended, rest = part.split(b"\n")
        for end in ended:
            line = b"".join([*begun, end])
            begun, length = [], 0
            if line:
                yield line
        begun.append(rest)
        length += len(rest)
        if length > LINE_BYTES_MAX:
            raise LineTooLongError(f"a line has more than {LINE_BYTES_MAX} bytes")


def as_yaml(manifest: Manifest) -> str:
    """JSON that is YAML too: YAML knows no surrogate pairs, forbids some characters as they are and folds others."""
    text = json.dumps(manifest, separators=(",", ":"), ensure_ascii=False)
    return _ESCAPED_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def reason(response: aiohttp.ClientResponse, text: bytes) -> str:
    """What the API server said, without headers and tracebacks."""
    try:
        return str(json.loads(text)["message"])[:REASON_LENGTH_MAX]
    except (TypeError, ValueError, KeyError, RecursionError):
        return f"{response.status} {response.reason}"


def retry_after(response: aiohttp.ClientResponse) -> float:
    """Seconds that the API server requires to wait; 1 where it does not say."""
    required = response.headers.get("Retry-After", "")
    return min(float(required) if required.isdecimal() else 1.0, RETRY_AFTER_MAX_SECONDS)
