"""The web client at ``/``: a folder's files, listed once, so that no path of a request reaches the file system."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from sanic.response import HTTPResponse

from chatserver.http.compression import preferred_coding
from chatserver.http.cors import vary_by

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Mapping
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
HASHED_FOLDER = "assets/"
"""Where a build puts files whose names change with their content: images/build/page.py, or Vite."""

FOR_EVER = "public, max-age=31536000, immutable"
# By suffix, the preferred one first.
_CODINGS = {".br": "br", ".gz": "gzip"}
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
        encoded: the same compressed, by coding, the preferred one first.
    """

    def __init__(
        self,
        content: bytes,
        content_type: str,
        headers: Mapping[str, str] = SECURITY_HEADERS,
        encoded: Mapping[str, bytes] | None = None,
    ) -> None:
        self._content_type = content_type
        self._codings = tuple(encoded or ())
        varying = dict(headers)
        if encoded:
            vary_by(varying, "Accept-Encoding")
        self._bodies: dict[str | None, _Body] = {None: _Body.of(content, varying)}
        for coding, body in (encoded or {}).items():
            self._bodies[coding] = _Body.of(body, {**varying, "Content-Encoding": coding})

    async def answer(self, request: Request) -> HTTPResponse:
        """Answer with the content, or 304 to a client that has it."""
        body = self._bodies[preferred_coding(request.headers.getall("accept-encoding", []), self._codings)]
        if is_named(body.etag, request.headers.getall("if-none-match", [])):
            return HTTPResponse(None, 304, body.headers)
        return HTTPResponse(body.content, 200, body.headers, self._content_type)


def add_routes(app: App, web_root: Path | None) -> None:
    """Route the folder's files, ``index.html`` as ``/``, and other pages to it; nothing when there is no folder.

    ``NAME.br`` and ``NAME.gz`` are the same as ``NAME``, compressed.

    Raises:
        OSError: a file cannot be read.
    """
    if web_root is None:
        return
    for path in sorted(web_root.rglob("*")):
        name = path.relative_to(web_root).as_posix()
        if not path.is_file() or path.suffix in _CODINGS or any(part.startswith(".") for part in name.split("/")):
            continue
        uri = "/" if name == "index.html" else f"/{name}"
        app.add_route(_content(path, name).answer, uri, {"GET"}, name=f"page_{name}")
    index = web_root / "index.html"
    entry = _content(index, index.name, {"Vary": "Accept"})
    taken = {"metrics"} | {route.path.partition("/")[0] for route in app.router.routes}

    def answer_deep_link(request: Request) -> Coroutine[Any, Any, HTTPResponse] | None:
        """Answer an address that the page made with the page, which knows what to show there."""
        if request.route is not None or request.method != "GET":
            return None
        is_shown = is_deep_link(request.path, request.headers.get("accept", ""), taken)
        return entry.answer(request) if is_shown else None

    app.register_middleware(answer_deep_link, "request")


def is_deep_link(path: str, accept: str, taken: Collection[str]) -> bool:
    """Return whether a browser shows what is at an unknown path, which is neither a file nor below a known folder.

    Args:
        path: of the request.
        accept: the header; that of a navigation names HTML, that of a script or a program usually not.
        taken: first parts of other paths.

    Example:
        >>> [is_deep_link(path, "text/html, */*", {"api", "docs"}) for path in ("/chats/12", "/api/nowhere", "/a.js")]
        [True, False, False]
    """
    first = path.removeprefix("/").partition("/")[0]
    return "text/html" in accept.lower() and first not in taken and "." not in path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class _Body:
    """A content as it is sent, with its own tag: a tag names bytes."""

    content: bytes
    etag: str
    headers: dict[str, str]

    @classmethod
    def of(cls, content: bytes, headers: Mapping[str, str]) -> Self:
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return cls(content, etag, {**headers, "ETag": etag})


def _content(path: Path, name: str, headers: Mapping[str, str] | None = None) -> StaticContent:
    encoded = {}
    for suffix, coding in _CODINGS.items():
        beside = path.with_name(path.name + suffix)
        if beside.is_file():
            encoded[coding] = beside.read_bytes()
    own = {**SECURITY_HEADERS, **(headers or {})}
    if name.startswith(HASHED_FOLDER):
        own["Cache-Control"] = FOR_EVER
    return StaticContent(path.read_bytes(), _TYPES.get(path.suffix, "application/octet-stream"), own, encoded)
