"""A stranger can neither lock a number out of sign-in nor spend its owner's code; and guessing is bounded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from chatserver.accounts.code_limits import (
    CODE_SECONDS,
    CODE_TRIES,
    NUMBER_WRONG_TRIES_PER_DAY,
    SITE_FACTOR,
    WRONG_TRIES_PER_DAY,
)
from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.errors import InvalidCode, RateLimited, ValidationFailed
from chatserver.fleet import housekeeping
from chatserver.messaging import chats
from tests.support.people import Server, make_accounts, new_number, sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.accounts.sign_in import Accounts
    from chatserver.model import CodeRequest

pytestmark = pytest.mark.integration

OWNER = "192.0.2.1"
STRANGER = "198.51.100.7"


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def guess(accounts: Accounts, made: CodeRequest, times: int, *, address: str, code_id: str | None = None) -> int:
    """Try wrong codes until one is refused for being too many; returns how many were looked at."""
    for looked_at in range(times):
        try:
            await accounts.create_session(made.phone_number, wrong(made.code), address=address, code_id=code_id)
        except InvalidCode:
            continue
        except RateLimited:
            return looked_at
    return times


async def age_codes(server: Server, seconds: float) -> None:
    await server.database.execute(
        "UPDATE code_requests SET created_at = created_at - make_interval(secs => $1), "
        "expires_at = expires_at - make_interval(secs => $1)",
        float(seconds),
    )


async def test_a_stranger_spends_neither_the_owners_code_nor_their_requests(server: Server) -> None:
    accounts = make_accounts(server.database, per_number_per_hour=5)
    number = new_number()
    for _ in range(5):
        made = await accounts.request_code(number, STRANGER)
        await age_codes(server, CODE_SECONDS)
    with pytest.raises(RateLimited):
        await accounts.request_code(number, STRANGER)
    owners = await accounts.request_code(number, OWNER)
    made = await accounts.request_code(new_number(), STRANGER)
    for code_id in (None, made.code_id, "made up"):
        await guess(accounts, owners, CODE_TRIES + 1, address=STRANGER, code_id=code_id)
    # A later request of a stranger leaves it good too; and the owner's client knows of no code_id.
    await age_codes(server, 0)
    session = await accounts.create_session(number, owners.code, address=OWNER)
    assert session.user.phone_number == number


async def test_who_shares_the_address_cannot_spend_what_the_code_id_binds(server: Server) -> None:
    accounts = make_accounts(server.database)
    owners = await accounts.request_code(new_number(), OWNER)
    assert await guess(accounts, owners, 3 * WRONG_TRIES_PER_DAY, address=OWNER) == 3 * WRONG_TRIES_PER_DAY
    with pytest.raises(InvalidCode):
        await accounts.create_session(owners.phone_number, owners.code, address=OWNER)
    await accounts.create_session(owners.phone_number, owners.code, address=STRANGER, code_id=owners.code_id)


async def test_a_code_is_good_with_its_own_code_id_or_address_alone(server: Server) -> None:
    accounts = make_accounts(server.database)
    number = new_number()
    first, second = await accounts.request_code(number, OWNER), await accounts.request_code(number, STRANGER)
    tries: list[tuple[str, str, str | None]] = [
        (first.code, OWNER, second.code_id),
        (first.code, OWNER, "x"),
        (first.code, OWNER, ""),
        (first.code, STRANGER, None),
        (first.code, "203.0.113.9", None),
    ]
    for code, address, code_id in tries:
        if first.code == second.code:
            continue
        with pytest.raises(InvalidCode):
            await accounts.create_session(number, code, address=address, code_id=code_id)
    with pytest.raises(InvalidCode):
        await accounts.create_session(new_number(), first.code, address=OWNER, code_id=first.code_id)
    one = await accounts.create_session(number, first.code, address="203.0.113.9", code_id=first.code_id)
    # Another device that asked at the same time has its own.
    two = await accounts.create_session(number, second.code, address=STRANGER)
    assert one.user.user_id == two.user.user_id


async def test_wrong_codes_for_a_number_are_bounded_a_day_and_never_for_who_signed_in_before(server: Server) -> None:
    accounts = make_accounts(server.database, per_number_per_hour=1000)
    ada = await sign_in(server.database, "Ada")
    number = ada.user.phone_number
    kept = await accounts.request_code(number, OWNER)
    await accounts.create_session(number, kept.code, code_id=kept.code_id, address=OWNER)
    looked_at = 0
    for site in range(NUMBER_WRONG_TRIES_PER_DAY):
        # An IPv6 /48 is one stranger, however many customers' worth of addresses it has.
        for customer in range(4):
            address = f"2001:db8:{site:x}:{customer:x}::1"
            made = await accounts.request_code(number, address)
            looked_at += await guess(accounts, made, CODE_TRIES, address=address, code_id=made.code_id)
        assert looked_at == min((site + 1) * WRONG_TRIES_PER_DAY, NUMBER_WRONG_TRIES_PER_DAY)
        if looked_at == NUMBER_WRONG_TRIES_PER_DAY:
            break
    made = await accounts.request_code(number, "203.0.113.9")
    with pytest.raises(RateLimited) as caught:
        # Not even the right one: else the answer would tell it.
        await accounts.create_session(number, made.code, code_id=made.code_id, address="203.0.113.9")
    assert (caught.value.retry_after_seconds or 0) > 3600
    again = await accounts.request_code(number, OWNER)
    await accounts.create_session(number, again.code, code_id=again.code_id, address=OWNER)


async def test_guesses_at_the_same_time_are_counted_one_by_one(server: Server) -> None:
    accounts = make_accounts(server.database, per_number_per_hour=1000)
    number = new_number()
    requests = []
    for _ in range(2 + WRONG_TRIES_PER_DAY // CODE_TRIES):
        requests.append(await accounts.request_code(number, STRANGER))
        await age_codes(server, 1)
        await server.database.execute("UPDATE code_requests SET sends = 0")
    looked_at = await asyncio.gather(
        *(guess(accounts, made, CODE_TRIES, address=STRANGER, code_id=made.code_id) for made in requests)
    )
    assert sum(looked_at) == WRONG_TRIES_PER_DAY


async def test_a_number_is_sent_so_many_codes_an_hour_by_all_and_still_one_by_its_owner(server: Server) -> None:
    accounts = make_accounts(server.database, per_number_per_hour=1)
    ada = await sign_in(server.database, "Ada")
    number = ada.user.phone_number
    first = await accounts.request_code(number, OWNER)
    await accounts.create_session(number, first.code, address=OWNER)
    for host in range(4):
        await accounts.request_code(number, f"203.0.113.{host}")
    with pytest.raises(RateLimited):
        await accounts.request_code(number, "203.0.113.9")
    await accounts.request_code(number, OWNER)
    with pytest.raises(RateLimited):
        await accounts.request_code(number, OWNER)


async def test_addresses_sites_and_the_whole_chat_get_so_many_codes_an_hour(server: Server) -> None:
    accounts = make_accounts(server.database, per_address_per_hour=2, per_hour=2 * SITE_FACTOR + 3)
    for customer in range(SITE_FACTOR):
        for _ in range(2):
            await accounts.request_code(new_number(), f"2001:db8:1:{customer:x}::1")
        with pytest.raises(RateLimited):
            await accounts.request_code(new_number(), f"2001:db8:1:{customer:x}::2")
    with pytest.raises(RateLimited):
        await accounts.request_code(new_number(), "2001:db8:1:ffff::1")
    for host in range(3):
        await accounts.request_code(new_number(), f"203.0.113.{host}")
    # Whoever it is: text messages cost money.
    with pytest.raises(RateLimited):
        await accounts.request_code(new_number(), "203.0.113.9")


async def test_an_address_that_guesses_at_many_numbers_is_stopped(server: Server) -> None:
    accounts = make_accounts(server.database, per_address_per_hour=4)
    made = [await accounts.request_code(new_number(), STRANGER) for _ in range(4)]
    looked_at = [await guess(accounts, each, 2, address=STRANGER, code_id=each.code_id) for each in made]
    assert looked_at == [2, 2, 0, 0]


async def test_only_numbers_with_an_allowed_calling_code_sign_in(server: Server) -> None:
    accounts = make_accounts(server.database, calling_codes=("49", "1242"))
    for number in ("+12125550101", "+442071838750"):
        with pytest.raises(ValidationFailed) as caught:
            await accounts.request_code(number, OWNER)
        assert [error.path for error in caught.value.errors] == ["phone_number"]
    for number in ("+4915112345678", "+12423456789"):
        await accounts.request_code(number, OWNER)


async def test_the_users_other_devices_hear_of_sign_ins_and_wrong_codes(server: Server) -> None:
    accounts = make_accounts(server.database)
    ada = await sign_in(server.database, "Ada")
    user_id, number = ada.user.user_id, ada.user.phone_number
    # Nobody was there to be told of the first one.
    assert not await server.database.fetch("SELECT FROM self_chats")
    made = await accounts.request_code(number, STRANGER)
    await guess(accounts, made, 3, address=STRANGER)
    second = await sign_in(server.database, None, number)
    ((chat_id,),) = [tuple(row) for row in await server.database.fetch("SELECT chat_id FROM self_chats")]
    rows = (await chats.read_history(server.database, user_id, chat_id)).rows
    assert [(row.kind, row.detail) for row in rows] == [
        ("sign_in", {"action": "code_refused"}),
        ("sign_in", {"action": "signed_in", "device_id": second.device_id}),
    ]


async def test_an_account_is_deleted_beside_its_sign_ins(server: Server) -> None:
    accounts = make_accounts(server.database)
    deletions = Deletions(server.database, Devices(server.database))
    for _ in range(12):
        number = new_number()
        ada = await sign_in(server.database, None, number)
        asked = [await accounts.request_code(number, f"203.0.113.{host}") for host in range(3)]
        caller = await Devices(server.database).authenticate(ada.token)
        results = await asyncio.gather(
            *(accounts.create_session(number, made.code, code_id=made.code_id) for made in asked),
            deletions.delete_account(caller),
            return_exceptions=True,
        )
        assert [error for error in results if isinstance(error, BaseException) and type(error) is not InvalidCode] == []


async def test_what_is_over_is_swept(server: Server) -> None:
    accounts = make_accounts(server.database)
    ada = await sign_in(server.database, "Ada")
    devices = Devices(server.database)
    principal = await devices.authenticate(ada.token)
    for _ in range(3):
        await devices.issue_ticket(principal)
    await accounts.request_code(new_number(), OWNER)
    counted = "SELECT (SELECT count(*) FROM code_requests), (SELECT count(*) FROM code_counters), "
    counted += "(SELECT count(*) FROM ws_tickets)"
    before = tuple((await server.database.fetch(counted))[0])
    await housekeeping.delete_expired(server.database)
    assert tuple((await server.database.fetch(counted))[0]) == before
    await server.database.execute("UPDATE code_requests SET expires_at = now() - interval '1 second'")
    await server.database.execute("UPDATE code_counters SET ends_at = now() - interval '1 second'")
    await server.database.execute("UPDATE ws_tickets SET expires_at = now() - interval '1 second'")
    await housekeeping.delete_expired(server.database)
    assert tuple((await server.database.fetch(counted))[0]) == (0, 0, 0)


async def test_a_stranger_at_another_address_holds_nobody_up_through_the_api(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as running:
        running.wait_ready()
        async with httpx.AsyncClient(base_url=running.url, verify=NO_TLS, trust_env=False) as http:
            body = {"phone_number": "+14155550101"}
            stranger, owner = {"X-Forwarded-For": STRANGER}, {"X-Forwarded-For": OWNER}
            assert (await http.post("/api/auth/code", json=body, headers=stranger)).status_code == 202
            made = await http.post("/api/auth/code", json=body, headers=owner)
            assert made.status_code == 202
            code, code_id = made.json()["dev_code"], made.json()["code_id"]
            for headers in (stranger, owner):
                for _ in range(6):
                    tried = await http.post("/api/auth/session", json={**body, "code": wrong(code)}, headers=headers)
                    assert (tried.status_code, tried.json()["code"]) == (401, "invalid_code")
            bound = await http.post("/api/auth/session", json={**body, "code": code, "code_id": code_id})
            assert bound.status_code == 201
            again = await http.post("/api/auth/code", json=body, headers=owner)
            # A client of the release before sends no code_id.
            session = await http.post(
                "/api/auth/session", json={**body, "code": again.json()["dev_code"]}, headers=owner
            )
            assert session.status_code == 201
