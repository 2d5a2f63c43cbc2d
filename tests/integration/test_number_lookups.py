"""Look-ups by phone number: of many at once, and within what a user and an address may look up."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.errors import RateLimited
from chatserver.storage import codes
from chatserver.users.bulk import look_up
from chatserver.users.number_lookups import TOO_MANY, NumberLimits, NumberLookups
from chatserver.users.phone_numbers import check_phone_number
from tests.support.devices import sign_in as sign_in_device
from tests.support.people import Server, new_number, principal_of, sign_in
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.support.devices import Device, Socket

pytestmark = pytest.mark.integration

ADDRESS = "192.0.2.1"
_unknown = itertools.count(1)


def unknown() -> str:
    """Return a number that nobody has."""
    return f"+1303{next(_unknown):07d}"


class Ways:
    """The calls that take the number of another user."""

    def __init__(self, http: httpx.AsyncClient, socket: Socket) -> None:
        self.http, self.socket = http, socket

    async def lookup(self, number: str) -> str:
        """Look it up among others."""
        answer = await self.http.post("/api/users/lookup", json={"phone_numbers": [number]})
        return "found" if answer.is_success and answer.json()["users"] else self.result(answer)

    async def profile(self, number: str) -> str:
        """Look it up alone."""
        return self.result(await self.http.get("/api/users", params={"phone_number": number}))

    async def message(self, number: str) -> str:
        """Send to it by REST."""
        return self.result(await self.http.post("/api/messages", json={"to": number, "text": "x"}))

    async def frame(self, number: str) -> str:
        """Send to it over the socket."""
        frame = await self.socket.message("x", to=number)
        return {"user_not_found": "nobody", "rate_limited": "limited"}.get(frame.get("code", ""), "found")

    async def group(self, number: str) -> str:
        """Make a group with it."""
        return self.result(await self.http.post("/api/groups", json={"group_name": "g", "members": [number]}))

    @staticmethod
    def result(answer: httpx.Response) -> str:
        if answer.status_code == 429:
            assert answer.json()["code"] == "rate_limited"
            assert 1 <= int(answer.headers["Retry-After"]) <= 86_400
            return "limited"
        return "found" if answer.is_success and "users" not in answer.json() else "nobody"


WAYS = ("lookup", "profile", "message", "frame", "group")


@pytest.mark.parametrize("way", WAYS)
async def test_every_call_that_takes_a_number_counts_it(read_dsn: Callable[[], str], way: str) -> None:
    dsn = read_dsn()
    settings = {"CHAT_NUMBERS_PER_USER_PER_DAY": 2}
    with ServerProcess(dsn, "one", **settings) as one, ServerProcess(dsn, "two", **settings) as two:
        one.wait_ready()
        two.wait_ready()
        ana, ben = await sign_in_device(one), await sign_in_device(one)
        async with ana.http(one) as http, ana.socket(one) as socket:
            ways = Ways(http, socket)
            assert await getattr(ways, way)(ben.phone_number) == "found"
            assert await getattr(ways, way)(unknown()) == "nobody"
            for other in WAYS:
                assert await getattr(ways, other)(unknown()) == "limited", other
                # Who was found before is found again, and the caller themselves.
                assert await getattr(ways, other)(ben.phone_number) == "found", other
                assert await getattr(ways, other)(ana.phone_number) == "found", other
        assert one.metric('chatserver_rate_limited_total{limit="numbers"}') == len(WAYS)
        # Whoever goes to another server, or waits for a restart, has no more.
        async with ana.http(two) as http:
            assert await Ways(http, socket).lookup(unknown()) == "limited"
        async with ben.http(two) as http:
            assert await Ways(http, socket).profile(ana.phone_number) == "found"


async def test_all_users_of_an_address_share_what_it_may_look_up(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_NUMBERS_PER_ADDRESS_PER_DAY=2) as server:
        server.wait_ready()
        ana, ben = await sign_in_device(server), await sign_in_device(server)

        async def profile(device: Device, address: str) -> int:
            async with device.http(server) as http:
                headers = {"X-Forwarded-For": address}
                answer = await http.get("/api/users", params={"phone_number": unknown()}, headers=headers)
                return answer.status_code

        assert [await profile(device, "198.51.100.7") for device in (ana, ben, ana, ben)] == [404, 404, 429, 429]
        assert await profile(ana, "198.51.100.8") == 404
        sites = ["2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1"]
        assert [await profile(ana, address) for address in sites] == [404, 404, 429]


async def test_names_in_bulk_count_as_single_calls(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_REQUESTS_PER_DEVICE_PER_MINUTE=20) as server:
        server.wait_ready()
        ana = await sign_in_device(server, "ana")
        async with ana.http(server) as http:
            names = [f"name{number}" for number in range(20)]
            assert (await http.post("/api/users/lookup", json={"usernames": names[:10]})).status_code == 200
            assert (await http.post("/api/users/lookup", json={"usernames": names})).status_code == 429
            assert (await http.get("/api/users/me")).status_code == 200


# --- in process


def lookups(server: Server, per_user: int, per_address: int = 0) -> tuple[NumberLookups, list[str]]:
    """Return the service, and the limits that it has reported."""
    refused: list[str] = []
    limits = NumberLimits(per_user, per_address)
    return NumberLookups(server.database, limits, on_refused=refused.append), refused


async def test_what_is_no_number_or_name_is_named_and_the_others_are_found(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    bob = (await sign_in(server.database, "Bob")).user
    number = str(bob.phone_number)
    numbers, _ = lookups(server, per_user=2)
    book = ["", "reception", number, "0170 1234567", "x" * 256, "+1\x00", f"tel:{number[:5]}-{number[5:]}", unknown()]
    found = await look_up(
        server.database,
        numbers,
        ada,
        ADDRESS,
        phone_numbers=book,
        usernames=["BOB", "x" * 200, "nobody"],
        user_ids=[ada],
    )
    assert found.by_number == [None, None, bob.user_id, None, None, None, bob.user_id, None]
    assert found.by_name == [bob.user_id, None, None]
    wrong = [f"phone_numbers[{place}]" for place in (0, 1, 3, 4, 5)] + ["usernames[1]"]
    assert [error.path for error in found.errors] == wrong
    assert [user.user_id for user, _ in found.users] == [ada, bob.user_id]
    # What is wrong or written twice did not count: two numbers did.
    with pytest.raises(RateLimited):
        await look_up(server.database, numbers, ada, ADDRESS, phone_numbers=[unknown()])
    nothing = await look_up(server.database, numbers, ada, ADDRESS)
    assert (nothing.users, nothing.by_number, nothing.by_name, nothing.errors) == ([], [], [], [])


async def test_look_ups_at_once_take_no_more_than_there_is(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    numbers, refused = lookups(server, per_user=7, per_address=5)

    async def one() -> bool:
        try:
            await numbers.find(ada, ADDRESS, [check_phone_number(unknown(), "")])
        except RateLimited:
            return False
        return True

    results = await asyncio.gather(*(one() for _ in range(20)))
    assert (sum(results), len(refused)) == (5, 15)
    # What the address refused was not taken from the user: two more from elsewhere, and no third.
    elsewhere = [check_phone_number(unknown(), "") for _ in range(3)]
    with pytest.raises(RateLimited):
        await numbers.find(ada, "198.51.100.1", elsewhere)
    assert await numbers.find(ada, "198.51.100.1", elsewhere[:2]) == {}


async def test_a_refused_look_up_reveals_and_remembers_nothing(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    bob = (await sign_in(server.database, "Bob")).user
    there = check_phone_number(str(bob.phone_number), "")
    numbers, _ = lookups(server, per_user=3)
    await numbers.find(ada, ADDRESS, [check_phone_number(unknown(), "")])
    book = [there, *(check_phone_number(unknown(), "") for _ in range(2))]
    for _ in range(3):
        with pytest.raises(RateLimited) as refused:
            await numbers.find(ada, ADDRESS, book)
        assert (refused.value.detail, refused.value.errors) == (TOO_MANY, ())
    assert not await server.database.fetch("SELECT FROM found_numbers WHERE user_id = $1", ada)
    assert await numbers.find(ada, ADDRESS, book[:2]) == {there: bob.user_id}
    assert await numbers.find(ada, ADDRESS, [there]) == {there: bob.user_id}


async def test_an_allowance_is_refilled_evenly_and_full_ones_are_swept(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    numbers, _ = lookups(server, per_user=100)
    for _ in range(100):
        await numbers.find(ada, ADDRESS, [check_phone_number(unknown(), "")])
    with pytest.raises(RateLimited) as refused:
        await numbers.find(ada, ADDRESS, [check_phone_number(unknown(), "")])
    assert 800 <= (refused.value.retry_after_seconds or 0) <= 864
    await codes.sweep(server.database, 100)
    # As a quarter of a day later.
    await server.database.execute("UPDATE number_budgets SET full_at = full_at - interval '6 hours'")
    await numbers.find(ada, ADDRESS, [check_phone_number(unknown(), "") for _ in range(25)])
    with pytest.raises(RateLimited):
        await numbers.find(ada, ADDRESS, [check_phone_number(unknown(), "") for _ in range(2)])
    await server.database.execute("UPDATE number_budgets SET full_at = full_at - interval '1 day'")
    await codes.sweep(server.database, 100)
    assert not await server.database.fetch("SELECT FROM number_budgets WHERE subject = $1", f"user:{ada}")


async def test_a_number_found_in_an_older_spelling_is_found_before(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    number = "+5511961234567"
    bob = (await sign_in(server.database, phone_number=number)).user.user_id
    numbers, _ = lookups(server, per_user=1)
    for spelling in ("+551161234567", number, "+55 (11) 96123-4567"):
        dialled = check_phone_number(spelling, "")
        assert await numbers.find(ada, ADDRESS, [dialled]) == {dialled: bob}


async def test_a_deleted_account_is_remembered_by_nobody(server: Server) -> None:
    ada, bob, cy = [(await sign_in(server.database, name)) for name in ("Ada", "Bob", "Cy")]
    numbers, _ = lookups(server, per_user=9)
    for finder, other in ((ada, bob), (bob, ada), (cy, bob), (cy, ada)):
        dialled = check_phone_number(str(other.user.phone_number), "")
        assert await numbers.find(finder.user.user_id, ADDRESS, [dialled]) == {dialled: other.user.user_id}
    deletions = Deletions(server.database, Devices(server.database))
    await deletions.delete_account(principal_of(bob))
    await deletions.sweep()
    left = await server.database.fetch("SELECT user_id, found_id FROM found_numbers ORDER BY user_id")
    assert [tuple(row) for row in left] == [(cy.user.user_id, ada.user.user_id)]
    # Whoever gets the number is somebody else.
    other = await sign_in(server.database, phone_number=str(bob.user.phone_number))
    dialled = check_phone_number(str(bob.user.phone_number), "")
    assert await numbers.find(cy.user.user_id, ADDRESS, [dialled]) == {dialled: other.user.user_id}


async def test_look_ups_without_limits_count_nothing(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    numbers, refused = lookups(server, per_user=0)
    admit = numbers.admitting(ada, ADDRESS)
    await admit([check_phone_number(new_number(), "") for _ in range(100)])
    found: Any = await look_up(server.database, numbers, ada, ADDRESS, phone_numbers=[unknown()] * 3)
    assert found.by_number == [None] * 3
    assert not refused
    assert not await server.database.fetch("SELECT FROM number_budgets")
