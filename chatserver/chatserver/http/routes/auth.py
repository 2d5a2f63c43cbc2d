"""Signing in and out: ``/api/auth``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict

import structlog

from chatserver import bounds
from chatserver.audit import mask_phone_number
from chatserver.http.context import App, Request, authenticate, client_address
from chatserver.http.parsing import Body, answer, no_content, read_body
from chatserver.users.viewers import UserView, view_user
from chatserver.visibility import SELF

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

log = structlog.get_logger()


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


class CodeAnswer(TypedDict):
    """For how many seconds the code is good, and what to sign in with beside it.

    `dev_code` is there only with the development sender Log.
    """

    expires_in: int
    code_id: str
    dev_code: NotRequired[str]


class SessionAnswer(TypedDict):
    """A device's token: it is shown this once."""

    token: str
    device_id: int
    user: UserView


async def request_code(request: Request) -> HTTPResponse:
    """Make a sign-in code; with the sender Log the answer holds it."""
    body = read_body(request, CodeBody)
    made = await request.app.ctx.accounts.request_code(body.phone_number, client_address(request))
    log.info("code_made", phone_number=mask_phone_number(made.phone_number))
    told = CodeAnswer(expires_in=made.expires_in_seconds, code_id=made.code_id)
    if request.app.ctx.accounts.reveals_codes:
        told["dev_code"] = made.code
    return answer(told, 202)


async def create_session(request: Request) -> HTTPResponse:
    """Trade a code for a token."""
    body = read_body(request, SessionBody)
    session = await request.app.ctx.accounts.create_session(
        body.phone_number,
        body.code,
        device_name=body.device_name,
        username=body.username,
        code_id=body.code_id,
        address=client_address(request),
    )
    user = view_user(session.user, SELF)
    return answer(SessionAnswer(token=session.token, device_id=session.device_id, user=user), 201)


async def delete_session(request: Request) -> HTTPResponse:
    """Log this device out."""
    caller = await authenticate(request)
    await request.app.ctx.devices.revoke(caller.user_id, caller.device_id, by_device_id=caller.device_id)
    return no_content()


def add_routes(app: App) -> None:
    """Route this file's calls."""
    app.add_route(request_code, "/api/auth/code", {"POST"}, name="auth_code")
    app.add_route(create_session, "/api/auth/session", {"POST"}, name="auth_session")
    app.add_route(delete_session, "/api/auth/session", {"DELETE"}, name="auth_session_delete")
