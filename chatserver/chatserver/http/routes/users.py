"""Profiles: ``/api/users``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypedDict

import msgspec

from chatserver import bounds
from chatserver.accounts.number_change import change_number
from chatserver.errors import FieldError, InvalidCode, InvalidPin, NumberTaken, PinRequired, UsernameTaken, UserNotFound
from chatserver.http.browser_sessions import signed_out
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, client_address, count_change
from chatserver.http.parsing import Body, answer, no_content, path_id, read_body
from chatserver.http.query import Query, TextParameter
from chatserver.users import bulk, users
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


class NumberBody(Body, frozen=True):
    """``PUT /api/users/me/phone_number``."""

    phone_number: bounds.PhoneNumber
    code: bounds.SignInCode
    code_id: bounds.CodeId | None = None
    pin: bounds.Pin | None = None


class PinBody(Body, frozen=True):
    """``PUT /api/users/me/pin``; null removes the PIN."""

    pin: bounds.Pin | None
    current_pin: bounds.Pin | None = None


class LookupBody(Body, frozen=True):
    """``POST /api/users/lookup``."""

    phone_numbers: bounds.LookedUpTexts = msgspec.field(default_factory=list)
    usernames: bounds.LookedUpTexts = msgspec.field(default_factory=list)
    user_ids: bounds.LookedUpIds = msgspec.field(default_factory=list)


class LookupView(TypedDict):
    """The users who were found, each once, and which of them has each number and each name that was sent, in order."""

    users: list[UserView]
    phone_numbers: list[bounds.GivenId | None]
    usernames: list[bounds.GivenId | None]
    errors: list[FieldError]


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


@CALLS.add(
    "PUT /api/users/me/phone_number",
    body=NumberBody,
    answer=UserView,
    errors=(InvalidCode, PinRequired, InvalidPin, NumberTaken, UserNotFound),
)
async def put_number(request: Request) -> HTTPResponse:
    """Change the caller's phone number, with a code that was sent to the new one."""
    caller = await authenticate(request)
    body = read_body(request, NumberBody)
    count_change(request, caller)
    context = request.app.ctx
    user = await change_number(
        context.database,
        context.accounts,
        caller,
        body.phone_number,
        body.code,
        code_id=body.code_id,
        pin=body.pin,
        address=client_address(request),
    )
    return answer(view_user(user, SELF))


@CALLS.add("PUT /api/users/me/pin", body=PinBody, status=204, errors=(PinRequired, InvalidPin))
async def put_pin(request: Request) -> HTTPResponse:
    """Set, change or remove the PIN that the caller's sign-ins need beside the code."""
    caller = await authenticate(request)
    body = read_body(request, PinBody)
    count_change(request, caller)
    pins = request.app.ctx.accounts.pins
    await pins.set_pin(caller, body.pin, current_pin=body.current_pin, address=client_address(request))
    return no_content()


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
        admit=request.app.ctx.numbers.admitting(caller.user_id, client_address(request)),
    )
    return answer(view_user(*found))


@CALLS.add("POST /api/users/lookup", body=LookupBody, answer=LookupView)
async def look_up_users(request: Request) -> HTTPResponse:
    """Return the profiles with these phone numbers, usernames and ids."""
    caller = await authenticate(request)
    body = read_body(request, LookupBody)
    context = request.app.ctx
    # As a call for each name, so that names cannot be tried faster this way.
    if len(body.usernames) > 1:
        context.limits.check_request(caller.device_id, time.monotonic(), len(body.usernames) - 1)
    found = await bulk.look_up(
        context.database,
        context.numbers,
        caller.user_id,
        client_address(request),
        phone_numbers=body.phone_numbers,
        usernames=body.usernames,
        user_ids=body.user_ids,
    )
    return answer(
        LookupView(
            users=[view_user(*user) for user in found.users],
            phone_numbers=list(found.by_number),
            usernames=list(found.by_name),
            errors=list(found.errors),
        )
    )


@CALLS.add("GET /api/users/{user_id}", answer=UserView, errors=(UserNotFound,))
async def get_user(request: Request, user_id: str) -> HTTPResponse:
    """Return a profile."""
    caller = await authenticate(request)
    found = await users.get_profile(request.app.ctx.database, caller.user_id, path_id(user_id, "user_id"))
    return answer(view_user(*found))
