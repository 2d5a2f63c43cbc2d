"""The API's own descriptions for machines: ``/openapi.json`` and ``/asyncapi.json``, made once at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.routes.asyncapi import make_asyncapi
from chatserver.routes.openapi import make_openapi
from chatserver.routes.page import serve_content

if TYPE_CHECKING:
    from chatserver.routes.context import App


def add_routes(app: App) -> None:
    """Route the documents."""
    documents = {"openapi": make_openapi(), "asyncapi": make_asyncapi()}
    for name, document in documents.items():
        handler = serve_content(msgspec.json.encode(document), "application/json")
        app.add_route(handler, f"/{name}.json", {"GET"}, name=name)
