"""The API's own descriptions: ``/openapi.json``, ``/asyncapi.json``, and ``/docs`` for people; made at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.routes import docs
from chatserver.routes.asyncapi import make_asyncapi
from chatserver.routes.openapi import make_openapi
from chatserver.routes.page import serve_content

if TYPE_CHECKING:
    from chatserver.routes.context import App


def add_routes(app: App) -> None:
    """Route the documents."""
    openapi, asyncapi = make_openapi(), make_asyncapi()
    for name, document in {"openapi": openapi, "asyncapi": asyncapi}.items():
        handler = serve_content(msgspec.json.encode(document), "application/json")
        app.add_route(handler, f"/{name}.json", {"GET"}, name=name)
    docs.add_routes(app, openapi, asyncapi)
