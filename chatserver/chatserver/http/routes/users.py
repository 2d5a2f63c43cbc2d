"""Profiles: ``/api/users``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver import bounds
from chatserver.errors import UsernameTaken, UserNotFound
from chatserver.http.browser_sessions import signed_out
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, count_change
from chatserver.http.parsing import Body, answer, path_id, read_body
from chatserver.http.query import Query, TextParameter
from chatserver.users import users
from chatserver.users.viewers import UserView, view_user
from chatserver.visibility import SELF

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

CALLS = Calls()

_PHONE_NUMBER = TextParameter("phone_number", "In E.164 form, the + written as %2B.", bounds.PhoneNumber)
_USERNAME = TextParameter("username", "Case is ignored.", bounds.UserName)


class ProfileBody(Body, frozen=True):
    """``PATCH /api/users/me``; a missing field is kept, null removes picture or text."""

    username: bounds.Username | msgspec.UnsetType = msgspec.UNSET
    profile_picture_url: bounds.Url | msgspec.UnsetType | None = msgspec.UNSET
    about: bounds.About | msgspec.UnsetType | None = msgspec.UNSET


@CALLS.add("GET /api/users/me", answer=UserView, errors=(UserNotFound,))
async def get_me(request: Request) -> HTTPResponse:
    """Return the caller's profile."""
    caller = await authenticate(request)
    user = await users.get_user(request.app.ctx.database, caller.user_id)
    return answer(view_user(user, SELF))


@CALLS.add("PATCH /api/users/me", body=ProfileBody, answer=UserView, errors=(UsernameTaken, UserNotFound))
async def patch_me(request: Request) -> HTTPResponse:
    """Change the caller's profile; a missing field is kept, null removes picture or text."""
    caller = await authenticate(request)
    body = read_body(request, ProfileBody)
    count_change(request, caller, body.username or None, body.profile_picture_url or None, body.about or None)
    change = users.ProfileChange(username=body.username, profile_picture_url=body.profile_picture_url, about=body.about)
    user = await users.update_profile(request.app.ctx.database, caller.user_id, change)
    return answer(view_user(user, SELF))


@CALLS.add("DELETE /api/users/me", status=204)
async def delete_me(request: Request) -> HTTPResponse:
    """Delete the caller's account permanently."""
    caller = await authenticate(request)
    await request.app.ctx.deletions.delete_account(caller)
    return signed_out(request)


@CALLS.add("GET /api/users", query=(_PHONE_NUMBER, _USERNAME), answer=UserView, errors=(UserNotFound,))
async def find_user(request: Request) -> HTTPResponse:
    """Return the profile with a phone number or a username; pass exactly one of them."""
    caller = await authenticate(request)
    query = Query(request)
    found = await users.find_profile(
        request.app.ctx.database,
        caller.user_id,
        phone_number=query[_PHONE_NUMBER],
        username=query[_USERNAME],
    )
    return answer(view_user(*found))


@CALLS.add("GET /api/users/{user_id}", answer=UserView, errors=(UserNotFound,))
async def get_user(request: Request, user_id: str) -> HTTPResponse:
    """Return a profile."""
    caller = await authenticate(request)
    found = await users.get_profile(request.app.ctx.database, caller.user_id, path_id(user_id, "user_id"))
    return answer(view_user(*found))
