"""Refuses parameters of the query that a call does not know; those that have some read them by `parsing.Query`."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from chatserver.http.calls import CALLS
from chatserver.http.parsing import Query

if TYPE_CHECKING:
    from chatserver.http.context import App, Request

_WITHOUT = frozenset((call.method, call.path) for call in CALLS if call.path.startswith("/api/") and not call.query)


@functools.cache
def _template(route_path: str) -> str:
    """Return the address of a route as the table of calls writes it.

    Example:
        >>> _template("api/users/<user_id:str>")
        '/api/users/{user_id}'
    """
    return "/" + re.sub(r"<(\w+)[^>]*>", r"{\1}", route_path)


def _refuse_unknown(request: Request) -> None:
    # Nearly all requests have no query, and are not looked up.
    route = request.route if request.query_string else None
    if route is not None and (request.method, _template(route.path)) in _WITHOUT:
        Query(request, ())


def add_middleware(app: App) -> None:
    """Check the query of each request before its handler runs."""
    app.register_middleware(_refuse_unknown, "request")
