"""Invites to groups: ``/api/groups/{group_id}/invites`` and ``/api/invites``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypedDict

from chatserver import bounds
from chatserver.bounds import GivenId  # noqa: TC001 - msgspec reads the annotations
from chatserver.errors import Blocked, ChatNotFound, InviteNotFound, NotAMember, NotAnAdmin
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, client_address, count_change
from chatserver.http.parsing import Body, answer, no_content, path_id, read_body
from chatserver.messaging import invites
from chatserver.messaging.rendering import ChangeView, view_change
from chatserver.storage.invites import Preview
from chatserver.times import rfc3339

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

    from chatserver.model import Principal
    from chatserver.storage.invites import Invite

CALLS = Calls()

_ERRORS = (ChatNotFound, NotAMember, NotAnAdmin)


class InviteBody(Body, frozen=True):
    """``POST /api/groups/{group_id}/invites``."""

    expires_in: bounds.InviteSeconds = invites.DEFAULT_SECONDS
    max_uses: bounds.InviteUses | None = None


class InviteCodeBody(Body, frozen=True):
    """``POST /api/invites/preview`` and ``POST /api/invites/join``."""

    code: bounds.InviteCode


class InviteView(TypedDict):
    """An invite; `max_uses` is null where any number of users may join by it."""

    invite_id: GivenId
    created_by: GivenId
    created_at: str
    expires_at: str
    max_uses: int | None
    uses: int


class NewInviteView(InviteView):
    """An invite that was made, with its code, which is shown only here."""

    code: str


class InvitesAnswer(TypedDict):
    """The valid invites of a group, the newest first."""

    invites: list[InviteView]


def view_invite(invite: Invite) -> InviteView:
    """Return an invite as those who may revoke it see it."""
    return {
        "invite_id": invite.invite_id,
        "created_by": invite.created_by,
        "created_at": rfc3339(invite.created_at_us),
        "expires_at": rfc3339(invite.expires_at_us),
        "max_uses": invite.max_uses,
        "uses": invite.uses,
    }


def count_try(request: Request, caller: Principal) -> None:
    """Count a try at a code.

    Raises:
        RateLimited: the caller, or users at their address, have tried too many.
    """
    request.app.ctx.limits.check_invite(caller.user_id, client_address(request), time.monotonic())


@CALLS.add("POST /api/groups/{group_id}/invites", body=InviteBody, status=201, answer=NewInviteView, errors=_ERRORS)
async def create_invite(request: Request, group_id: str) -> HTTPResponse:
    """Make an invite, by which users join a group."""
    caller = await authenticate(request)
    body = read_body(request, InviteBody)
    number = path_id(group_id, "group_id")
    count_change(request, caller)
    made = await invites.create_invite(
        request.app.ctx.database,
        caller.user_id,
        number,
        expires_in_seconds=body.expires_in,
        max_uses=body.max_uses,
    )
    return answer(NewInviteView(**view_invite(made.invite), code=made.code), 201)


@CALLS.add("GET /api/groups/{group_id}/invites", answer=InvitesAnswer, errors=_ERRORS)
async def list_invites(request: Request, group_id: str) -> HTTPResponse:
    """List the valid invites of a group: all to its admins, their own to other members who may add."""
    caller = await authenticate(request)
    found = await invites.list_invites(request.app.ctx.database, caller.user_id, path_id(group_id, "group_id"))
    return answer(InvitesAnswer(invites=[view_invite(invite) for invite in found]))


@CALLS.add("DELETE /api/groups/{group_id}/invites/{invite_id}", status=204, errors=_ERRORS)
async def revoke_invite(request: Request, group_id: str, invite_id: str) -> HTTPResponse:
    """Revoke an invite, at once."""
    caller = await authenticate(request)
    ids = path_id(group_id, "group_id"), path_id(invite_id, "invite_id")
    count_change(request, caller)
    await invites.revoke_invite(request.app.ctx.database, caller.user_id, *ids)
    return no_content()


@CALLS.add("POST /api/invites/preview", body=InviteCodeBody, answer=Preview, errors=(InviteNotFound,))
async def preview_invite(request: Request) -> HTTPResponse:
    """Return what the group of an invite shows before one joins."""
    caller = await authenticate(request)
    body = read_body(request, InviteCodeBody)
    count_try(request, caller)
    return answer(await invites.preview_invite(request.app.ctx.database, body.code))


@CALLS.add(
    "POST /api/invites/join",
    body=InviteCodeBody,
    answer=ChangeView,
    errors=(InviteNotFound, NotAMember, Blocked),
)
async def join_group(request: Request) -> HTTPResponse:
    """Join the group of an invite."""
    caller = await authenticate(request)
    body = read_body(request, InviteCodeBody)
    count_try(request, caller)
    count_change(request, caller)
    return answer(view_change(await invites.join_group(request.app.ctx.database, caller.user_id, body.code)))
