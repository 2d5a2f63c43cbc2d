"""Blocks: ``/api/blocks``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from chatserver.http.context import App, Request, authenticate, count_change
from chatserver.http.parsing import answer, path_id
from chatserver.messaging.rendering import view_change
from chatserver.users import blocks

if TYPE_CHECKING:
    from sanic.response import HTTPResponse


class BlocksAnswer(TypedDict):
    """Whom the caller has blocked, ascending."""

    user_ids: list[int]


async def list_blocks(request: Request) -> HTTPResponse:
    """List whom the caller has blocked."""
    caller = await authenticate(request)
    return answer(BlocksAnswer(user_ids=await blocks.list_blocked(request.app.ctx.database, caller.user_id)))


async def put_block(request: Request, user_id: str) -> HTTPResponse:
    """Block a user."""
    caller = await authenticate(request)
    other_id = path_id(user_id, "user_id")
    count_change(request, caller)
    return answer(view_change(await blocks.set_block(request.app.ctx.database, caller.user_id, other_id, blocked=True)))


async def remove_block(request: Request, user_id: str) -> HTTPResponse:
    """End a block."""
    caller = await authenticate(request)
    other_id = path_id(user_id, "user_id")
    count_change(request, caller)
    change = await blocks.set_block(request.app.ctx.database, caller.user_id, other_id, blocked=False)
    return answer(view_change(change))


def add_routes(app: App) -> None:
    """Route this file's calls."""
    app.add_route(list_blocks, "/api/blocks", {"GET"}, name="blocks")
    app.add_route(put_block, "/api/blocks/<user_id:str>", {"PUT"}, name="block_put")
    app.add_route(remove_block, "/api/blocks/<user_id:str>", {"DELETE"}, name="block_delete")
