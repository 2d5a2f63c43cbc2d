"""The calls that serve the API's own descriptions: ``/openapi.json``, ``/asyncapi.json``, and the page ``/docs``."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import msgspec

from chatserver.apidocs.asyncapi import make_asyncapi
from chatserver.apidocs.openapi import make_openapi
from chatserver.apidocs.page import HEADERS, make_docs
from chatserver.http.call import Calls
from chatserver.http.routes.page import SECURITY_HEADERS, StaticContent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sanic.response import HTTPResponse

    from chatserver.http.call import Call, Schema
    from chatserver.http.context import Request

_JSON: Schema = {"type": "object", "additionalProperties": True}
_HTML: Schema = {"type": "string"}
_ETAG = (("ETag", "Send it as If-None-Match to get 304 while the document is unchanged."),)


def document_calls(described: Iterable[Call]) -> Calls:
    """Return the calls that serve the documents of these calls and of themselves."""
    calls = Calls()

    @calls.add("GET /openapi.json", answer=_JSON, headers=_ETAG, signed_in=False, database=False)
    async def get_openapi(request: Request) -> HTTPResponse:
        """Return this document."""
        return await openapi_json.answer(request)

    @calls.add("GET /asyncapi.json", answer=_JSON, headers=_ETAG, signed_in=False, database=False)
    async def get_asyncapi(request: Request) -> HTTPResponse:
        """Return the AsyncAPI document of the WebSocket."""
        return await asyncapi_json.answer(request)

    @calls.add(
        "GET /docs",
        answer=_HTML,
        media="text/html; charset=utf-8",
        headers=_ETAG,
        signed_in=False,
        database=False,
    )
    async def get_docs(request: Request) -> HTTPResponse:
        """Return this document and that of the WebSocket as a web page."""
        return await page.answer(request)

    openapi, asyncapi = make_openapi((*described, *calls)), make_asyncapi()
    openapi_json = _compressed(msgspec.json.encode(openapi), "application/json")
    asyncapi_json = _compressed(msgspec.json.encode(asyncapi), "application/json")
    page = _compressed(make_docs(openapi, asyncapi), "text/html; charset=utf-8", HEADERS)
    return calls


def _compressed(content: bytes, content_type: str, headers: Mapping[str, str] = SECURITY_HEADERS) -> StaticContent:
    return StaticContent(content, content_type, headers, {"gzip": gzip.compress(content, mtime=0)})
