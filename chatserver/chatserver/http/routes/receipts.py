"""Receipts in bulk: ``/api/receipts``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from chatserver.bounds import ById, Id, Seq
from chatserver.http.context import App, Request, authenticate
from chatserver.http.parsing import Body, no_content, read_body
from chatserver.model import ReceiptMark

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

MAX_CHATS = 5000


class MarkBody(Body, frozen=True):
    """How far one chat was received and read."""

    delivered_seq: Seq | None = None
    read_seq: Seq | None = None


class ReceiptsBody(Body, frozen=True):
    """``POST /api/receipts``."""

    chats: Annotated[dict[Id, MarkBody], msgspec.Meta(max_length=MAX_CHATS), ById]


async def post_receipts(request: Request) -> HTTPResponse:
    """Raise the caller's watermarks."""
    caller = await authenticate(request)
    body = read_body(request, ReceiptsBody)
    marks = {chat_id: ReceiptMark(mark.delivered_seq, mark.read_seq) for chat_id, mark in body.chats.items()}
    await request.app.ctx.receipts.mark(caller.user_id, marks)
    return no_content()


def add_routes(app: App) -> None:
    """Route this file's calls."""
    app.add_route(post_receipts, "/api/receipts", {"POST"}, name="receipts")
