"""Blocks: ``/api/blocks``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from chatserver.bounds import GivenId  # noqa: TC001 - msgspec reads the annotations
from chatserver.errors import UserNotFound
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, count_change
from chatserver.http.parsing import answer, path_id
from chatserver.messaging.rendering import ChangeView, view_change
from chatserver.users import blocks

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

CALLS = Calls()


class BlocksAnswer(TypedDict):
    """The users that the caller has blocked, ascending."""

    user_ids: list[GivenId]


@CALLS.add("GET /api/blocks", answer=BlocksAnswer)
async def list_blocks(request: Request) -> HTTPResponse:
    """List the users that the caller has blocked."""
    caller = await authenticate(request)
    return answer(BlocksAnswer(user_ids=await blocks.list_blocked(request.app.ctx.database, caller.user_id)))


@CALLS.add("PUT /api/blocks/{user_id}", answer=ChangeView, errors=(UserNotFound,))
async def put_block(request: Request, user_id: str) -> HTTPResponse:
    """Block a user."""
    caller = await authenticate(request)
    other_id = path_id(user_id, "user_id")
    count_change(request, caller)
    return answer(view_change(await blocks.set_block(request.app.ctx.database, caller.user_id, other_id, blocked=True)))


@CALLS.add("DELETE /api/blocks/{user_id}", answer=ChangeView, errors=(UserNotFound,))
async def remove_block(request: Request, user_id: str) -> HTTPResponse:
    """Unblock a user."""
    caller = await authenticate(request)
    other_id = path_id(user_id, "user_id")
    count_change(request, caller)
    change = await blocks.set_block(request.app.ctx.database, caller.user_id, other_id, blocked=False)
    return answer(view_change(change))
