"""Usernames are taken once at a glance, and those of earlier rules go on working."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatserver.errors import ChatError, UsernameTaken, ValidationFailed
from chatserver.messaging import groups
from chatserver.messaging.messages import send_message
from chatserver.model import SendMessage
from chatserver.users import users
from chatserver.users.lookalikes import look
from chatserver.users.names import username_key
from chatserver.users.usernames import compare_older
from chatserver.users.users import ProfileChange
from tests.support.devices import sign_in as sign_in_device
from tests.support.people import make_accounts, new_number, sign_in

if TYPE_CHECKING:
    from tests.support.people import Server
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

CYRILLIC_COCO = "\u0441\u043e\u0441\u043e"
OLD_NAMES = ("admin", "123", "\u0430da", "\u2163", "null", CYRILLIC_COCO, "coco")


async def store_as_before(server: Server, name: str) -> tuple[int, str]:
    """Store an account as an earlier release did; returns its id and number."""
    number = new_number()
    rows = await server.database.fetch(
        "INSERT INTO users (phone_number, username, username_key) VALUES ($1, $2, $3) RETURNING user_id",
        number,
        name,
        username_key(name),
    )
    return int(rows[0][0]), number


async def skeletons(server: Server) -> dict[str, str | None]:
    rows = await server.database.fetch("SELECT username, username_skeleton FROM users WHERE username IS NOT NULL")
    return {row[0]: row[1] for row in rows}


async def rename(server: Server, user_id: int, name: str) -> None:
    await users.update_profile(server.database, user_id, ProfileChange(username=name))


@pytest.mark.parametrize("name", OLD_NAMES)
async def test_names_that_were_taken_before_go_on_working(server: Server, name: str) -> None:
    user_id, number = await store_as_before(server, name)
    await compare_older(server.database)
    # By sign-in with the name and without, by a profile that is sent back, and under the name.
    assert (await sign_in(server.database, name, number)).user.username == name
    assert (await sign_in(server.database, None, number)).user.username == name
    await rename(server, user_id, name)
    ada = (await sign_in(server.database, "Ada-Lovelace")).user.user_id
    assert (await users.find_user(server.database, username=name)).user_id == user_id
    group = await groups.create_group(server.database, ada, "group", [name])
    assert {member.user_id for member in group.members} == {ada, user_id}
    sent = await send_message(server.database, server.writer, ada, SendMessage(to=name, text="x"))
    assert sent.seq == 1
    # Nobody else can take it.
    with pytest.raises(ValidationFailed):
        await rename(server, ada, name)


async def test_a_name_of_the_greatest_length_is_found_decomposed_too(server: Server) -> None:
    ada = (await sign_in(server.database, "ada")).user.user_id
    ben = (await sign_in(server.database, "é" * 50)).user.user_id
    typed = "e\u0301" * 50
    assert (await users.find_user(server.database, username=typed)).user_id == ben
    group = await groups.create_group(server.database, ada, "group", [typed])
    assert {member.user_id for member in group.members} == {ada, ben}
    assert (await send_message(server.database, server.writer, ada, SendMessage(to=typed, text="x"))).seq == 1
    for act in (
        users.find_user(server.database, username=typed + "x"),
        groups.create_group(server.database, ada, "group", [typed + "x"]),
        send_message(server.database, server.writer, ada, SendMessage(to=typed + "x", text="x")),
    ):
        with pytest.raises(ValidationFailed, match="at most 50 characters, this has 51"):
            await act


async def test_a_reserved_name_is_refused_and_leaves_the_code_usable(server: Server) -> None:
    accounts = make_accounts(server.database)
    request = await accounts.request_code(new_number(), "192.0.2.1")
    for name in ("admin", "123", "\u0430da", "\u200b", "a b"):
        with pytest.raises(ValidationFailed):
            await accounts.create_session(request.phone_number, request.code, username=name, code_id=request.code_id)
    session = await accounts.create_session(
        request.phone_number, request.code, username="\u0930\u0935\u093f", code_id=request.code_id
    )
    assert session.user.username == "\u0930\u0935\u093f"


@pytest.mark.parametrize(
    ("first", "second"), [("coco", CYRILLIC_COCO), (CYRILLIC_COCO, "coco"), ("paypal", "PayPaI"), ("bob", "b0b")]
)
async def test_a_name_that_looks_like_anothers_is_taken(server: Server, first: str, second: str) -> None:
    one = (await sign_in(server.database, first)).user.user_id
    two = (await sign_in(server.database, "Other")).user.user_id
    with pytest.raises(UsernameTaken):
        await rename(server, two, second)
    with pytest.raises(UsernameTaken):
        await sign_in(server.database, second)
    # One's own name may become one that looks like it, and a name that is given up is free.
    await rename(server, one, second)
    await rename(server, one, first)
    await rename(server, one, "Somebody")
    await compare_older(server.database)
    await rename(server, two, second)


async def test_of_two_who_take_names_that_look_alike_at_once_one_gets_it(server: Server) -> None:
    ids = [(await sign_in(server.database)).user.user_id for _ in range(6)]
    names = ["paypal", "PayPaI", "paypa1", "payPaI", "PAYPAL", "paypaI"]
    done = await asyncio.gather(
        *(rename(server, user, name) for user, name in zip(ids, names, strict=True)), return_exceptions=True
    )
    assert sum(result is None for result in done) == 1
    assert {type(result) for result in done if result is not None} == {UsernameTaken}
    assert all(isinstance(result, ChatError) for result in done if result is not None)


async def test_names_of_an_earlier_release_are_compared_within_a_round(server: Server) -> None:
    user_id, _ = await store_as_before(server, "coco")
    twin, _ = await store_as_before(server, CYRILLIC_COCO)
    assert set((await skeletons(server)).values()) == {None}
    assert await compare_older(server.database) == 2
    assert await skeletons(server) == {"coco": look("coco"), CYRILLIC_COCO: look("coco")}
    assert await compare_older(server.database) == 0
    other = (await sign_in(server.database, "Other")).user.user_id
    with pytest.raises(UsernameTaken):
        await rename(server, other, "c0c0")
    # An earlier release that runs beside renames without comparing.
    for name in ("rosa", None):
        await server.database.execute(
            "UPDATE users SET username = $2, username_key = $2 WHERE user_id = $1", user_id, name
        )
        rows = await server.database.fetch("SELECT username_skeleton FROM users WHERE user_id = $1", user_id)
        assert rows[0][0] is None
    assert (await skeletons(server))[CYRILLIC_COCO] == look("coco")
    assert twin != user_id


async def test_names_by_rest(process: ServerProcess) -> None:
    ana = await sign_in_device(process)
    async with ana.http(process) as http:
        answer = await http.patch("/api/users/me", json={"username": "\u0930\u0935\u093f"})
        assert (answer.status_code, answer.json()["username"]) == (200, "\u0930\u0935\u093f")
        found = await http.get("/api/users", params={"username": "\u0930\u0935\u093f"})
        assert found.json()["user_id"] == ana.user_id
        for name in ("\u3164", "admin", "12345", "\u0430da", "a\u202eb"):
            refused = await http.patch("/api/users/me", json={"username": name})
            assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "username"), name
        for name in ("\u200b", "\u3164", "a\u202eb", "\u2800"):
            refused = await http.post("/api/groups", json={"group_name": name, "members": []})
            assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "group_name"), name
            number = {"phone_number": ana.phone_number, "code": "000000", "device_name": name}
            refused = await http.post("/api/auth/session", json=number)
            assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "device_name"), name
        family = "Trip \U0001f468\u200d\U0001f469\u200d\U0001f467"
        made = await http.post("/api/groups", json={"group_name": family, "members": []})
        assert made.json()["group_name"] == family
