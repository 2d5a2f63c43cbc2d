"""Change of an account's number, and sign-ins that run at once with it and with each other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from chatserver.accounts.number_change import change_number
from chatserver.errors import ChatError, InvalidCode, NumberTaken, RateLimited, Unauthenticated, ValidationFailed
from chatserver.messaging import chats
from chatserver.users.number_lookups import NumberLimits, NumberLookups
from chatserver.users.phone_numbers import check_phone_number
from tests.support.devices import sign_in as sign_in_device
from tests.support.people import Server, change_number_to, make_accounts, new_number, principal_of, sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.integration

ADDRESS = "192.0.2.9"


async def own_rows(server: Server, user_id: int) -> list[tuple[str, object]]:
    """Return kind and detail of the rows of a user's own chat."""
    found = await server.database.fetch("SELECT chat_id FROM self_chats WHERE user_id = $1", user_id)
    rows = [(await chats.read_history(server.database, user_id, chat[0], limit=200)).rows for chat in found]
    return [(row.kind, row.detail) for some in rows for row in some]


@pytest.mark.parametrize("name", [None, "mover"])
async def test_who_sees_the_number_and_the_other_devices_hear_of_a_change(
    read_dsn: Callable[[], str], name: str | None
) -> None:
    dsn = read_dsn()
    with ServerProcess(dsn, "one") as one, ServerProcess(dsn, "two") as two:
        one.wait_ready()
        two.wait_ready()
        ana, ben = await sign_in_device(one, name), await sign_in_device(one, "ben")
        laptop = await sign_in_device(one, phone_number=ana.phone_number)
        new = "+14165550177"
        async with ana.http(one) as http, laptop.socket(two) as own, ben.socket(two) as other:
            sent = await http.post("/api/messages", json={"to": "ben", "text": "hello"})
            await other.text("hello")
            made = (await http.post("/api/auth/code", json={"phone_number": new})).json()
            body = {"phone_number": "+1 (416) 555-0177", "code": made["dev_code"], "code_id": made["code_id"]}
            wrong = await http.put("/api/users/me/phone_number", json={**body, "code": "x"})
            assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_code")
            for _again in range(2):
                answer = await http.put("/api/users/me/phone_number", json=body)
                assert (answer.status_code, answer.json()["phone_number"]) == (200, new)
            event = await own.until(lambda frame: frame.get("kind") == "profile")
            assert event["fields"] == ["phone_number"]
            # After it, a change that all see.
            await http.patch("/api/users/me", json={"about": "moved"})
            await other.of_type("profile", about="moved")
            frames = [frame for frame in other.frames if frame["type"] == "profile"]
            assert [frame["phone_number"] for frame in frames] == ([new, new] if name is None else [None])
            again = await http.post("/api/messages", json={"chat_id": sent.json()["chat_id"], "text": "again"})
            assert again.status_code == 200
            assert (await other.text("again"))["from"] == (name or new)
        assert (await sign_in_device(two, phone_number=new)).user_id == ana.user_id
        assert (await sign_in_device(two, phone_number=ana.phone_number)).user_id != ana.user_id
        # All devices are signed in as before.
        for device in (ana, laptop):
            async with device.http(two) as http:
                assert (await http.get("/api/users/me")).json()["phone_number"] == new


async def test_a_taken_number_stays_with_its_account_and_its_code_stays_valid(server: Server) -> None:
    accounts = make_accounts(server.database)
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    code = await accounts.request_code(str(bob.user.phone_number), ADDRESS)
    # Who has no code learns nothing of who has the number.
    for number in (bob.user.phone_number, new_number()):
        with pytest.raises(InvalidCode):
            await change_number(
                server.database, accounts, principal_of(ada), str(number), "000000", address="192.0.2.8"
            )
    with pytest.raises(NumberTaken):
        await change_number_to(server, accounts, ada, code, ADDRESS)
    assert not await own_rows(server, ada.user.user_id)
    session = await accounts.create_session(code.phone_number, code.code, code_id=code.code_id)
    assert session.user.user_id == bob.user.user_id
    assert [kind for kind, _ in await own_rows(server, bob.user.user_id)] == ["sign_in"]


