"""Invites: links by which users join a group, until they expire, are revoked or used up."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from chatserver import checks
from chatserver.audit import audited
from chatserver.bounds import INVITE_CODE_MAX_CHARS
from chatserver.errors import InviteNotFound, NotAMember, NotAnAdmin, ValidationFailed
from chatserver.messaging.group_changes import act, changing, make_member, may
from chatserver.messaging.invite_codes import RANDOM_BYTES, digest_of, group_of, make_code
from chatserver.model import Change
from chatserver.storage import groups, invites

if TYPE_CHECKING:
    from chatserver.storage.database import Database
    from chatserver.storage.invites import Invite, Preview

INVITES_MAX: Final = 100
"""Invites of a group that are valid at the same time."""

DEFAULT_SECONDS: Final = 7 * 86_400
"""How long an invite is valid of which nothing else is requested."""

REMOVED: Final = "You were removed from this group. A member who may add others can add you again."


class NewInvite(msgspec.Struct, frozen=True):
    """An invite that was made; the only place where its code exists in the clear."""

    invite: Invite
    code: str


async def create_invite(
    database: Database,
    user_id: int,
    group_id: int,
    *,
    expires_in_seconds: int = DEFAULT_SECONDS,
    max_uses: int | None = None,
) -> NewInvite:
    """Make an invite to a group; its creator may add members.

    Raises:
        ValidationFailed: the group has INVITES_MAX invites. ChatNotFound, NotAMember, NotAnAdmin.
    """
    async with changing(database, user_id, group_id, "add") as (connection, _, _own, trail):
        await invites.forget_expired(connection, group_id)
        if await invites.count(connection, group_id) >= INVITES_MAX:
            raise ValidationFailed.of("group_id", f"the group has {INVITES_MAX} invites: revoke one first")
        code = make_code(group_id, secrets.token_bytes(RANDOM_BYTES))
        invite = await invites.insert_invite(
            connection,
            group_id,
            user_id,
            digest_of(code),
            expires_in_seconds=expires_in_seconds,
            max_uses=max_uses,
        )
        await trail.add(act("group_invite_created", user_id, group_id, invite_id=invite.invite_id))
        return NewInvite(invite, code)


async def list_invites(database: Database, user_id: int, group_id: int) -> list[Invite]:
    """Return the valid invites of a group, the newest first: all to an admin, their own to another who may add.

    Raises:
        ChatNotFound, NotAMember, NotAnAdmin.
    """
    async with changing(database, user_id, group_id, "add", reads=True) as (connection, group, own, _):
        is_admin = may("administer", own.role, group.fields)
        return await invites.listed(connection, group_id, None if is_admin else user_id)


async def revoke_invite(database: Database, user_id: int, group_id: int, invite_id: int) -> None:
    """Revoke an invite, at once; one that there is not, or no longer, changes nothing.

    Raises:
        NotAnAdmin: the caller may not add members, or is no admin and the invite is another user's.
        ChatNotFound, NotAMember.
    """
    async with changing(database, user_id, group_id, "add") as (connection, group, own, trail):
        creator_id = await invites.creator_of(connection, group_id, invite_id) if checks.is_id(invite_id) else None
        if creator_id is None:
            return
        if creator_id != user_id and not may("administer", own.role, group.fields):
            raise NotAnAdmin
        await invites.delete(connection, group_id, invite_id)
        await trail.add(act("group_invite_revoked", user_id, group_id, invite_id=invite_id))


def _checked(code: str) -> tuple[int, bytes]:
    """Return the group that a code names, and the digest of the code.

    Raises:
        ValidationFailed: it is too long, or cannot be stored. InviteNotFound: no invite can have it.
    """
    group_id = group_of(checks.check_text(code, "code", max_chars=INVITE_CODE_MAX_CHARS))
    if group_id is None or not checks.is_id(group_id):
        raise InviteNotFound
    return group_id, digest_of(code)


async def preview_invite(database: Database, code: str) -> Preview:
    """Return what a group shows to those who have a code.

    Raises:
        ValidationFailed: as of `_checked`. InviteNotFound: there is no such invite, or it is not valid any more.
    """
    found = await invites.preview(database, *_checked(code))
    if found is None:
        raise InviteNotFound
    return found


async def join_group(database: Database, user_id: int, code: str) -> Change:
    """Make the caller a member of the group of an invite; for one who is a member already it changes nothing.

    Returns:
        The row of the group by which the caller has joined.

    Raises:
        ValidationFailed: as of `_checked`, or the group is full.
        InviteNotFound: there is no such invite, or it is not valid any more.
        NotAMember: the caller was removed from the group.
        Blocked: a block stands between the caller and an admin of the group.
    """
    group_id, code_hash = _checked(code)
    # Before the lock: codes that nobody gave out must not make a group's members wait.
    if not await invites.is_known(database, group_id, code_hash, user_id):
        raise InviteNotFound
    async with audited(database) as (connection, trail):
        group = await groups.lock_group(connection, group_id)
        own = await groups.membership(connection, group_id, user_id)
        if group is not None and own is not None and own.left_seq is None:
            return Change(group_id, None)
        invite = await invites.usable(connection, group_id, code_hash)
        if group is None or invite is None:
            raise InviteNotFound
        if own is not None and await groups.was_removed(connection, group_id, user_id):
            raise NotAMember(REMOVED)
        seq = await make_member(connection, group, trail, by=user_id, member_id=user_id, field="code")
        await invites.use(connection, group_id, invite)
        await trail.add(act("group_joined", user_id, group_id, invite_id=invite.invite_id))
        return Change(group_id, seq)
