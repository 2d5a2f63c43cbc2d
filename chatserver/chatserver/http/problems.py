"""Errors as RFC 9457 problem+json, and the headers, log line and metrics of every answer."""

from __future__ import annotations

import email.utils
import functools
import random
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, NotRequired, TypedDict

import msgspec
import structlog
from sanic import exceptions
from sanic.handlers import ErrorHandler
from sanic.response import HTTPResponse

from chatserver.errors import (
    BadRequest,
    ChatError,
    FieldError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    RequestTimedOut,
    ServiceUnavailable,
    TooLarge,
    Unauthenticated,
    UpgradeRequired,
)
from chatserver.http import cors
from chatserver.http.browser_sessions import clear_cookie
from chatserver.http.compression import Compressor
from chatserver.http.context import client_address, request_id, started_at
from chatserver.http.sanic_server import ApiResponse, close_after, connection_of, is_head, is_unread
from chatserver.http.upgrade import VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from chatserver.http.context import App, Request

log = structlog.get_logger()

# Sanic's, of a request that was rejected before it was routed.
NO_ADDRESS = "*"
WS_PATH = "/api/ws"
PROBLEM_JSON = "application/problem+json"
# Everything else would let a client make up metric series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Probes arrive every few seconds from every proxy and mean nothing.
_SILENT_ROUTES = frozenset({"/livez", "/readyz"})


# Of every answer without values of its own, which the page has: an answer is data for the client that requested it, and
# no browser should show it, store it, guess its type or reveal it to other pages.
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_TRANSLATIONS: tuple[tuple[type[exceptions.SanicException], type[ChatError]], ...] = (
    (exceptions.NotFound, NotFound),
    (exceptions.MethodNotAllowed, MethodNotAllowed),
    (exceptions.PayloadTooLarge, TooLarge),
    (exceptions.RequestTimeout, RequestTimedOut),
    (exceptions.ServiceUnavailable, ServiceUnavailable),
    (exceptions.BadRequest, BadRequest),
    (exceptions.ExpectationFailed, BadRequest),
)


class Problem(TypedDict):
    """Why a request failed (RFC 9457); decide by `code`: `detail` is for developers and may change."""

    type: Literal["about:blank"]
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: NotRequired[tuple[FieldError, ...]]


def _translate(error: Exception) -> ChatError:
    """Return the project's error for what Sanic raised."""
    if isinstance(error, ChatError):
        return error
    return next((ours() for theirs, ours in _TRANSLATIONS if isinstance(error, theirs)), InternalError())


def retry_after(status: int, seconds: int, draw: float) -> int:
    """Return the whole seconds to name in an answer: after 503 up to twice as many as the error has.

    Thousands are refused at one moment then, and would return at one moment. What a 429 counts is one caller's own.

    Args:
        status: of the answer.
        seconds: of the error.
        draw: a random number from 0 to 1, without 1.

    Example:
        >>> [retry_after(503, 2, draw) for draw in (0, 0.4, 0.9)], retry_after(429, 30, 0.9)
        ([2, 3, 4], 30)
    """
    return seconds + int(draw * (seconds + 1)) if status == ServiceUnavailable.status else seconds


def problem(error: ChatError, request: Request) -> ApiResponse:
    """Render an error."""
    body: Problem = {
        "type": "about:blank",
        "title": error.code.replace("_", " ").capitalize(),
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "request_id": request_id(request),
    }
    if error.errors:
        body["errors"] = error.errors
    headers: dict[str, str] = {"Cache-Control": "no-store"}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(retry_after(error.status, error.retry_after_seconds, random.random()))  # noqa: S311 - jitter
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Unauthenticated):
        headers |= clear_cookie(request)
    if isinstance(error, UpgradeRequired):
        headers |= {"Upgrade": "websocket", "Sec-WebSocket-Version": VERSION}
    return ApiResponse(msgspec.json.encode(body), error.status, headers, PROBLEM_JSON)


# nginx's status for it: nobody reads the answer, but metrics and logs should not count it as a failure of this server.
CLIENT_GONE_STATUS = 499


