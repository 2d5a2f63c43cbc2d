"""One number is one account, however it is spelled; an account that has an earlier form of its number keeps working."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from chatserver.accounts.code_senders import LogSender
from chatserver.accounts.sign_in import Accounts
from chatserver.messaging import groups
from chatserver.messaging.messages import send_message
from chatserver.model import SendMessage
from chatserver.users.users import find_user
from tests.support.devices import sign_in as sign_in_device
from tests.support.people import LIMITS, make_accounts, sign_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chatserver.accounts.code_senders import CodeMessage
    from tests.support.people import Server
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

TODAY, RETIRED = "+5531988887777", "+553188887777"


class NotingSender(LogSender):
    """A sender that knows which numbers it sent codes to."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[str] = []

    @contextmanager
    def reserve(self) -> Iterator[Callable[[CodeMessage], None]]:
        yield lambda message: self.numbers.append(message.phone_number)


async def signed_in(server: Server, spelling: str) -> int:
    """Sign in with a number as it is spelled, in both calls."""
    accounts = make_accounts(server.database, per_number_per_hour=100)
    request = await accounts.request_code(spelling, "192.0.2.1")
    session = await accounts.create_session(spelling, request.code, code_id=request.code_id)
    return session.user.user_id


async def store(server: Server, number: str) -> int:
    """Store an account as servers did that took Brazil's mobile numbers without the ninth digit for numbers apart."""
    rows = await server.database.fetch("INSERT INTO users (phone_number) VALUES ($1) RETURNING user_id", number)
    return int(rows[0][0])


async def reached(server: Server, sender_id: int, spelling: str) -> set[int]:
    """Return whom a spelling reaches: by a search, a message and a group."""
    sent = await send_message(server.database, server.writer, sender_id, SendMessage(to=spelling, text="x"))
    lookup = "SELECT user_id FROM chat_members WHERE chat_id = $1 AND user_id <> $2"
    by_message = [row[0] for row in await server.database.fetch(lookup, sent.chat_id, sender_id)]
    group = await groups.create_group(server.database, sender_id, "group", [spelling])
    by_group = [member.user_id for member in group.members if member.user_id != sender_id]
    return {(await find_user(server.database, phone_number=spelling)).user_id, *by_message, *by_group}


@pytest.mark.parametrize("stored", [TODAY, RETIRED])
async def test_every_spelling_reaches_the_account_in_whatever_form_its_number_is_stored(
    server: Server, stored: str
) -> None:
    user_id, ada = await store(server, stored), (await sign_in(server.database, "Ada")).user.user_id
    for spelling in (TODAY, RETIRED, "+55 (031) 8888-7777", "\u202a+55 31 98888\u20117777\u202c", "tel:+553188887777"):
        assert await signed_in(server, spelling) == user_id
        assert await reached(server, ada, spelling) == {user_id}
    assert (await server.database.fetch("SELECT count(*) FROM users"))[0][0] == 2


async def test_two_accounts_that_were_made_are_told_apart_as_before(server: Server) -> None:
    of_today, retired = await store(server, TODAY), await store(server, RETIRED)
    ada = (await sign_in(server.database, "Ada")).user.user_id
    for spelling, user_id in ((TODAY, of_today), (RETIRED, retired), ("+55 31 8888-7777", retired)):
        assert await signed_in(server, spelling) == user_id
        assert await reached(server, ada, spelling) == {user_id}


async def test_the_code_goes_to_the_number_of_today(server: Server) -> None:
    await store(server, RETIRED)
    sender = NotingSender()
    accounts = Accounts(server.database, secret_key=b"k" * 32, limits=LIMITS, sender=sender)
    for spelling in (RETIRED, TODAY):
        request = await accounts.request_code(spelling, "192.0.2.1" if spelling == TODAY else "192.0.2.2")
        assert request.phone_number == RETIRED
    assert sender.numbers == [TODAY, TODAY]


async def test_new_accounts_have_the_number_of_today(process: ServerProcess) -> None:
    first = await sign_in_device(process, phone_number="+52 1 55 1234 5678")
    again = await sign_in_device(process, phone_number="+525512345678")
    assert first.user_id == again.user_id
    async with first.http(process) as http:
        assert (await http.get("/api/users/me")).json()["phone_number"] == "+525512345678"


@pytest.mark.parametrize("query", ["+1415{}", "%2014155550101", "++14155550101"])
async def test_a_plus_that_became_a_space_is_explained(process: ServerProcess, query: str) -> None:
    ana = await sign_in_device(process)
    async with ana.http(process) as http:
        answer = await http.get(f"/api/users?phone_number={query.format(ana.phone_number[5:])}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == "phone_number"
        assert "write it as %2B" in answer.json()["detail"]
        right = await http.get(f"/api/users?phone_number=%2B{ana.phone_number[1:]}")
        assert right.json()["user_id"] == ana.user_id
