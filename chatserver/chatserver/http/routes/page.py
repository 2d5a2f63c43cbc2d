"""The web client at ``/``: a folder's files, listed once, so that no path of a request reaches the file system."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sanic.response import HTTPResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from chatserver.http.context import App, Request

SECURITY_HEADERS = {
    # The page's scripts, styles and sockets are its own; inline code is none of ours. `data:` is for small pictures.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: https:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # Checked again each time: a rollout's page must match its server.
    "Cache-Control": "no-cache",
}
# Python's table differs from version to version and machine to machine.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}


def is_named(etag: str, values: Iterable[str]) -> bool:
    """Return whether If-None-Match names a tag, in one of its lines (RFC 9110, section 13.1.2).

    A proxy that compresses answers makes their tags weak, which does not count here.

    Example:
        >>> [is_named('"a"', [value]) for value in ('"b", W/"a"', "*", '"A"')]
        [True, True, False]
    """
    tags = [tag.strip().removeprefix("W/") for value in values for tag in value.split(",")]
    return etag in tags or "*" in tags


class StaticContent:
    """Bytes that are the same for everybody while the process runs.

    Args:
        content: the body.
        content_type: of it.
        headers: of each answer.
    """

    def __init__(self, content: bytes, content_type: str, headers: Mapping[str, str] = SECURITY_HEADERS) -> None:
        self._content = content
        self._content_type = content_type
        self._etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        self._headers = {**headers, "ETag": self._etag}

    async def answer(self, request: Request) -> HTTPResponse:
        """Answer with the content, or 304 to a client that has it."""
        if is_named(self._etag, request.headers.getall("if-none-match", [])):
            return HTTPResponse(None, 304, self._headers)
        return HTTPResponse(self._content, 200, self._headers, self._content_type)


def add_routes(app: App, web_root: Path | None) -> None:
    """Route the folder's files, ``index.html`` as ``/``; nothing when there is no folder.

    Raises:
        OSError: a file cannot be read.
    """
    if web_root is None:
        return
    for path in sorted(web_root.rglob("*")):
        name = path.relative_to(web_root).as_posix()
        if not path.is_file() or any(part.startswith(".") for part in name.split("/")):
            continue
        content_type = _TYPES.get(path.suffix, "application/octet-stream")
        uri = "/" if name == "index.html" else f"/{name}"
        app.add_route(StaticContent(path.read_bytes(), content_type).answer, uri, {"GET"}, name=f"page_{name}")
