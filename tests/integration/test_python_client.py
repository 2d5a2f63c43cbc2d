"""The Python client as its page describes it, on real servers: its blocks, its example bot, and what ends it."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import re
import signal
import sys
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from chatcluster_client import Item, LiveClient, Positions, Problem, Replaced, RestClient, SignedOut
from chatcluster_client.connection import open_socket
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python-client.md"
WAIT_SECONDS = 30


def number() -> str:
    return f"+1415{uuid.uuid4().int % 10**7:07d}"


def named(start: str) -> str:
    return f"{start}{uuid.uuid4().hex[:8]}"


async def test_each_block_of_the_page_runs_after_the_ones_before_it(process: ServerProcess) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) > 2
    names: dict[str, Any] = {}
    for block in blocks:
        source = block.replace("https://chat.example.com", process.url)
        code = compile(source, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        async with asyncio.timeout(WAIT_SECONDS):
            running = eval(code, names)  # noqa: S307 - the page's own code
            if inspect.isawaitable(running):
                await running
    assert isinstance(names["positions"], Positions)
    assert names["positions"].epoch


async def test_a_name_at_the_sign_in_is_taken_and_none_keeps_the_one_there_is(process: ServerProcess) -> None:
    phone_number, first, second = number(), named("ana"), named("eva")
    for username, expected in ((first, first), (None, first), (second, second)):
        async with await RestClient.sign_in(process.url, phone_number, username=username) as rest:
            assert rest.username == expected


async def test_a_server_that_gives_no_code_is_told_from_a_defect() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(202, json={"expires_in": 300, "code_id": "x"})

    class WithoutDevCode(RestClient):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._http = httpx.AsyncClient(base_url=self.base_url, transport=httpx.MockTransport(answer))

    with pytest.raises(Problem, match="code_needed"):
        await WithoutDevCode.sign_in("http://chat.example.com", number())


@asynccontextmanager
async def bot(url: str, file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The example as a process; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "examples" / "echo_bot.py"), url, str(file)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answers(live: LiveClient, count: int) -> list[str | None]:
    """The next messages of others."""
    found: list[str | None] = []
    async with asyncio.timeout(WAIT_SECONDS):
        async for item in live.items():
            if isinstance(item, Item) and item.kind == "message" and not item.own:
                found.append(item.text)
            if len(found) == count:
                break
    return found


async def listening(running: asyncio.subprocess.Process) -> None:
    assert running.stderr is not None
    async with asyncio.timeout(WAIT_SECONDS):
        while b"listening" not in await running.stderr.readline():
            pass


async def test_the_example_bot_answers_in_a_group_once_over_kills_and_ends_when_it_is_signed_out(
    process: ServerProcess, tmp_path: Path
) -> None:
    file = tmp_path / "bot.json"
    async with await RestClient.sign_in(process.url, number(), username=named("bot")) as device:
        # As the first run leaves it.
        file.write_text(f'{{"token": "{device.token}", "user_id": {device.user_id}}}')
        async with await RestClient.sign_in(process.url, number(), username=named("ana")) as ana:
            group = await ana.call("POST", "/api/groups", {"group_name": "Team", "members": [device.username]})
            async with LiveClient(ana) as live:
                await live.send("!echo before the bot came", chat_id=group["chat_id"])
                async with bot(process.url, file) as running:
                    await listening(running)
                    await live.send("!echo one", chat_id=group["chat_id"])
                    assert await answers(live, 1) == ["one"]
                await live.send("!echo two, while it was killed", chat_id=group["chat_id"])
                await live.send("not for it", chat_id=group["chat_id"])
                async with bot(process.url, file) as running:
                    assert await answers(live, 1) == ["two, while it was killed"]
                    running.send_signal(signal.SIGKILL)
                # Positions of before the last answer, as if it was killed in between.
                state = re.sub(r'"positions":\{.*\}', '"positions":{"have":{}}', file.read_text())
                file.write_text(state + "}" * (state.count("{") - state.count("}")))
                async with bot(process.url, file) as running:
                    await live.send("!echo three", chat_id=group["chat_id"])
                    assert await answers(live, 2) == ["before the bot came", "three"]
                    await device.call("DELETE", "/api/auth/session")
                    async with asyncio.timeout(WAIT_SECONDS):
                        assert await running.wait() == 1
                        assert running.stderr is not None
                        assert b"SignedOut" in await running.stderr.read()


async def test_a_deleted_account_and_a_second_program_end_a_client_that_waits(process: ServerProcess) -> None:
    async with (
        await RestClient.sign_in(process.url, number(), username=named("ana")) as rest,
        LiveClient(rest) as first,
    ):
        await asyncio.wait_for(first.wait_connected(), WAIT_SECONDS)
        async with RestClient(process.url, rest.token) as restarted, LiveClient(restarted) as second:
            with pytest.raises(Replaced):
                await asyncio.wait_for(anext(first.items()), WAIT_SECONDS)
            await asyncio.wait_for(second.wait_connected(), WAIT_SECONDS)
            assert restarted.user_id == rest.user_id
            waiting = asyncio.ensure_future(anext(second.items()))
            await rest.call("DELETE", "/api/users/me")
            with pytest.raises(SignedOut):
                await asyncio.wait_for(waiting, WAIT_SECONDS)


async def test_a_connection_that_was_given_up_and_comes_late_ends_no_client(process: ServerProcess) -> None:
    async with (
        await RestClient.sign_in(process.url, number(), username=named("ana")) as rest,
        LiveClient(rest) as live,
    ):
        await asyncio.wait_for(live.wait_connected(), WAIT_SECONDS)
        # What this device opened when the network stood still reaches the server only now, with nobody behind it.
        async with open_socket(rest) as late:
            # The client may have come back before it was greeted.
            with contextlib.suppress(ConnectionClosed):
                await late.recv()
            while not live.closes:
                await asyncio.sleep(0.01)
        ack = await asyncio.wait_for(live.send("still here", to=rest.username), WAIT_SECONDS)
        assert (ack.seq, live.closes) == (1, [4009])


async def test_a_crowd_of_sends_needs_no_second_connection(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as server:
        server.wait_ready()
        async with (
            await RestClient.sign_in(server.url, number(), username=named("ana")) as rest,
            LiveClient(rest) as live,
        ):
            first = await live.send("first", to=rest.username)
            sends = (live.send(str(count), chat_id=first.chat_id) for count in range(1500))
            acks = await asyncio.wait_for(asyncio.gather(*sends), 2 * WAIT_SECONDS)
            assert [ack.seq for ack in acks] == list(range(2, 1502))
            assert live.closes == []


async def test_what_is_ones_own_of_a_chat_is_set_read_and_removed(process: ServerProcess) -> None:
    async with (
        await RestClient.sign_in(process.url, number(), username=named("ana")) as ana,
        await RestClient.sign_in(process.url, number(), username=(name := named("ben"))) as ben,
    ):
        sent = await ana.send("one", client_id=str(uuid.uuid4()), to=name)
        chat_id, seq = sent["chat_id"], sent["seq"]
        await ben.call("POST", "/api/receipts", {"chats": {str(chat_id): {"read_seq": seq}}})
        (info,) = await ana.message_info(chat_id, seq)
        assert info["user_id"] == ben.user_id
        assert info["read_at"] >= info["delivered_at"] >= sent["created_at"]
        changed = await ben.set_chat(chat_id, archived=True, muted_until="2099-01-01T01:00:00+01:00")
        assert changed["seq"] is not None
        assert (await ben.set_chat(chat_id, archived=True))["seq"] is None
        page = await ben.chats()
        (chat,) = page["chats"]
        assert (await ben.chats(changed_since=page["next_changed_since"]))["chats"] == []
        assert (chat["archived"], chat["pinned_at"], chat["marked_unread"]) == (True, None, False)
        assert chat["muted_until"] == "2099-01-01T00:00:00.000000Z"
        await ben.star(chat_id, seq)
        (star,) = (await ben.stars())["stars"]
        assert star["message"]["text"] == "one"
        await ben.star(chat_id, seq, starred=False)
        assert await ben.stars() == {"stars": [], "next_cursor": None}
        assert (await ben.clear_history(chat_id, up_to_seq=seq))["seq"] is not None
        assert await ben.history(chat_id, after_seq=0) == []
        assert await ben.set_timer(chat_id, 3600) == {"chat_id": chat_id, "seq": seq + 1}
        assert (await ana.chats())["chats"][0]["disappear_after"] == 3600
        assert (await ben.set_timer(chat_id, None))["seq"] == seq + 2
        found = await ben.lookup(usernames=["nobody", name.upper()], user_ids=[ben.user_id])
        assert [user["user_id"] for user in found["users"]] == [ben.user_id]
        assert (found["phone_numbers"], found["usernames"], found["errors"]) == ([], [None, ben.user_id], [])
        assert await ben.set_privacy(last_seen="contacts") == {
            "last_seen": "contacts", "picture": "everyone", "about": "everyone", "groups": "everyone",
            "read_receipts": True,
        }  # fmt: skip
        with pytest.raises(Problem, match="picture"):
            await ben.set_privacy(picture="friends")
        with pytest.raises(Problem, match="up_to_seq"):
            await ben.call("POST", f"/api/chats/{chat_id}/clear", {})
        with pytest.raises(Problem, match="muted_until"):
            await ben.set_chat(chat_id, muted_until="tomorrow")


async def test_a_group_is_described_and_its_members_restricted(process: ServerProcess) -> None:
    async with await RestClient.sign_in(process.url, number(), username=named("ana")) as ana:
        made = await ana.call("POST", "/api/groups", {"group_name": "Team", "members": []})
        changed = await ana.change_group(made["group_id"], description="Ours", who_may_send="admins")
        assert (changed["description"], changed["who_may_send"], changed["who_may_add"]) == ("Ours", "admins", "admins")
        assert changed["seq"] == made["seq"] + 1
        cleared = await ana.change_group(made["group_id"], description=None)
        assert (cleared["description"], cleared["group_name"]) == (None, "Team")
        with pytest.raises(Problem, match="who_may_edit"):
            await ana.change_group(made["group_id"], who_may_edit="nobody")


async def test_users_join_a_group_by_the_code_of_an_invite(process: ServerProcess) -> None:
    async with (
        await RestClient.sign_in(process.url, number(), username=named("ana")) as ana,
        await RestClient.sign_in(process.url, number(), username=named("ben")) as ben,
    ):
        group_id = (await ana.call("POST", "/api/groups", {"group_name": "Team", "members": []}))["group_id"]
        made = await ana.create_invite(group_id, expires_in=3600, max_uses=5)
        shown = {"group_name": "Team", "picture_url": None, "description": None, "member_count": 1}
        assert await ben.preview_invite(made["code"]) == shown
        joined = await ben.join_group(made["code"])
        assert (joined["chat_id"], (await ben.join_group(made["code"]))["seq"]) == (group_id, None)
        (listed,) = await ana.invites(group_id)
        assert listed == {name: value for name, value in made.items() if name != "code"} | {"uses": 1}
        await ana.revoke_invite(group_id, made["invite_id"])
        with pytest.raises(Problem, match="invite"):
            await ben.preview_invite(made["code"])
