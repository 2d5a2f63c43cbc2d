"""Groups: ``/api/groups``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver import bounds
from chatserver.http.context import App, Request, authenticate, count_change
from chatserver.http.parsing import Body, answer, path_id, read_body
from chatserver.limits.rates import group_changes
from chatserver.messaging import groups
from chatserver.messaging.rendering import view_group
from chatserver.model import Role

if TYPE_CHECKING:
    from sanic.response import HTTPResponse


class GroupBody(Body, frozen=True):
    """``POST /api/groups``."""

    group_name: bounds.Name
    members: bounds.Members
    client_id: bounds.ClientId | None = None


class RenameBody(Body, frozen=True):
    """``PATCH /api/groups/{group_id}``."""

    group_name: bounds.Name


class RoleBody(Body, frozen=True):
    """``PUT /api/groups/{group_id}/members/{user_id}/role``."""

    role: Role


async def create_group(request: Request) -> HTTPResponse:
    """Make a group with the caller as its admin."""
    caller = await authenticate(request)
    body = read_body(request, GroupBody)
    members = len(body.members)
    count_change(request, caller, body.group_name, rows=2 + members, changes=group_changes(members))
    group = await groups.create_group(
        request.app.ctx.database, caller.user_id, body.group_name, body.members, client_id=body.client_id
    )
    return answer(view_group(group, caller.user_id), 200 if group.seq is None else 201)


async def rename_group(request: Request, group_id: str) -> HTTPResponse:
    """Rename a group."""
    caller = await authenticate(request)
    body = read_body(request, RenameBody)
    number = path_id(group_id, "group_id")
    count_change(request, caller, body.group_name)
    return answer(
        view_group(
            await groups.rename_group(request.app.ctx.database, caller.user_id, number, body.group_name), caller.user_id
        )
    )


async def add_member(request: Request, group_id: str, user_id: str) -> HTTPResponse:
    """Add a user to a group."""
    caller = await authenticate(request)
    ids = path_id(group_id, "group_id"), path_id(user_id, "user_id")
    count_change(request, caller)
    return answer(view_group(await groups.add_member(request.app.ctx.database, caller.user_id, *ids), caller.user_id))


async def remove_member(request: Request, group_id: str, user_id: str) -> HTTPResponse:
    """Remove a member, or leave."""
    caller = await authenticate(request)
    ids = path_id(group_id, "group_id"), path_id(user_id, "user_id")
    count_change(request, caller)
    return answer(
        view_group(await groups.remove_member(request.app.ctx.database, caller.user_id, *ids), caller.user_id)
    )


async def put_role(request: Request, group_id: str, user_id: str) -> HTTPResponse:
    """Make a member an admin, or an admin a member."""
    caller = await authenticate(request)
    body = read_body(request, RoleBody)
    ids = path_id(group_id, "group_id"), path_id(user_id, "user_id")
    count_change(request, caller)
    return answer(
        view_group(await groups.set_role(request.app.ctx.database, caller.user_id, *ids, body.role), caller.user_id)
    )


def add_routes(app: App) -> None:
    """Route this file's calls."""
    member = "/api/groups/<group_id:str>/members/<user_id:str>"
    app.add_route(create_group, "/api/groups", {"POST"}, name="groups")
    app.add_route(rename_group, "/api/groups/<group_id:str>", {"PATCH"}, name="group")
    app.add_route(add_member, member, {"POST"}, name="group_member_add")
    app.add_route(remove_member, member, {"DELETE"}, name="group_member_remove")
    app.add_route(put_role, f"{member}/role", {"PUT"}, name="group_member_role")
