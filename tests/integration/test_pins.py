"""The PIN beside the code: who needs it, what wrong ones cost, and how a forgotten one ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec.structs import replace

from chatserver.accounts import pins as pin_services
from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.errors import (
    ChatError,
    InvalidCode,
    InvalidPin,
    PinRequired,
    RateLimited,
    ServiceUnavailable,
    ValidationFailed,
)
from chatserver.messaging import chats
from chatserver.storage import pins as stored_pins
from tests.support.devices import sign_in as sign_in_device
from tests.support.people import Server, change_number_to, make_accounts, new_number, principal_of, sign_in
from tests.support.plainhttp import NO_TLS

if TYPE_CHECKING:
    from chatserver.accounts.sign_in import Accounts
    from chatserver.model import SignIn
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

PIN, OTHER, WRONG = "482915", "739104", "000000"


async def pinned(server: Server, accounts: Accounts, pin: str = PIN) -> SignIn:
    """Make an account with a PIN."""
    session = await sign_in(server.database)
    await accounts.pins.set_pin(principal_of(session), pin, current_pin=None)
    return session


async def again(accounts: Accounts, session: SignIn, pin: str | None, address: str) -> SignIn:
    """Sign in once more with a new code, from an address that has requested none."""
    code = await accounts.request_code(str(session.user.phone_number), address)
    return await accounts.create_session(code.phone_number, code.code, code_id=code.code_id, pin=pin, address=address)


async def noted(server: Server, user_id: int) -> list[Any]:
    """Return the actions of the rows ``sign_in`` of a user."""
    found = await server.database.fetch("SELECT chat_id FROM self_chats WHERE user_id = $1", user_id)
    rows = (await chats.read_history(server.database, user_id, found[0][0], limit=200)).rows
    return [(row.detail or {})["action"] for row in rows]


async def audited(server: Server, user_id: int) -> list[tuple[str, Any]]:
    records = await server.database.fetch(
        "SELECT action, detail::text FROM audit_events WHERE user_id = $1 AND action LIKE 'pin%' ORDER BY event_id",
        user_id,
    )
    return [tuple(record) for record in records]


async def test_a_sign_in_needs_code_and_pin_and_the_code_stays_valid_until_both_are_right(
    process: ServerProcess,
) -> None:
    phone = await sign_in_device(process)
    async with phone.http(process) as http, phone.socket(process) as socket:
        for body, status, code in (
            ({"pin": "12345"}, 422, "validation_failed"),
            ({"pin": PIN}, 204, ""),
            ({"pin": PIN}, 204, ""),
            ({"pin": OTHER}, 401, "pin_required"),
            ({"pin": OTHER, "current_pin": WRONG}, 401, "invalid_pin"),
            ({"pin": OTHER, "current_pin": PIN}, 204, ""),
            ({"pin": OTHER, "current_pin": PIN}, 204, ""),
        ):
            answer = await http.put("/api/users/me/pin", json=body)
            assert (answer.status_code, answer.json()["code"] if answer.content else "") == (status, code), body
        async with httpx.AsyncClient(base_url=process.url, verify=NO_TLS, trust_env=False) as new:
            made = (await new.post("/api/auth/code", json={"phone_number": phone.phone_number})).json()
            body = {"phone_number": phone.phone_number, "code": made["dev_code"], "code_id": made["code_id"]}
            wrong_code = "000000" if body["code"] != "000000" else "000001"
            for more, status, code in (
                # Who has no code does not learn of the PIN.
                ({"code": wrong_code}, 401, "invalid_code"),
                ({}, 401, "pin_required"),
                ({"pin": PIN}, 401, "invalid_pin"),
                ({"pin": OTHER}, 201, ""),
                ({"pin": OTHER}, 401, "invalid_code"),
            ):
                answer = await new.post("/api/auth/session", json={**body, **more})
                assert (answer.status_code, answer.json().get("code", "")) == (status, code), more
        for action in ("pin_set", "pin_refused", "code_refused", "signed_in"):
            assert (await socket.of_type("event", action=action))["chat_id"]
        assert (await http.put("/api/users/me/pin", json={"pin": None, "current_pin": OTHER})).status_code == 204
        assert (await http.put("/api/users/me/pin", json={"pin": None, "current_pin": OTHER})).status_code == 204
        await socket.of_type("event", action="pin_removed")
    assert (await sign_in_device(process, phone_number=phone.phone_number)).user_id == phone.user_id


async def test_who_has_no_pin_signs_in_as_before(server: Server) -> None:
    accounts = make_accounts(server.database)
    session = await sign_in(server.database)
    for pin in (None, PIN):
        assert (await again(accounts, session, pin, f"192.0.2.{len(pin or '')}")).user.user_id == session.user.user_id
    with pytest.raises(ValidationFailed, match="pin: must be six to twelve digits"):
        await again(accounts, session, "x", "192.0.2.1")


async def test_wrong_pins_make_the_next_try_wait_and_a_right_one_ends_that(server: Server) -> None:
    accounts = make_accounts(server.database)
    session = await pinned(server, accounts)
    user_id = session.user.user_id
    for _ in range(3):
        with pytest.raises(InvalidPin):
            await accounts.pins.check(user_id, WRONG)
    for seconds in (60, 240):
        # A server that starts knows as much.
        anew = make_accounts(server.database)
        for pin in (PIN, WRONG, "x"):
            with pytest.raises(RateLimited) as refused:
                await anew.pins.check(user_id, pin)
            assert seconds - 30 < (refused.value.retry_after_seconds or 0) <= seconds
        await server.database.execute("UPDATE pins SET retry_at = now()")
        with pytest.raises(InvalidPin):
            await anew.pins.check(user_id, WRONG)
    await server.database.execute("UPDATE pins SET retry_at = now()")
    assert (await again(accounts, session, PIN, "192.0.2.5")).user.user_id == user_id
    with pytest.raises(InvalidPin):
        await accounts.pins.check(user_id, WRONG)
    assert (await again(accounts, session, PIN, "192.0.2.6")).user.user_id == user_id
    actions = await noted(server, user_id)
    assert (actions.count("pin_refused"), actions.count("signed_in")) == (6, 2)


async def test_tries_at_once_are_as_few_as_tries_in_a_row(server: Server) -> None:
    accounts = make_accounts(server.database)
    session = await pinned(server, accounts)
    guesses = [f"{number:06}" for number in range(12)]
    results = await asyncio.gather(
        *(accounts.pins.check(session.user.user_id, pin) for pin in guesses), return_exceptions=True
    )
    kinds = [type(result) for result in results]
    assert (kinds.count(InvalidPin), kinds.count(RateLimited)) == (3, 9)


async def test_who_has_no_code_uses_up_no_tries(server: Server) -> None:
    accounts = make_accounts(server.database)
    session = await pinned(server, accounts)
    for _ in range(8):
        with pytest.raises(InvalidCode):
            await accounts.create_session(str(session.user.phone_number), "000000", pin=WRONG, address="203.0.113.9")
    assert await accounts.pins.check(session.user.user_id, PIN)


async def test_a_pin_that_is_forgotten_ends_after_a_week_without_a_device_in_use(server: Server) -> None:
    accounts = make_accounts(server.database)
    session = await pinned(server, accounts)
    user_id = session.user.user_id
    await Devices(server.database).revoke(user_id, session.device_id)
    age = "UPDATE devices SET last_used = now() - make_interval(secs => $1) WHERE user_id = $2"
    await server.database.execute(age, pin_services.FORGOTTEN_SECONDS - 60.0, user_id)
    with pytest.raises(PinRequired):
        await again(accounts, session, None, "192.0.2.5")
    await server.database.execute(age, pin_services.FORGOTTEN_SECONDS + 60.0, user_id)
    assert (await again(accounts, session, None, "192.0.2.6")).user.user_id == user_id
    assert await accounts.pins.check(user_id, None) is None
    assert await audited(server, user_id) == [("pin_set", None), ("pin_removed", '{"reason": "forgotten"}')]
    # And no wrong PIN keeps one out who has forgotten it.
    assert (await again(accounts, session, WRONG, "192.0.2.7")).user.user_id == user_id


async def test_two_devices_that_set_a_pin_at_once_set_one(server: Server) -> None:
    accounts = make_accounts(server.database)
    session = await sign_in(server.database)
    caller = principal_of(session)
    results = await asyncio.gather(
        *(accounts.pins.set_pin(caller, pin, current_pin=None) for pin in (PIN, OTHER)), return_exceptions=True
    )
    assert [type(result) for result in results if result is not None] == [PinRequired]
    winner = (PIN, OTHER)[results.index(None)]
    assert await accounts.pins.check(session.user.user_id, winner)
    # The same one twice is set once.
    ada = await sign_in(server.database)
    await asyncio.gather(*(accounts.pins.set_pin(principal_of(ada), PIN, current_pin=None) for _ in range(2)))
    assert await noted(server, ada.user.user_id) == ["pin_set"]


async def test_a_pin_that_is_set_while_somebody_signs_in_is_needed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = make_accounts(server.database)
    session = await sign_in(server.database)
    look = stored_pins.account_with_pin

    async def look_and_set(*arguments: Any) -> Any:
        found = await look(*arguments)
        if found is None:
            await accounts.pins.set_pin(principal_of(session), PIN, current_pin=None)
        return found

    monkeypatch.setattr(stored_pins, "account_with_pin", look_and_set)
    with pytest.raises(PinRequired):
        await again(accounts, session, None, "192.0.2.5")
    assert len(await Devices(server.database).list_devices(session.user.user_id)) == 1


async def test_a_change_of_number_needs_the_pin(server: Server) -> None:
    accounts = make_accounts(server.database)
    session = await pinned(server, accounts)
    code = await accounts.request_code(new_number(), "192.0.2.5")

    async def change(pin: str | None) -> str | None:
        return (await change_number_to(server, accounts, session, code, "192.0.2.5", pin=pin)).phone_number

    for pin, error in ((None, PinRequired), (WRONG, InvalidPin)):
        with pytest.raises(error):
            await change(pin)
    assert await change(PIN) == code.phone_number
    # The PIN is the account's, whatever its number.
    with pytest.raises(PinRequired):
        await again(
            accounts, replace(session, user=replace(session.user, phone_number=code.phone_number)), None, "192.0.2.6"
        )


async def test_what_is_stored_is_of_no_use_without_the_secret_key(server: Server) -> None:
    accounts = make_accounts(server.database)
    one, two = await pinned(server, accounts), await pinned(server, accounts)
    rows = await server.database.fetch("SELECT salt, pin_hash FROM pins")
    assert len({row[0] for row in rows}) == len({row[1] for row in rows}) == 2
    other = make_accounts(server.database, b"another key of 32 bytes or so ...")
    with pytest.raises(InvalidPin):
        await other.pins.check(one.user.user_id, PIN)
    assert await accounts.pins.check(two.user.user_id, PIN)


async def test_a_server_hashes_one_pin_at_a_time_and_refuses_when_many_wait(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = make_accounts(server.database)
    sessions = [await pinned(server, accounts) for _ in range(3)]
    monkeypatch.setattr(pin_services, "HASHES_WAITING", 2)
    results = await asyncio.gather(
        *(accounts.pins.check(session.user.user_id, PIN) for session in sessions), return_exceptions=True
    )
    assert sum(isinstance(result, bytes) for result in results) == 2
    assert [type(result) for result in results if isinstance(result, ChatError)] == [ServiceUnavailable]


async def test_a_deleted_account_leaves_no_pin(server: Server) -> None:
    accounts = make_accounts(server.database)
    session = await pinned(server, accounts)
    await Deletions(server.database, Devices(server.database)).delete_account(principal_of(session))
    assert not await server.database.fetch("SELECT FROM pins")
    assert (await again(accounts, session, None, "192.0.2.5")).user.user_id != session.user.user_id


@pytest.mark.parametrize("pin", ["", "12345", "1" * 13, "12345a", "\u0661\u0662\u0663\u0664\u0665\u0666", "123456\n"])
async def test_a_pin_has_six_to_twelve_digits(server: Server, pin: str) -> None:
    accounts = make_accounts(server.database)
    session = await sign_in(server.database)
    with pytest.raises(ValidationFailed):
        await accounts.pins.set_pin(principal_of(session), pin, current_pin=None)