async def test_a_change_is_limited_and_refused_like_a_sign_in(server: Server) -> None:
    accounts = make_accounts(server.database, calling_codes=("1",))
    ada = await sign_in(server.database, "Ada")
    with pytest.raises(ValidationFailed):
        await change_number(server.database, accounts, principal_of(ada), "+4915112345678", "000000")
    number = new_number()
    results: list[type[BaseException]] = []
    for tries in (5, 6):
        code = await accounts.request_code(number, ADDRESS)
        await server.database.execute("UPDATE code_requests SET created_at = created_at - interval '1 hour'")
        for _ in range(tries):
            with pytest.raises(ChatError) as refused:
                await change_number(
                    server.database,
                    accounts,
                    principal_of(ada),
                    number,
                    "x",
                    code_id=code.code_id,
                    address=ADDRESS,
                )
            results.append(refused.type)
    assert results == [InvalidCode] * 11
    code = await accounts.request_code(number, "192.0.2.77")
    with pytest.raises(RateLimited):
        await change_number_to(server, accounts, ada, code, ADDRESS)
    row = await server.database.fetchrow("SELECT count(*) FROM audit_events WHERE action = 'number_changed'")
    assert row is not None
    assert row[0] == 0


async def test_a_change_is_audited_and_ends_what_others_found(server: Server) -> None:
    accounts = make_accounts(server.database)
    ada, bob = await sign_in(server.database), await sign_in(server.database)
    old = str(ada.user.phone_number)
    lookups = NumberLookups(server.database, NumberLimits(1, 0), on_refused=lambda _: None)
    await lookups.find(bob.user.user_id, ADDRESS, [check_phone_number(old, "")])
    code = await accounts.request_code(new_number(), ADDRESS)
    assert (await change_number_to(server, accounts, ada, code, ADDRESS)).phone_number == code.phone_number
    with pytest.raises(RateLimited):
        await lookups.find(bob.user.user_id, ADDRESS, [check_phone_number(code.phone_number, "")])
    (event,) = await server.database.fetch(
        "SELECT user_id, device_id, detail::text FROM audit_events WHERE action = 'number_changed'"
    )
    assert tuple(event)[:2] == (ada.user.user_id, ada.device_id)
    assert old not in event[2]
    assert code.phone_number not in event[2]
    # It proved the number once.
    with pytest.raises(InvalidCode):
        await change_number_to(server, accounts, bob, code, ADDRESS)


# --- at once


async def outcomes(*calls: object) -> list[object]:
    """Return results, or the types of errors."""
    found = await asyncio.gather(*calls, return_exceptions=True)  # type: ignore[call-overload]
    return [type(each) if isinstance(each, BaseException) else each for each in found]


async def test_of_two_who_change_to_one_number_at_once_one_gets_it(server: Server) -> None:
    accounts = make_accounts(server.database)
    for turn in range(8):
        ada, bob = await sign_in(server.database), await sign_in(server.database)
        number = new_number()
        codes = [await accounts.request_code(number, f"198.51.{turn}.{host}") for host in (1, 2)]
        calls = [
            change_number_to(server, accounts, who, code, ADDRESS) for who, code in zip((ada, bob), codes, strict=True)
        ]
        results = await outcomes(*calls)
        assert results.count(NumberTaken) == 1
        row = await server.database.fetchrow("SELECT user_id FROM users WHERE phone_number = $1", number)
        assert row is not None
        winner = (ada, bob)[1 - results.index(NumberTaken)]
        assert row[0] == winner.user.user_id


async def test_one_change_that_is_made_twice_at_once_is_made_once(server: Server) -> None:
    accounts = make_accounts(server.database)
    for _ in range(5):
        ada = await sign_in(server.database)
        code = await accounts.request_code(new_number(), ADDRESS)
        results = await asyncio.gather(*(change_number_to(server, accounts, ada, code, ADDRESS) for _ in range(3)))
        assert {user.phone_number for user in results} == {code.phone_number}
        assert await own_rows(server, ada.user.user_id) == [("profile", {"fields": ["phone_number"]})]


