"""Groups: ``/api/groups``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import asdict

from chatserver import bounds
from chatserver.errors import (
    Blocked,
    CannotBeAdded,
    ChatNotFound,
    IdempotencyConflict,
    NotAMember,
    NotAnAdmin,
    UserNotFound,
)
from chatserver.group_fields import Who
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, client_address, count_change
from chatserver.http.parsing import Body, answer, path_id, read_body
from chatserver.limits.rates import group_changes
from chatserver.messaging import group_edits, groups
from chatserver.messaging.group_views import GroupView, view_group
from chatserver.model import Role

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

CALLS = Calls()

_MEMBER = "/api/groups/{group_id}/members/{user_id}"
_ERRORS = (ChatNotFound, NotAMember, NotAnAdmin)


class GroupBody(Body, frozen=True):
    """``POST /api/groups``."""

    group_name: bounds.Name
    members: bounds.Members
    client_id: bounds.ClientId | None = None


class RenameBody(Body, frozen=True):
    """``PATCH /api/groups/{group_id}``; a missing field is kept, null removes the picture or the description."""

    group_name: bounds.Name | msgspec.UnsetType = msgspec.UNSET
    picture_url: bounds.Url | msgspec.UnsetType | None = msgspec.UNSET
    description: bounds.Description | msgspec.UnsetType | None = msgspec.UNSET
    who_may_send: Who | msgspec.UnsetType = msgspec.UNSET
    who_may_edit: Who | msgspec.UnsetType = msgspec.UNSET
    who_may_add: Who | msgspec.UnsetType = msgspec.UNSET


class RoleBody(Body, frozen=True):
    """``PUT /api/groups/{group_id}/members/{user_id}/role``."""

    role: Role


@CALLS.add(
    "POST /api/groups",
    body=GroupBody,
    status=201,
    repeated=200,
    answer=GroupView,
    errors=(UserNotFound, Blocked, CannotBeAdded, IdempotencyConflict),
)
async def create_group(request: Request) -> HTTPResponse:
    """Create a group with the caller as its admin. Retry with the same client_id."""
    caller = await authenticate(request)
    body = read_body(request, GroupBody)
    members = len(body.members)
    count_change(request, caller, body.group_name, rows=2 + members, changes=group_changes(members))
    group = await groups.create_group(
        request.app.ctx.database,
        caller.user_id,
        body.group_name,
        body.members,
        client_id=body.client_id,
        admit=request.app.ctx.numbers.admitting(caller.user_id, client_address(request)),
    )
    return answer(view_group(group, caller.user_id), 200 if group.seq is None else 201)


@CALLS.add("PATCH /api/groups/{group_id}", body=RenameBody, answer=GroupView, errors=_ERRORS)
async def rename_group(request: Request, group_id: str) -> HTTPResponse:
    """Change a group's name, picture, description, and who may send, edit and add; a missing field is kept."""
    caller = await authenticate(request)
    body = read_body(request, RenameBody)
    number = path_id(group_id, "group_id")
    fields = asdict(body)
    count_change(request, caller, *(text for text in fields.values() if isinstance(text, str)))
    change = group_edits.GroupChange(**fields)
    group = await group_edits.change_group(request.app.ctx.database, caller.user_id, number, change)
    return answer(view_group(group, caller.user_id))


@CALLS.add(f"POST {_MEMBER}", answer=GroupView, errors=(UserNotFound, *_ERRORS, Blocked, CannotBeAdded))
async def add_member(request: Request, group_id: str, user_id: str) -> HTTPResponse:
    """Add a user to a group."""
    caller = await authenticate(request)
    ids = path_id(group_id, "group_id"), path_id(user_id, "user_id")
    count_change(request, caller)
    return answer(view_group(await groups.add_member(request.app.ctx.database, caller.user_id, *ids), caller.user_id))


@CALLS.add(f"DELETE {_MEMBER}", answer=GroupView, errors=(UserNotFound, *_ERRORS))
async def remove_member(request: Request, group_id: str, user_id: str) -> HTTPResponse:
    """Remove a member from a group, or leave it."""
    caller = await authenticate(request)
    ids = path_id(group_id, "group_id"), path_id(user_id, "user_id")
    count_change(request, caller)
    return answer(
        view_group(await groups.remove_member(request.app.ctx.database, caller.user_id, *ids), caller.user_id)
    )


@CALLS.add(f"PUT {_MEMBER}/role", body=RoleBody, answer=GroupView, errors=(UserNotFound, *_ERRORS, Blocked))
async def put_role(request: Request, group_id: str, user_id: str) -> HTTPResponse:
    """Change the role of a member: admin or member."""
    caller = await authenticate(request)
    body = read_body(request, RoleBody)
    ids = path_id(group_id, "group_id"), path_id(user_id, "user_id")
    count_change(request, caller)
    return answer(
        view_group(await groups.set_role(request.app.ctx.database, caller.user_id, *ids, body.role), caller.user_id)
    )
