"""Which pages of other origins may read answers: those of `ingress.allowedOrigins`, without credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chatserver.http.origins import is_allowed
from chatserver.http.sanic_server import ApiResponse

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from sanic.response import HTTPResponse

    from chatserver.http.context import Request

METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
REQUEST_HEADERS: Final = "Authorization, Content-Type, X-Request-Id"
EXPOSED_HEADERS: Final = "Content-Disposition, Retry-After, X-Chat-Server, X-More, X-Next-Since, X-Request-Id"
MAX_AGE_SECONDS: Final = 7200
"""For which a browser remembers that a call is allowed: the most that Chromium takes."""


def vary_by(headers: MutableMapping[str, str], name: str) -> None:
    """Note for caches that an answer depends on a header of its request."""
    known = headers.get("Vary")
    headers["Vary"] = name if known is None else f"{known}, {name}"


def answer_preflight(request: Request) -> ApiResponse | None:
    """Return the answer to the question of a browser whether a page of an allowed origin may make a call.

    Returns:
        None for any other request, and for other origins, to which OPTIONS is a method like any other.
    """
    if request.method != "OPTIONS" or "access-control-request-method" not in request.headers:
        return None
    if _allowed_origin(request) is None:
        return None
    headers = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": REQUEST_HEADERS,
        "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
    }
    return ApiResponse(None, 204, headers)


def allow_reading(request: Request, response: HTTPResponse) -> None:
    """Let a page of an allowed origin read the answer of a call."""
    if not request.app.ctx.settings.allowed_origins or not request.path.startswith("/api/"):
        return
    vary_by(response.headers, "Origin")
    origin = _allowed_origin(request)
    if origin is not None:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS


def _allowed_origin(request: Request) -> str | None:
    origin: str | None = request.headers.get("origin")
    return origin if origin is not None and is_allowed(request, origin) else None
