"""What a group is called and shows, and what it lets its members do: changes of it are rows of the chat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import asdict, replace

from chatserver import checks
from chatserver.bounds import DESCRIPTION_MAX_CHARS
from chatserver.events import GroupChangedDetail, GroupRenamedDetail
from chatserver.messaging.group_changes import act, append, changing, describe
from chatserver.storage import groups, invites
from chatserver.users.names import check_name

if TYPE_CHECKING:
    from chatserver.group_fields import Who
    from chatserver.messaging.group_changes import Needs
    from chatserver.model import GroupInfo
    from chatserver.storage.database import Database

FOR_ADMINS = {"who_may_send", "who_may_edit", "who_may_add"}
"""Fields that only admins change, also where everyone may edit the others."""


class GroupChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a group's fields; UNSET leaves one unchanged, None removes the picture or the description."""

    group_name: str | msgspec.UnsetType = msgspec.UNSET
    picture_url: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    who_may_send: Who | msgspec.UnsetType = msgspec.UNSET
    who_may_edit: Who | msgspec.UnsetType = msgspec.UNSET
    who_may_add: Who | msgspec.UnsetType = msgspec.UNSET


def checked(change: GroupChange) -> dict[str, Any]:
    """Return the fields that a change sets, in the form in which they are stored.

    Raises:
        ValidationFailed: a field is malformed.
    """
    fields = {name: value for name, value in asdict(change).items() if value is not msgspec.UNSET}
    if "group_name" in fields:
        fields["group_name"] = check_name(fields["group_name"], "group_name")
    if fields.get("picture_url") is not None:
        fields["picture_url"] = checks.check_url(fields["picture_url"], "picture_url")
    if "description" in fields:
        # An empty text and none are the same.
        text = fields["description"] or None
        fields["description"] = text and checks.check_text(text, "description", max_chars=DESCRIPTION_MAX_CHARS)
    return fields


async def change_group(database: Database, user_id: int, group_id: int, change: GroupChange) -> GroupInfo:
    """Change a group's fields; the same values again change nothing.

    Another name is a row of its own, which clients of before know; the row of all other fields has all of them, so that
    the newest one is the state.

    Returns:
        The group, with the seq of the last row.

    Raises:
        ValidationFailed: a field is malformed. ChatNotFound, NotAMember.
        NotAnAdmin: the caller is a plain member, and only admins may change one of these fields.
    """
    fields = checked(change)
    needs: Needs = "administer" if fields.keys() & FOR_ADMINS else "edit"
    async with changing(database, user_id, group_id, needs) as (connection, group, _, trail):
        before, seq = asdict(group.fields), None
        changed = [name for name, value in fields.items() if value != before[name]]
        if changed:
            await groups.set_fields(connection, group_id, replace(group.fields, **fields))
        if "who_may_add" in changed:
            await invites.forget_of_others(connection, group_id)
        if "group_name" in changed:
            renamed = GroupRenamedDetail(group_name=fields["group_name"])
            seq = await append(connection, trail, group_id, user_id, renamed)
            await trail.add(act("group_renamed", user_id, group_id))
            changed.remove("group_name")
        if changed:
            others = before | fields
            del others["group_name"]
            seq = await append(connection, trail, group_id, user_id, GroupChangedDetail(**others))
            await trail.add(act("group_changed", user_id, group_id, fields=changed))
        return await describe(connection, group_id, seq)