def _allowed_methods(request: Request) -> set[str]:
    """Return the methods of a path: Sanic's router does not know those of paths with parameters."""
    if request.path == NO_ADDRESS:
        return {"HEAD"}.union(*(route.methods for route in request.app.router.routes))
    requested = request.path.strip("/").split("/")
    found: dict[int, set[str]] = {}
    for route in request.app.router.routes:
        parts = route.path.split("/")
        variable = [part.startswith("<") for part in parts]
        if len(parts) == len(requested) and all(
            v or p == r for v, p, r in zip(variable, parts, requested, strict=True)
        ):
            found.setdefault(sum(variable), set()).update(route.methods)
    methods = found[min(found)] if found else set()
    return methods | ({"HEAD"} if "GET" in methods else set())


class ProblemHandler(ErrorHandler):
    """Sanic's last resort for every exception of a request."""

    def default(self, request: Request, exception: Exception) -> HTTPResponse:  # type: ignore[override] # our context
        """Answer with a problem; an unexpected exception is logged once, and the caller gets only the request's id."""
        if isinstance(exception, exceptions.RequestCancelled):
            return HTTPResponse(None, CLIENT_GONE_STATUS)
        error = _translate(exception)
        if error.status == InternalError.status:
            log.error("request_failed", request_id=request_id(request), exc_info=exception)
        answer = problem(error, request)
        if isinstance(error, MethodNotAllowed):
            answer.headers["Allow"] = ", ".join(sorted(_allowed_methods(request)))
        return answer

    @staticmethod
    def log(request: Request, exception: Exception) -> None:  # type: ignore[override] # our context
        """Log nothing: ``default`` does where it is needed."""


def _begin(request: Request) -> HTTPResponse | None:
    request.ctx.started = time.monotonic()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id(request))
    # Not the probes, nor the page's files: a client over its limit should not look like a dead server.
    if not request.path.startswith("/api/"):
        return None
    _check_address(request)
    return cors.answer_preflight(request)


def _check_address(request: Request) -> None:
    context = request.app.ctx
    try:
        context.limits.check_address(client_address(request), time.monotonic())
    except RateLimited:
        if request.path == WS_PATH:
            # It comes no further, to where the others are counted.
            context.metrics.connections.opened.labels("limited").inc()
        raise


def _route_of(request: Request) -> str:
    # `path` is the template, so that ids make no series of their own.
    return f"/{request.route.path}" if request.route is not None else "unmatched"


def _method_of(request: Request) -> str:
    if is_head(request):
        return "HEAD"
    return request.method if request.method in _METHODS else "other"


@functools.lru_cache(maxsize=1)
def http_date(seconds: int) -> str:
    """Return a time as HTTP writes it (RFC 9110, section 5.6.7), made once a second.

    Example:
        >>> http_date(784111777)
        'Sun, 06 Nov 1994 08:49:37 GMT'
    """
    return email.utils.formatdate(seconds, usegmt=True)


def _finish(request: Request, response: HTTPResponse) -> Awaitable[None] | None:
    if Compressor.concerns(request, response):
        return _finish_compressed(request, response)
    _complete(request, response)
    return None


async def _finish_compressed(request: Request, response: HTTPResponse) -> None:
    await request.app.ctx.compressor.compress(request.headers.getall("accept-encoding", []), response)
    _complete(request, response)


def _complete(request: Request, response: HTTPResponse) -> None:
    context = request.app.ctx
    response.headers["Date"] = http_date(int(time.time()))
    response.headers["X-Request-Id"] = request_id(request)
    response.headers["X-Chat-Server"] = context.settings.server_name
    for name, value in _SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    cors.allow_reading(request, response)
    if context.health.draining:
        # A proxy that keeps this connection would send its next request to a server that is gone.
        close_after(request)
    if is_unread(request):
        connection = connection_of(request)
        if connection is not None:
            connection.answer_early()
    route = _route_of(request)
    method = _method_of(request)
    context.metrics.requests.answered.labels(route, method, str(response.status)).inc()
    seconds = time.monotonic() - started_at(request)
    if not getattr(request.ctx, "waited", False):
        context.metrics.requests.seconds.labels(route, method).observe(seconds)
    if route not in _SILENT_ROUTES:
        log.info("request", route=route, method=method, status=response.status, ms=round(seconds * 1000, 1))


def add_middleware(app: App) -> None:
    """Give every request an id, and every answer its headers, log line and metrics."""
    app.register_middleware(_begin, "request")
    app.register_middleware(_finish, "response")  # type: ignore[arg-type] # None leaves the answer as it is
