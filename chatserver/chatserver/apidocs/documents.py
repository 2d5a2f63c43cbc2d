"""The API's own descriptions: ``/openapi.json``, ``/asyncapi.json``, and ``/docs`` for people; made at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.apidocs import page
from chatserver.apidocs.asyncapi import make_asyncapi
from chatserver.apidocs.openapi import make_openapi
from chatserver.http.routes.page import serve_content

if TYPE_CHECKING:
    from chatserver.http.context import App


def add_routes(app: App) -> None:
    """Route the documents."""
    openapi, asyncapi = make_openapi(), make_asyncapi()
    for name, document in {"openapi": openapi, "asyncapi": asyncapi}.items():
        handler = serve_content(msgspec.json.encode(document), "application/json")
        app.add_route(handler, f"/{name}.json", {"GET"}, name=name)
    page.add_routes(app, openapi, asyncapi)
