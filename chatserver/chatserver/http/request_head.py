"""The head of an HTTP/1 request: what RFC 9112 allows and nothing else, without I/O.

Two readers that disagree about where a request ends, or for whom it is, are how one client's request becomes another's
(request smuggling). So whatever can be read in two ways is rejected, not repaired.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import msgspec

from chatserver.errors import BadRequest, MethodNotAllowed, TooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_REQUEST_LINE: Final = re.compile(rf"({_WORD}) ([!-~]++) HTTP/(1\.[01])(?=\r\n|\Z)")
# No space before the colon, no folded line, no NUL, CR or LF in a value (RFC 9112, sections 5.1 and 5.2).
_FIELD_LINE: Final = re.compile(rf"\r\n({_WORD}):[\t ]*+([\t -~\x80-\xff]*+)")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TRAILERS: Final = re.compile(rf"(?:\r\n{_WORD}:[\t -~\x80-\xff]*+)*+".encode())
_ABSOLUTE: Final = re.compile(r"https?://([^/?]*)(.*)", re.IGNORECASE)
# A name or an address, and a port: what HAProxy takes too.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LENGTH: Final = re.compile(r"[0-9]+")
_MOST_LENGTH_DIGITS: Final = 15
_LONE_LF: Final = re.compile(rb"(?<!\r)\n")

_CHUNK: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t -~\x80-\xff]*)?\r\n")

_CRLF: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
CHUNK_LINE_MAX_BYTES: Final = 1024
"""Of the line before a chunk, with its extensions, which nobody uses."""

# Those that decide about the connection and the body, of which there may be several lines.
_DECIDING: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"},
)


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """What a request's head says.

    Attributes:
        method: as it was written: the case of its letters counts.
        target: path and query.
        version: ``1.0`` or ``1.1``.
        fields: names in lower case, and values.
        length: bytes of the body; None: it comes in chunks.
        keep_alive: whether the client would use the connection for another request.
        expects_continue: whether it waits for 100 before it sends the body.
        upgrades: whether it requests a WebSocket.
    """

    method: str
    target: str
    version: str
    fields: list[tuple[str, str]]
    length: int | None
    keep_alive: bool
    expects_continue: bool
    upgrades: bool


def find_head_end(received: bytearray, searched: int, most_bytes: int) -> int:
    """Return where the first head ends; -1 when it has not arrived yet.

    Empty lines before it are deleted: they do not count (RFC 9112, section 2.2).

    Args:
        received: so far.
        searched: bytes in which the end was not found before.
        most_bytes: allowed for a head.

    Raises:
        BadRequest: a line ends with LF alone.
        TooLarge: the head is too long.
    """
    while received.startswith(_CRLF):
        del received[:2]
        searched = 0
    end = received.find(_END, max(0, searched - 3))
    if (len(received) if end < 0 else end) >= most_bytes:
        raise TooLarge
    if end < 0 and is_cut_short(received):
        raise BadRequest("A line ends with LF alone; each ends with CRLF.")
    return end


def is_cut_short(received: bytes | bytearray) -> bool:
    """Return whether lines that came so far end with LF alone, so that the end of the head would never come."""
    return _LONE_LF.search(received) is not None


def read_head(head: bytes) -> RequestHead:
    """Return what a request's head says.

    Args:
        head: without the empty line that ends it.

    Raises:
        BadRequest: it is no HTTP/1.1 or 1.0, or can be read in two ways.
        MethodNotAllowed: it is `OPTIONS *`.
        TooLarge: the body has more digits of bytes than any limit.
    """
    # Latin-1 takes each byte as it is: what is compared with it is ASCII.
    text = head.decode("latin-1")
    line = _REQUEST_LINE.match(text)
    if line is None:
        raise BadRequest("The first line is not a method, an address and HTTP/1.1 with one space between them.")
    lines = _FIELD_LINE.findall(text, line.end())
    # Each line end begins a header, and nothing is between a value and the next line end.
    if not len(lines) == text.count("\n") == text.count("\r") or _CONTROL.search(text):
        raise BadRequest("A header is not a name, a colon and a value on one line.")
    method, target, version = line.groups()
    fields = [(name.lower(), value.rstrip(" \t")) for name, value in lines]
    deciding: dict[str, list[str]] = {}
    for name, value in fields:
        if name in _DECIDING:
            deciding.setdefault(name, []).append(value)
    authority, target = _origin_form(method, target)
    host = _host(deciding.get("host", ()), version, authority)
    if host is not None and "host" not in deciding:
        fields.append(("host", host))
    options = tokens(deciding["connection"]) if "connection" in deciding else ()
    return RequestHead(
        method,
        target,
        version,
        fields,
        _length(deciding.get("content-length", ()), deciding.get("transfer-encoding", ()), version),
        "close" not in options and (version == "1.1" or "keep-alive" in options),
        "expect" in deciding and version != "1.0" and _expects_continue(deciding["expect"]),
        method == "GET" and "upgrade" in deciding and "websocket" in tokens(deciding["upgrade"]),
    )


def tokens(values: Sequence[str]) -> list[str]:
    """Return the members of a list that may be spread over several lines, in lower case (RFC 9110, section 5.3).

    Example:
        >>> tokens(["keep-alive", "Upgrade, , x"])
        ['keep-alive', 'upgrade', 'x']
    """
    return [member for value in values for part in value.split(",") if (member := part.strip(" \t").lower())]


def read_chunk(line: bytes | bytearray) -> int:
    """Return the bytes of a chunk.

    Args:
        line: what is in front of them, from the CRLF that ends what was before to its own.

    Raises:
        ValueError: it is no hexadecimal number, or more follows than an extension.
    """
    found = _CHUNK.fullmatch(line)
    if found is None:
        raise ValueError("no chunk")
    return int(found[1], 16)


def check_chunk(received: bytearray, trailers_max_bytes: int) -> bool:
    """Leave nothing of what comes before a chunk's bytes but their number, and nothing of trailers.

    Args:
        received: from the CRLF that ends what was before the chunk.
        trailers_max_bytes: allowed for trailers.

    Returns:
        False when more has to arrive first.

    Raises:
        TooLarge: the line before the chunk, or the trailers.
        ValueError: this is not a chunk, or its trailers are not header lines.
    """
    line_end = _find(received, _CRLF, 2, CHUNK_LINE_MAX_BYTES)
    if line_end < 0:
        return False
    size = read_chunk(received[: line_end + 2])
    if size == 0:
        end = _find(received, _END, line_end, line_end + trailers_max_bytes)
        if end < 0:
            return False
        if not _TRAILERS.fullmatch(received[line_end:end]):
            raise ValueError("not trailers")
        # Nothing here reads them, and they may be dropped (RFC 9110, section 6.5.1).
        del received[line_end:end]
    received[:line_end] = b"\r\n%x" % size
    return True


def _find(received: bytearray, end: bytes, start: int, most_bytes: int) -> int:
    found = received.find(end, start)
    if (len(received) if found < 0 else found) > most_bytes:
        raise TooLarge
    return found


def _origin_form(method: str, target: str) -> tuple[str | None, str]:
    """Return the authority, if the address has one, and its path and query."""
    authority = None
    if not target.startswith("/") and (absolute := _ABSOLUTE.fullmatch(target)) is not None:
        authority, target = absolute.groups()
        if not target.startswith("/"):
            target = "/" + target
    if target == "*" and method == "OPTIONS":
        raise MethodNotAllowed
    if not target.startswith("/") or target.startswith("//"):
        raise BadRequest("The address does not begin with one slash. This server is not a proxy.")
    if "#" in target:
        raise BadRequest("The address has a fragment, which is for the client alone.")
    if "%" in target:
        _check_escapes(target)
    return authority, target


def _check_escapes(target: str) -> None:
    if _BAD_ESCAPE.search(target):
        raise BadRequest("The address has a % without two hexadecimal digits after it. Write % as %25.")
    path, _, query = target.partition("?")
    if "%00" in path:
        raise BadRequest("The address has a NUL in its path.")
    try:
        unquote_to_bytes(path).decode()
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise BadRequest("The address has percent-encoded bytes that are not UTF-8.") from None


def _host(hosts: Sequence[str], version: str, authority: str | None) -> str | None:
    """Return whom the request is for; None: an HTTP/1.0 client did not say."""
    if len(hosts) > 1:
        raise BadRequest("There is more than one Host header.")
    if not hosts and version == "1.1":
        raise BadRequest("There is no Host header.")
    host = hosts[0] if hosts else authority
    if host is None:
        return None
    if not _HOST.fullmatch(host):
        raise BadRequest("The Host header is not a host name or address, with or without a port.")
    if authority is not None and authority.lower() != host.lower():
        raise BadRequest("The address names another host than the Host header.")
    return host


def _length(lengths: Sequence[str], codings: Sequence[str], version: str) -> int | None:
    """Return the bytes of the body (RFC 9112, section 6.3); None: it comes in chunks."""
    if codings:
        if lengths:
            raise BadRequest("There are both Content-Length and Transfer-Encoding.")
        if len(codings) > 1 or codings[0].lower() != "chunked" or version == "1.0":
            raise BadRequest("The only supported Transfer-Encoding is chunked, in HTTP/1.1.")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadRequest("Content-Length is not one whole number.")
    if len(lengths[0]) > _MOST_LENGTH_DIGITS:
        raise TooLarge
    return int(lengths[0])


def _expects_continue(expectations: Sequence[str]) -> bool:
    members = set(tokens(expectations))
    if not members <= {"100-continue"}:
        raise BadRequest("The only supported Expect is 100-continue.")
    return bool(members)