async def test_a_change_and_a_sign_in_with_the_new_number_at_once_make_one_account_of_it(server: Server) -> None:
    accounts = make_accounts(server.database)
    for turn in range(8):
        ada, number = await sign_in(server.database), new_number()
        codes = [await accounts.request_code(number, f"198.51.{turn}.{host}") for host in (1, 2)]
        change, session = await asyncio.gather(
            change_number_to(server, accounts, ada, codes[0], ADDRESS),
            accounts.create_session(number, codes[1].code, code_id=codes[1].code_id, address=ADDRESS),
            return_exceptions=True,
        )
        assert not isinstance(session, BaseException)
        (owner,) = await server.database.fetch("SELECT user_id FROM users WHERE phone_number = $1", number)
        assert owner[0] == session.user.user_id
        if isinstance(change, BaseException):
            assert isinstance(change, NumberTaken)
            assert owner[0] != ada.user.user_id
        else:
            assert owner[0] == ada.user.user_id
            # The device that came in with the new number is announced to the others.
            assert ("sign_in", {"action": "signed_in", "device_id": session.device_id}) in await own_rows(
                server, owner[0]
            )


async def test_a_change_and_a_sign_in_with_the_old_number_at_once_never_lock_anybody_out(server: Server) -> None:
    accounts = make_accounts(server.database)
    for turn in range(8):
        ada = await sign_in(server.database)
        old = str(ada.user.phone_number)
        code = await accounts.request_code(new_number(), ADDRESS)
        other = await accounts.request_code(old, f"198.51.100.{turn}")
        change, session = await asyncio.gather(
            change_number_to(server, accounts, ada, code, ADDRESS),
            accounts.create_session(old, other.code, code_id=other.code_id, address=ADDRESS),
        )
        assert change.phone_number == code.phone_number
        if session.user.user_id == ada.user.user_id:
            # It came first: a device of the account, of which the other one hears.
            assert ("sign_in", {"action": "signed_in", "device_id": session.device_id}) in await own_rows(
                server, ada.user.user_id
            )
        else:
            assert session.user.phone_number == old


async def test_a_deleted_account_changes_no_number(server: Server) -> None:
    accounts = make_accounts(server.database)
    ada = await sign_in(server.database)
    code = await accounts.request_code(new_number(), ADDRESS)
    await server.database.execute(
        "UPDATE users SET phone_number = NULL, deleted_at = now() WHERE user_id = $1", ada.user.user_id
    )
    with pytest.raises((Unauthenticated, ChatError)):
        await change_number_to(server, accounts, ada, code, ADDRESS)
    assert not await server.database.fetch("SELECT FROM users WHERE phone_number = $1", code.phone_number)


async def test_each_sign_in_but_the_first_is_a_row_for_the_other_devices(server: Server) -> None:
    accounts = make_accounts(server.database)
    for turn in range(4):
        number = new_number()
        codes = [await accounts.request_code(number, f"203.0.{turn}.{host}") for host in range(6)]
        sessions = await asyncio.gather(
            *(
                accounts.create_session(number, code.code, code_id=code.code_id, address=f"203.0.{turn}.{host}")
                for host, code in enumerate(codes)
            )
        )
        (user_id,) = {session.user.user_id for session in sessions}
        told = [detail["device_id"] for _, detail in await own_rows(server, user_id)]  # type: ignore[index]
        assert len(told) == len(set(told)) == len(sessions) - 1
        assert set(told) < {session.device_id for session in sessions}


async def test_other_devices_hear_at_once_of_a_sign_in_by_token_and_by_cookie(process: ServerProcess) -> None:
    phone = await sign_in_device(process)

    async def sign_in_again(*, cookie: bool) -> int:
        async with httpx.AsyncClient(base_url=process.url, verify=NO_TLS, trust_env=False) as http:
            made = (await http.post("/api/auth/code", json={"phone_number": phone.phone_number})).json()
            body = {"phone_number": phone.phone_number, "code": made["dev_code"], "code_id": made["code_id"]}
            session = await http.post(
                "/api/auth/session", json={**body, "cookie": cookie}, headers={"Origin": process.url}
            )
            assert session.status_code == 201, session.text
            device_id: int = session.json()["device_id"]
            return device_id

    async with phone.socket(process) as socket:
        for cookie in (False, True):
            device_id = await sign_in_again(cookie=cookie)
            event = await socket.of_type("event", device_id=device_id)
            assert (event["kind"], event["action"]) == ("sign_in", "signed_in")
