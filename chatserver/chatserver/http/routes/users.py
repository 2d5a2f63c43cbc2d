"""Profiles: ``/api/users``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver import bounds
from chatserver.http.context import App, Request, authenticate, count_change
from chatserver.http.parsing import Body, Query, answer, no_content, path_id, read_body
from chatserver.users import users
from chatserver.users.viewers import view_user
from chatserver.visibility import SELF

if TYPE_CHECKING:
    from sanic.response import HTTPResponse


class ProfileBody(Body, frozen=True):
    """``PATCH /api/users/me``; a missing field stays as it is, null clears the picture."""

    username: bounds.Username | msgspec.UnsetType = msgspec.UNSET
    profile_picture_url: bounds.Url | msgspec.UnsetType | None = msgspec.UNSET


async def get_me(request: Request) -> HTTPResponse:
    """Return the caller's profile."""
    caller = await authenticate(request)
    user = await users.get_user(request.app.ctx.database, caller.user_id)
    return answer(view_user(user, SELF))


async def patch_me(request: Request) -> HTTPResponse:
    """Change the caller's profile."""
    caller = await authenticate(request)
    body = read_body(request, ProfileBody)
    count_change(request, caller, body.username or None, body.profile_picture_url or None)
    change = users.ProfileChange(username=body.username, profile_picture_url=body.profile_picture_url)
    user = await users.update_profile(request.app.ctx.database, caller.user_id, change)
    return answer(view_user(user, SELF))


async def delete_me(request: Request) -> HTTPResponse:
    """Delete the caller's account."""
    caller = await authenticate(request)
    await request.app.ctx.deletions.delete_account(caller)
    return no_content()


async def get_user(request: Request, user_id: str) -> HTTPResponse:
    """Return a profile by id."""
    caller = await authenticate(request)
    found = await users.get_profile(request.app.ctx.database, caller.user_id, path_id(user_id, "user_id"))
    return answer(view_user(*found))


async def find_user(request: Request) -> HTTPResponse:
    """Return a profile by phone number or username."""
    caller = await authenticate(request)
    query = Query(request, ("phone_number", "username"))
    found = await users.find_profile(
        request.app.ctx.database,
        caller.user_id,
        phone_number=query.text("phone_number"),
        username=query.text("username"),
    )
    return answer(view_user(*found))


def add_routes(app: App) -> None:
    """Route this file's calls."""
    app.add_route(get_me, "/api/users/me", {"GET"}, name="me")
    app.add_route(patch_me, "/api/users/me", {"PATCH"}, name="me_patch")
    app.add_route(delete_me, "/api/users/me", {"DELETE"}, name="me_delete")
    app.add_route(find_user, "/api/users", {"GET"}, name="users")
    app.add_route(get_user, "/api/users/<user_id:str>", {"GET"}, name="user")
