"""Change of an account's phone number, which a code proves that was sent to the new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.accounts import notices
from chatserver.accounts.code_limits import sites_of
from chatserver.accounts.pins import check_digits
from chatserver.accounts.sign_in import seen_as
from chatserver.audit import audited, mask_phone_number
from chatserver.errors import InvalidCode, Unauthenticated
from chatserver.events import ProfileDetail
from chatserver.storage import accounts, codes, number_lookups
from chatserver.storage.audit import AuditEvent
from chatserver.storage.outages import StatementFailed
from chatserver.users.users import get_user

if TYPE_CHECKING:
    from chatserver.accounts.sign_in import Accounts
    from chatserver.model import Principal, User
    from chatserver.storage.database import Database


async def change_number(
    database: Database,
    sign_ins: Accounts,
    caller: Principal,
    phone_number: str,
    code: str,
    *,
    code_id: str | None = None,
    pin: str | None = None,
    address: str = "",
) -> User:
    """Give an account another number; the number that it has already changes nothing and needs no code.

    The devices stay signed in, and get a row. Users who see the number get a frame (`fanout.profiles`).

    Args:
        database: where accounts are.
        sign_ins: checks the code.
        caller: whose account.
        phone_number: the new number, as the client wrote it.
        code: six digits that were sent to it.
        code_id: of the request for the code; None: the last request from the same address.
        pin: the account's PIN, if it has one.
        address: the client's address.

    Raises:
        ValidationFailed: not a possible phone number or PIN, or its calling code may not sign in here.
        PinRequired, InvalidPin: the account has a PIN, and none or another one is given.
        InvalidCode: wrong, expired, already used or tried five times. RateLimited: too many wrong codes or PINs.
        NumberTaken: another account has the number; the code stays valid.
        Unauthenticated: the account was deleted meanwhile. ServiceUnavailable: the database is unavailable.
    """
    check_digits("pin", pin)
    _, number = await sign_ins.dialled(phone_number)
    user = await get_user(database, caller.user_id)
    if user.phone_number == number:
        return user
    await sign_ins.pins.check(caller.user_id, pin, address=address)
    try:
        tried = await sign_ins.try_code(number, code, code_id, address)
    except InvalidCode:
        # The same call may have used it up at this moment.
        user = await get_user(database, caller.user_id)
        if user.phone_number == number:
            return user
        raise
    try:
        async with audited(database) as (connection, trail):
            own_chat = await notices.lock(connection, trail.announcement, caller.user_id)
            before = await accounts.profile_of(connection, caller.user_id)
            if before is None:
                raise Unauthenticated
            if before.phone_number == number:
                return before
            user = await accounts.change_number(connection, caller.user_id, number)
            if not await codes.use_code(connection, number, tried.request_id):
                raise InvalidCode
            await codes.forget_counted(connection, number, sites_of(tried.address, address))
            seen = {**seen_as(number, address), "former_number": mask_phone_number(before.phone_number or "")}
            event = AuditEvent(action="number_changed", user_id=caller.user_id, device_id=caller.device_id, detail=seen)
            await trail.add(event)
            await notices.add(connection, trail.announcement, own_chat, ProfileDetail(fields=["phone_number"]))
            if user.username is None:
                # Only of users without a name others see the number, and may learn that it changed.
                trail.announcement.profile(caller.user_id)
    except StatementFailed as error:
        raise accounts.number_taken(error) from error
    # To find the new number is to find another one.
    await number_lookups.forget(database, caller.user_id, is_gone=False)
    return user
