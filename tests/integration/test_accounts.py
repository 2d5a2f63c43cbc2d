"""Sign-in, devices, tickets and profiles on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatserver.accounts.code_limits import CODE_SECONDS, CodeLimits
from chatserver.accounts.devices import AUTHENTICATION_SECONDS, Devices
from chatserver.accounts.sign_in import Accounts
from chatserver.errors import (
    DeviceNotFound,
    InvalidCode,
    RateLimited,
    Unauthenticated,
    UsernameTaken,
    UserNotFound,
    ValidationFailed,
)
from chatserver.fanout.hub import Hub
from chatserver.fleet import housekeeping
from chatserver.hints import Hint
from chatserver.messaging import feed
from chatserver.users import users
from tests.support.people import Server, make_accounts, new_number, sign_in

if TYPE_CHECKING:
    from collections.abc import Collection

pytestmark = pytest.mark.integration

KEY = b"k" * 32
HERE = "192.0.2.1"


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def test_second_sign_in_is_another_device_of_the_same_user(server: Server) -> None:
    first = await sign_in(server.database, "Ada")
    second = await sign_in(server.database, None, first.user.phone_number)
    assert second.user.user_id == first.user.user_id
    assert second.user.username == "Ada"
    assert (second.device_id, second.token) != (first.device_id, first.token)
    devices = Devices(server.database)
    assert [device.device_id for device in await devices.list_devices(first.user.user_id)] == [
        second.device_id,
        first.device_id,
    ]


async def test_code_is_good_once_and_for_five_tries(server: Server) -> None:
    accounts = make_accounts(server.database)
    number = new_number()
    request = await accounts.request_code(number, HERE)
    assert len(request.code) == 6
    for _try in range(4):
        with pytest.raises(InvalidCode):
            await accounts.create_session(number, wrong(request.code), address=HERE)
    await accounts.create_session(number, request.code, address=HERE)
    with pytest.raises(InvalidCode):
        await accounts.create_session(number, request.code, address=HERE)
    request = await accounts.request_code(number, HERE)
    for _try in range(5):
        with pytest.raises(InvalidCode):
            await accounts.create_session(number, wrong(request.code), address=HERE)
    with pytest.raises(InvalidCode):
        await accounts.create_session(number, request.code, address=HERE)
    with pytest.raises(InvalidCode):
        await accounts.create_session(new_number(), request.code, address=HERE)


async def test_code_expires_and_is_bound_to_the_key(server: Server) -> None:
    accounts = make_accounts(server.database)
    number = new_number()
    request = await accounts.request_code(number, HERE)
    with pytest.raises(InvalidCode):
        await make_accounts(server.database, b"x" * 32).create_session(number, request.code, address=HERE)
    await server.database.execute("UPDATE code_requests SET expires_at = now() - interval '1 second'")
    with pytest.raises(InvalidCode):
        await accounts.create_session(number, request.code, address=HERE)


async def test_two_sign_ins_with_one_code_at_once_make_one_session(server: Server) -> None:
    accounts = make_accounts(server.database)
    request = await accounts.request_code(new_number(), HERE)
    results = await asyncio.gather(
        *(accounts.create_session(request.phone_number, request.code, address=HERE) for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(not isinstance(item, BaseException) for item in results) == 1
    assert sum(isinstance(item, InvalidCode) for item in results) == 3


async def test_an_address_gets_so_many_codes_an_hour(server: Server) -> None:
    refused: list[str] = []
    accounts = Accounts(
        server.database,
        secret_key=KEY,
        limits=CodeLimits(per_address_per_hour=3, per_number_per_hour=5, per_hour=100),
        on_refused=refused.append,
    )
    for _count in range(3):
        await accounts.request_code(new_number(), "2001:db8::1")
    number = new_number()
    for address in ("2001:db8::1", "2001:db8::2"):
        with pytest.raises(RateLimited) as caught:
            await accounts.request_code(number, address)
        assert caught.value.retry_after_seconds is not None
        assert 1 <= caught.value.retry_after_seconds <= 3600
    assert refused == ["codes", "codes"]
    # What was refused left nothing behind that would hold the number's owner up.
    await accounts.request_code(number, "2001:db8:0:1::1")


async def age_code(server: Server, number: str, seconds: float) -> None:
    await server.database.execute(
        "UPDATE code_requests SET created_at = created_at - make_interval(secs => $2), "
        "expires_at = expires_at - make_interval(secs => $2) WHERE phone_number = $1",
        number,
        seconds,
    )


async def test_a_number_waits_longer_for_each_code_that_nobody_uses(server: Server) -> None:
    accounts = make_accounts(server.database)
    number = new_number()
    for wait_seconds in (30, 60, 120, 240):
        await accounts.request_code(number, HERE)
        with pytest.raises(RateLimited) as caught:
            await accounts.request_code(number, HERE)
        assert caught.value.retry_after_seconds == wait_seconds
        await age_code(server, number, wait_seconds)
    used = await accounts.request_code(number, HERE)
    # A used code ends both the waits and the hour's count: whoever has the number signs in as often as they like.
    for _count in range(10):
        await accounts.create_session(number, used.code, address=HERE)
        used = await accounts.request_code(number, HERE)
    await age_code(server, number, CODE_SECONDS)
    # Nor does a code hold anything up that is too old to be used.
    await accounts.request_code(number, HERE)
    with pytest.raises(RateLimited) as caught:
        await accounts.request_code(number, HERE)
    assert caught.value.retry_after_seconds == 30


async def test_a_number_gets_so_many_codes_an_hour_that_nobody_uses(server: Server) -> None:
    accounts = make_accounts(server.database, per_number_per_hour=3)
    number = new_number()
    for _count in range(3):
        await accounts.request_code(number, HERE)
        await age_code(server, number, CODE_SECONDS)
    with pytest.raises(RateLimited) as caught:
        await accounts.request_code(number, HERE)
    assert caught.value.retry_after_seconds is not None
    assert 1 <= caught.value.retry_after_seconds <= 3600
    await accounts.request_code(new_number(), HERE)


async def test_of_requests_at_once_for_one_number_one_gets_a_code(server: Server) -> None:
    accounts = make_accounts(server.database)
    for number in (new_number(), new_number()):
        results = await asyncio.gather(*(accounts.request_code(number, HERE) for _ in range(5)), return_exceptions=True)
        (made,) = [result for result in results if not isinstance(result, BaseException)]
        assert sum(isinstance(result, RateLimited) for result in results) == 4
        await accounts.create_session(number, made.code, address=HERE)


async def test_a_number_with_an_account_is_answered_like_one_without(server: Server) -> None:
    accounts = make_accounts(server.database)
    ada = await sign_in(server.database, "Ada")

    async def ask(number: str) -> list[object]:
        answers: list[object] = []
        for _count in range(2):
            try:
                made = await accounts.request_code(number, HERE)
                answers.append((len(made.code), made.expires_in_seconds))
            except RateLimited as error:
                answers.append((error.detail, error.retry_after_seconds))
        for code in ("x", "0000000"):
            with pytest.raises(InvalidCode) as caught:
                await accounts.create_session(number, code, address=HERE)
            answers.append(caught.value.detail)
        return answers

    assert await ask(ada.user.phone_number or "") == await ask(new_number())


async def test_username_is_unique_without_case_and_a_clash_leaves_the_code_usable(server: Server) -> None:
    await sign_in(server.database, "Straße")
    accounts = make_accounts(server.database)
    request = await accounts.request_code(new_number(), HERE)
    with pytest.raises(UsernameTaken) as caught:
        await accounts.create_session(request.phone_number, request.code, username="STRASSE", address=HERE)
    assert [error.path for error in caught.value.errors] == ["username"]
    with pytest.raises(ValidationFailed):
        await accounts.create_session(request.phone_number, request.code, username="+4917", address=HERE)
    session = await accounts.create_session(request.phone_number, request.code, username="Bob", address=HERE)
    with pytest.raises(UsernameTaken):
        await users.update_profile(server.database, session.user.user_id, users.ProfileChange(username="strasse"))
    changed = await users.update_profile(
        server.database,
        session.user.user_id,
        users.ProfileChange(username="BOB", profile_picture_url="https://example.com/b.png"),
    )
    assert (changed.username, changed.profile_picture_url) == ("BOB", "https://example.com/b.png")
    cleared = await users.update_profile(
        server.database, session.user.user_id, users.ProfileChange(profile_picture_url=None)
    )
    assert (cleared.username, cleared.profile_picture_url) == ("BOB", None)
    # Other devices hear that something changed, and never from a refused change, nor from one that is repeated.
    for same in (users.ProfileChange(username="BOB"), users.ProfileChange(profile_picture_url=None)):
        assert await users.update_profile(server.database, session.user.user_id, same) == cleared
    told = (await feed.read_feed(server.database, session.user.user_id, events=True)).rows
    assert [(row.kind, row.seq, row.detail) for row in told] == [
        ("profile", 1, {"fields": ["username", "profile_picture_url"]}),
        ("profile", 2, {"fields": ["profile_picture_url"]}),
    ]
    found = await users.find_user(server.database, username="bob")
    assert found == await users.find_user(server.database, phone_number=session.user.phone_number) == cleared
    assert found == await users.get_user(server.database, session.user.user_id)
    for missing in (
        users.get_user(server.database, 2**70),
        users.find_user(server.database, username="nobody"),
        users.find_user(server.database, phone_number="+15559999999"),
    ):
        with pytest.raises(UserNotFound):
            await missing


async def test_revoked_token_dies_here_at_once_and_elsewhere_with_the_hint_or_the_cache(server: Server) -> None:
    heard: list[Hint] = []
    listener = await server.database.listen(lambda payload: heard.append(Hint.decode(payload)))
    ada, eve = await sign_in(server.database, "Ada"), await sign_in(server.database, "Eve")
    now = 100.0
    here, elsewhere = (Devices(server.database, monotonic=lambda: now) for _ in range(2))
    for devices in (here, elsewhere):
        assert (await devices.authenticate(ada.token)).device_id == ada.device_id
    with pytest.raises(DeviceNotFound):
        await here.revoke(eve.user.user_id, ada.device_id)
    await here.revoke(ada.user.user_id, ada.device_id)
    await here.revoke(ada.user.user_id, ada.device_id)
    with pytest.raises(Unauthenticated):
        await here.authenticate(ada.token)
    assert (await elsewhere.authenticate(ada.token)).device_id == ada.device_id
    now += AUTHENTICATION_SECONDS
    with pytest.raises(Unauthenticated):
        await elsewhere.authenticate(ada.token)
    ended: list[Collection[int]] = []
    await Devices(server.database, on_ended=ended.append).end_revoked([ada.device_id, eve.device_id])
    assert ended == [{ada.device_id}]
    while not heard:
        await asyncio.sleep(0.01)
    assert heard == [Hint("server-1", revoked=(ada.device_id,))]
    assert (await elsewhere.authenticate(eve.token)).user_id == eve.user.user_id
    await elsewhere.flush_used()
    listener.close()


async def test_ticket_opens_one_socket_within_its_time(server: Server) -> None:
    ada = await sign_in(server.database, "Ada")
    devices = Devices(server.database)
    principal = await devices.authenticate(ada.token)
    ticket = await devices.issue_ticket(principal)
    assert await devices.redeem_ticket(ticket) == principal
    with pytest.raises(Unauthenticated):
        await devices.redeem_ticket(ticket)
    late = await devices.issue_ticket(principal)
    await server.database.execute("UPDATE ws_tickets SET expires_at = now()")
    with pytest.raises(Unauthenticated):
        await devices.redeem_ticket(late)
    orphan = await devices.issue_ticket(principal)
    await devices.revoke(ada.user.user_id, ada.device_id)
    with pytest.raises(Unauthenticated):
        await devices.redeem_ticket(orphan)


async def test_database_holds_no_token_code_or_ticket_in_the_clear(server: Server) -> None:
    accounts = make_accounts(server.database)
    ada = await sign_in(server.database, "Ada")
    devices = Devices(server.database)
    ticket = await devices.issue_ticket(await devices.authenticate(ada.token))
    request = await accounts.request_code(new_number(), HERE)
    dump = await server.database.fetch(
        "SELECT d::text FROM devices d UNION ALL SELECT t::text FROM ws_tickets t UNION ALL "
        "SELECT encode(code_hmac, 'escape') FROM code_requests"
    )
    text = "\n".join(row[0] for row in dump)
    assert len(dump) == 3
    for secret in (ada.token, ticket, request.code):
        assert secret not in text
        assert secret.encode().hex() not in text


async def test_a_server_writes_when_devices_were_last_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "PERIOD_SECONDS", 0.01)
    ada = await sign_in(server.database, "Ada")
    await server.database.execute("UPDATE devices SET last_used = now() - interval '1 day'")
    devices = Devices(server.database)
    (before,) = await devices.list_devices(ada.user.user_id)
    await devices.authenticate(ada.token)
    running = asyncio.create_task(housekeeping.run(server.database, devices, Hub(), audit_days=90))
    async with asyncio.timeout(30):
        while (await devices.list_devices(ada.user.user_id))[0].last_used_us == before.last_used_us:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
