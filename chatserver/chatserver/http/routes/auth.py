"""Signing in and out: ``/api/auth``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict

import structlog

from chatserver import bounds
from chatserver.audit import mask_phone_number
from chatserver.errors import DeviceNotFound, Forbidden, InvalidCode, InvalidPin, PinRequired, UsernameTaken
from chatserver.http.browser_sessions import check_may_begin, set_cookie, signed_out
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, client_address
from chatserver.http.parsing import Body, answer, read_body
from chatserver.users.viewers import UserView, view_user
from chatserver.visibility import SELF

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

log = structlog.get_logger()

CALLS = Calls()


class CodeBody(Body, frozen=True):
    """``POST /api/auth/code``."""

    phone_number: bounds.PhoneNumber


class SessionBody(Body, frozen=True):
    """``POST /api/auth/session``."""

    phone_number: bounds.PhoneNumber
    code: bounds.SignInCode
    device_name: bounds.Name | None = None
    username: bounds.Username | None = None
    code_id: bounds.CodeId | None = None
    cookie: bool = False
    pin: bounds.Pin | None = None


class CodeAnswer(TypedDict):
    """How many seconds the code is valid, and the code_id to sign in with.

    `dev_code` is set only by the development sender Log.
    """

    expires_in: int
    code_id: str
    dev_code: NotRequired[str]


class SessionAnswer(TypedDict):
    """The token of a device, which only this answer contains; it is missing where the cookie has it."""

    token: NotRequired[str]
    device_id: bounds.GivenId
    user: UserView


@CALLS.add("POST /api/auth/code", body=CodeBody, status=202, answer=CodeAnswer, signed_in=False)
async def request_code(request: Request) -> HTTPResponse:
    """Request a sign-in code."""
    body = read_body(request, CodeBody)
    code = await request.app.ctx.accounts.request_code(body.phone_number, client_address(request))
    log.info("code_made", phone_number=mask_phone_number(code.phone_number))
    fields = CodeAnswer(expires_in=code.expires_in_seconds, code_id=code.code_id)
    if request.app.ctx.accounts.reveals_codes:
        fields["dev_code"] = code.code
    return answer(fields, 202)


@CALLS.add(
    "POST /api/auth/session",
    body=SessionBody,
    status=201,
    answer=SessionAnswer,
    errors=(InvalidCode, PinRequired, InvalidPin, UsernameTaken, Forbidden),
    headers=(("Set-Cookie", "The session's cookie, if `cookie` is true."),),
    signed_in=False,
)
async def create_session(request: Request) -> HTTPResponse:
    """Exchange a code for a token; the first sign-in creates the account."""
    body = read_body(request, SessionBody)
    if body.cookie:
        check_may_begin(request)
    session = await request.app.ctx.accounts.create_session(
        body.phone_number,
        body.code,
        device_name=body.device_name,
        username=body.username,
        code_id=body.code_id,
        pin=body.pin,
        address=client_address(request),
    )
    fields = SessionAnswer(device_id=session.device_id, user=view_user(session.user, SELF))
    if body.cookie:
        return answer(fields, 201, set_cookie(request.app.ctx.settings, session.token))
    return answer(SessionAnswer(token=session.token, **fields), 201)


@CALLS.add("DELETE /api/auth/session", status=204, errors=(DeviceNotFound,))
async def delete_session(request: Request) -> HTTPResponse:
    """Sign this device out."""
    caller = await authenticate(request)
    await request.app.ctx.devices.revoke(caller.user_id, caller.device_id, by_device_id=caller.device_id)
    return signed_out(request)
