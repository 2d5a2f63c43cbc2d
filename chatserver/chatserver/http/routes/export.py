"""The export of a user's own data: ``/api/users/me/export``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import ChatError
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate
from chatserver.http.lingering import cut_off
from chatserver.http.sanic_server import begin_answer, is_head

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

log = structlog.get_logger()

CALLS = Calls()

MEDIA = "application/jsonl"


@CALLS.add(
    "GET /api/users/me/export",
    answer=str,
    media=MEDIA,
    headers=(("Content-Disposition", "The answer is a file."),),
)
async def export_me(request: Request) -> HTTPResponse | None:
    """Return all data of the caller as a file: a JSON object a line, the last of type end."""
    caller = await authenticate(request)
    context = request.app.ctx
    headers = {"Content-Disposition": 'attachment; filename="chat-export.jsonl"', "Cache-Control": "no-store"}
    with context.exports.place(caller.user_id):
        if not is_head(request):
            context.limits.check_export(caller.user_id, time.monotonic())
        # A slow client is waited for, and given up as of any other answer.
        request.ctx.waited = True
        response = await begin_answer(request, MEDIA, headers)
        try:
            if not is_head(request):
                async for lines in context.exports.chunks(caller):
                    # An empty chunk is the end of an answer.
                    if lines:
                        await response.send(lines)
        except ChatError as error:
            # The status has been sent: the file ends without its last line, and the connection with it.
            log.info("export_cut", user_id=caller.user_id, code=error.code)
            cut_off(request)
            return None
        await response.eof()  # type: ignore[no-untyped-call] # Sanic's
    return None
