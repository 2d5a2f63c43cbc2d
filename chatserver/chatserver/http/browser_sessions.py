"""The session of a web page: its token is in a cookie that no script can read (docs/decisions/0084).

A browser sends the cookie along whatever page caused the request. So a request counts as the user's only if it comes
from a page of this server or of an allowed origin.
"""

from __future__ import annotations

import functools
import hmac
from typing import TYPE_CHECKING

from chatserver.errors import Forbidden, Unauthenticated
from chatserver.http.origins import is_of_own_page
from chatserver.http.parsing import no_content
from chatserver.times import DAY_SECONDS

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

    from chatserver.http.context import Request
    from chatserver.settings import Settings

ID_DIGITS = 16
"""Hexadecimal digits of the chat's id in the cookie's name."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN = (
    "This request has the cookie of a session, and does not come from a page of this server. "
    "Other pages and programs send 'Authorization: Bearer <token>'."
)


def cookie_name(settings: Settings) -> str:
    """Return the name of the session's cookie, which differs between chats: cookies ignore ports.

    With the prefix, browsers accept it only from this host, by HTTPS, and for all its paths.
    """
    prefix = "__Host-" if settings.page_scheme == "https" else ""
    return f"{prefix}chat-{_chat_id(settings.secret_key)}"


def set_cookie(settings: Settings, token: str) -> dict[str, str]:
    """Return the header that begins a session, whose cookie lives as long as its device."""
    return _cookie(settings, token, settings.session_days * DAY_SECONDS)


def check_may_begin(request: Request) -> None:
    """Check that no other page signs the user in, as somebody else.

    Raises:
        Forbidden: another page does.
    """
    if is_of_own_page(request) is False:
        raise Forbidden(_FOREIGN)


def is_sent(request: Request) -> bool:
    """Return whether a request is to be authenticated by the cookie: the Authorization header goes first."""
    return "authorization" not in request.headers and bool(_values(request))


def cookie_token(request: Request) -> str | None:
    """Return the token of a request that is to be authenticated by the cookie; None for any other request.

    Raises:
        Forbidden: the request does not come from an own or allowed page, or changes something and may not.
        Unauthenticated: there are several such cookies, of which another page may have made one.
    """
    if not is_sent(request):
        return None
    own = is_of_own_page(request)
    if own is False or (own is None and request.method not in _SAFE_METHODS):
        raise Forbidden(_FOREIGN)
    request.ctx.has_cookie_session = True
    values = _values(request)
    if len(values) > 1:
        raise Unauthenticated
    return values[0]


def clear_cookie(request: Request) -> dict[str, str]:
    """Return the header that ends the session of a request, if the request was authenticated by the cookie."""
    return _cookie(request.app.ctx.settings, "", 0) if getattr(request.ctx, "has_cookie_session", False) else {}


def signed_out(request: Request) -> HTTPResponse:
    """Return 204 for a device that signed itself out."""
    answer = no_content()
    answer.headers.update(clear_cookie(request))
    return answer


@functools.lru_cache(maxsize=1)
def _chat_id(secret_key: bytes) -> str:
    """Return what all servers of a chat have in common, and nobody else: no chat gets another key."""
    return hmac.digest(secret_key, b"session cookie", "sha256").hex()[:ID_DIGITS]


def _values(request: Request) -> list[str]:
    start = f"{cookie_name(request.app.ctx.settings)}="
    pairs = (pair.strip() for line in request.headers.getall("cookie", []) for pair in line.split(";"))
    return [pair.removeprefix(start) for pair in pairs if pair.startswith(start)]


def _cookie(settings: Settings, value: str, seconds: int) -> dict[str, str]:
    secure = "Secure; " if settings.page_scheme == "https" else ""
    pair = f"{cookie_name(settings)}={value}"
    return {"Set-Cookie": f"{pair}; Max-Age={seconds}; Path=/; {secure}HttpOnly; SameSite=Strict"}
