"""From which page a browser sends a request: one of this server, of an allowed origin, or of another.

No page can set or leave out the headers `Origin` and `Sec-Fetch-Site` of its requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.http.context import Request


def is_allowed(request: Request, origin: str) -> bool:
    """Return whether `ingress.allowedOrigins` has an origin."""
    return origin.rstrip("/") in request.app.ctx.settings.allowed_origins


def is_own_or_allowed(request: Request, origin: str) -> bool:
    """Return whether an origin is that of this host, or an allowed one."""
    if is_allowed(request, origin):
        return True
    scheme, _, host = origin.lower().partition("://")
    # Whoever can answer for plain HTTP on this name is not who has the certificate for it.
    return host == request.headers.get("host", "").lower() and scheme in _page_schemes(request)


def is_of_own_page(request: Request) -> bool | None:
    """Return whether a request comes from a page of this server or of an allowed origin; None when nothing shows it.

    A browser shows it for each request that changes something, a program usually for none.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site == "same-origin":
        return True
    if site is None:
        return None if origin is None else is_own_or_allowed(request, origin)
    # "none": the user typed the address. Of the others the browser knows better than the Host header.
    return (site == "none" and origin is None) or (origin is not None and is_allowed(request, origin))


def _page_schemes(request: Request) -> tuple[str, ...]:
    """Return how a page of this host can have come to a browser, by what the trusted proxies say."""
    proxied: str = request.headers.get("x-forwarded-proto", "") if request.app.ctx.settings.trusted_proxy_hops else ""
    return ("http", "https") if proxied.lower() in {"", "http"} else ("https",)
