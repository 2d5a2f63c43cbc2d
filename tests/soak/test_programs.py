"""Three programs as a reader of docs/python-client.md writes them lose, double and hang nothing, whatever fails below.

A bot that answers, a bridge that is killed every few seconds, and a monitor that repeats sends that are slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from typing import TYPE_CHECKING

import pytest

from chatcluster_client import Item, LiveClient, Positions, RestClient, SignedOut
from tests.support.clientproxy import ClientProxy
from tests.support.findings import tell
from tests.support.postgres import PostgresCluster
from tests.support.server import ServerProcess, migrate
from tests.support.valkey import bus_environment, running_bus

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.soak

IDS = uuid.UUID("1c2d7e58-6f5a-4d5c-8d0b-2b7c4c8f9a10")
QUIET_SECONDS = 60
STALL_SECONDS = 24
"""More than a client takes to leave a silent connection."""


def client_id(name: object) -> str:
    return str(uuid.uuid5(IDS, str(name)))


async def sign_in(url: str, start: str) -> RestClient:
    phone_number = f"+1415{uuid.uuid4().int % 10**7:07d}"
    return await RestClient.sign_in(url, phone_number, username=f"{start}{uuid.uuid4().hex[:8]}")


async def answer(rest: RestClient) -> None:
    """The bot: runs until it is signed out."""
    positions = await rest.positions()
    async with LiveClient(rest, positions) as live:
        async for item in live.items():
            if isinstance(item, Item):
                if not item.own and (item.text or "").startswith("ask "):
                    await live.send(
                        f"re {item.text}", chat_id=item.chat_id, client_id=client_id((item.chat_id, item.seq))
                    )
                positions.take(item)


class Bridge:
    """Carries numbered messages into a chat, and all others' out of it.

    Attributes:
        due: How many the other side has for the chat.
        carried: How many of them are known to be stored.
        out: Texts that were carried out of the chat.
        kills: How often it was killed.
    """

    def __init__(self, url: str, token: str, user_id: int, chat_id: int) -> None:
        self._device = (url, token, user_id)
        self._chat_id = chat_id
        self._stored = Positions().to_json()
        self.due = self.carried = self.kills = 0
        self.out: list[str] = []

    async def run(self) -> None:
        """Live, and be killed, again and again; raises what ends a life before it was killed."""
        while True:
            life = asyncio.create_task(self._live())
            await asyncio.wait([life], timeout=random.uniform(0.5, 4))  # noqa: S311 - no secret
            if life.done():
                return life.result()
            life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await life
            self.kills += 1

    async def _live(self) -> None:
        positions = Positions.from_json(self._stored)
        async with RestClient(*self._device) as rest, LiveClient(rest, positions) as live, asyncio.TaskGroup() as work:
            work.create_task(self._carry_in(live))
            work.create_task(self._carry_out(live, positions))

    async def _carry_in(self, live: LiveClient) -> None:
        while True:
            if self.carried < self.due:
                number = self.carried
                await live.send(f"in {number}", chat_id=self._chat_id, client_id=client_id(number))
                self.carried = number + 1
            else:
                await asyncio.sleep(0.05)

    async def _carry_out(self, live: LiveClient, positions: Positions) -> None:
        async for item in live.items():
            if isinstance(item, Item):
                if not item.own and item.text is not None:
                    self.out.append(item.text)
                positions.take(item)
                self._stored = positions.to_json()


async def monitor(live: LiveClient, chat_id: int, bridge: Bridge, asked: list[str]) -> None:
    """Ask twice a second, one after the other, and give the bridge its work meanwhile."""
    while True:
        text = f"ask {len(asked)}"
        asked.append(text)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3):
                    await live.send(text, chat_id=chat_id, client_id=client_id(text))
                    break
        for _ in range(5):
            bridge.due += 1
            await asyncio.sleep(0.1)


async def everything_fails(
    proxy: ClientProxy, postgres: PostgresCluster, one: ServerProcess, two: ServerProcess, three: ServerProcess
) -> None:
    """Cut connections, kill and drain servers, partition the network, refuse everybody, stop the database."""
    await asyncio.sleep(4)
    for _ in range(4):
        proxy.cut()
        await asyncio.sleep(1)
    proxy.servers = [two, three]
    one.__exit__()
    await asyncio.sleep(4)
    proxy.servers = [three]
    two.terminate()
    await asyncio.sleep(10)
    proxy.stand_still()
    await asyncio.sleep(STALL_SECONDS)
    proxy.go_on()
    await asyncio.sleep(6)
    proxy.refuses = True
    proxy.cut()
    await asyncio.sleep(6)
    proxy.refuses = False
    postgres.stop()
    await asyncio.sleep(4)
    postgres.start()
    await asyncio.sleep(4)


async def everything(rest: RestClient, chat_id: int) -> list[str]:
    texts: list[str] = []
    after, more = 0, True
    while more:
        rows, more = await rest.history_page(chat_id, after_seq=after, limit=1000)
        after = rows[-1]["seq"] if rows else after
        texts += [row["text"] for row in rows if row["kind"] == "message"]
    return texts


@pytest.fixture
def postgres() -> Iterator[PostgresCluster]:
    with PostgresCluster() as cluster:
        yield cluster


@pytest.mark.parametrize("bus", ["PostgreSQL", "Valkey"])
async def test_a_bot_a_bridge_and_a_monitor_over_everything_that_fails(postgres: PostgresCluster, bus: str) -> None:
    dsn = postgres.dsn(postgres.create_database())
    migrate(dsn)
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(ClientProxy())
        settings = bus_environment(stack.enter_context(running_bus(bus)))
        one, two, three = (
            stack.enter_context(ServerProcess(dsn, name, **settings)) for name in ("one", "two", "three")
        )
        proxy.servers = [one, two]
        for server in (one, two, three):
            server.wait_ready()
        bot, ana, other = [
            await stack.enter_async_context(await sign_in(proxy.url, name)) for name in ("bot", "ana", "bridge")
        ]
        members = [bot.username, other.username]
        chat_id: int = (await ana.call("POST", "/api/groups", {"group_name": "Team", "members": members}))["chat_id"]
        bridge = Bridge(proxy.url, other.token, other.user_id, chat_id)
        asked: list[str] = []
        live = await stack.enter_async_context(LiveClient(ana))
        answering = asyncio.create_task(answer(bot))
        bridging = asyncio.create_task(bridge.run())
        watching = asyncio.create_task(monitor(live, chat_id, bridge, asked))

        await everything_fails(proxy, postgres, one, two, three)
        # The monitor ends after an acknowledgement; then everybody comes to rest.
        count = len(asked)
        async with asyncio.timeout(QUIET_SECONDS):
            while len(asked) == count:
                await asyncio.sleep(0.1)
            watching.cancel()
            await live.send(asked[-1], chat_id=chat_id, client_id=client_id(asked[-1]))
            wanted = {f"re {text}" for text in asked}
            while bridge.carried < bridge.due or not wanted <= set(bridge.out):
                assert not bridging.done(), bridging
                assert not answering.done(), answering
                await asyncio.sleep(0.1)
        bridging.cancel()
        texts = await everything(ana, chat_id)
        assert [text for text in texts if text.startswith("in ")] == [f"in {number}" for number in range(bridge.due)]
        assert [text for text in texts if text.startswith("ask ")] == asked
        assert sorted(text for text in texts if text.startswith("re ")) == sorted(wanted)
        assert bridge.out == [text for text in texts if not text.startswith("in ")]
        tell(f"programs: {len(texts)} messages, each once, over {bridge.kills} kills of the bridge; {live.closes}")

        await bot.call("DELETE", "/api/auth/session")
        with pytest.raises(SignedOut):
            await asyncio.wait_for(answering, QUIET_SECONDS)
        await ana.call("DELETE", "/api/users/me")
        async with asyncio.timeout(QUIET_SECONDS):
            with contextlib.suppress(SignedOut):
                async for _ in live.items():
                    pass
        with pytest.raises(SignedOut):
            await live.send("too late", chat_id=chat_id)
