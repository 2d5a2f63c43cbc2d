"""Receipts in bulk: ``/api/receipts``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from chatserver.bounds import ById, Id, Seq
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate
from chatserver.http.parsing import Body, no_content, read_body
from chatserver.model import ReceiptMark

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

CALLS = Calls()

MAX_CHATS = 5000


class MarkBody(Body, frozen=True):
    """Watermarks of one chat."""

    delivered_seq: Seq | None = None
    read_seq: Seq | None = None


class ReceiptsBody(Body, frozen=True):
    """``POST /api/receipts``."""

    chats: Annotated[dict[Id, MarkBody], msgspec.Meta(max_length=MAX_CHATS), ById]


@CALLS.add("POST /api/receipts", body=ReceiptsBody, status=204)
async def post_receipts(request: Request) -> HTTPResponse:
    """Raise the caller's watermarks of chats: up to which seq was received and read."""
    caller = await authenticate(request)
    body = read_body(request, ReceiptsBody)
    marks = {chat_id: ReceiptMark(mark.delivered_seq, mark.read_seq) for chat_id, mark in body.chats.items()}
    await request.app.ctx.receipts.mark(caller.user_id, marks)
    return no_content()
