"""The bus on a real Valkey: who gets which hint, and what every fault of it leads to."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import hiredis
import pytest
from msgspec.structs import replace

from chatserver.bus_settings import BusSettings, ValkeyAddress
from chatserver.errors import ServiceUnavailable
from chatserver.fanout.bus import PostgresBus
from chatserver.fanout.rendered_rows import RenderedRows
from chatserver.fanout.valkey.bus import ValkeyBus
from chatserver.fanout.valkey.link import open_link
from chatserver.fanout.valkey.node import Callbacks
from chatserver.hints import Hint
from chatserver.limits.sharing import Usage
from chatserver.model import SeqRange
from tests.support.certificates import of_a_user
from tests.support.valkey import ValkeyProcess, incarnation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence

pytestmark = pytest.mark.integration

WAIT_SECONDS = 30
PAGE = Path(__file__).parent.parent.parent / "docs" / "operations" / "bus.md"


class HeardDatabase:
    """A connection for NOTIFY that is always well."""

    async def wait_closed(self) -> None:
        await asyncio.Event().wait()

    async def ping(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


class BusOfServer:
    """One server's end of the bus.

    Attributes:
        users: who is connected.
        watched: whose presence somebody here watches.
        hints: what it got.
        healings: how often it was to read what was missed.
        gaps: how often messages were lost on the way.
        rendered: what its hints may carry.
    """

    def __init__(self, name: str, settings: BusSettings) -> None:
        self.users: set[int] = set()
        self.watched: set[int] = set()
        self.hints: list[Hint] = []
        self.healings = 0
        self.gaps = 0
        self.notified: list[Hint] = []
        self.rendered = RenderedRows()
        self.bus = ValkeyBus(
            settings,
            _heard_database(self.notified),
            server_name=name,
            users=lambda: self.users,
            watched=lambda: self.watched,
            members_of=lambda _: None,
            rows_of=self.rendered.take,
            callbacks=Callbacks(
                on_hint=self.hints.append, on_listening=self._heal, on_lost=lambda: None, on_gap=self._gap
            ),
        )

    def _heal(self) -> None:
        self.healings += 1

    def _gap(self) -> None:
        self.gaps += 1

    @property
    def name(self) -> str:
        return incarnation(self.bus)

    async def connect(self, *user_ids: int) -> None:
        """Have users connect, as `Arrivals` does."""
        self.users.update(user_ids)
        await self.bus.register(user_ids)

    async def watch(self, *user_ids: int) -> None:
        """Have somebody watch users, as `Watches` does."""
        self.watched.update(user_ids)
        await self.bus.register_watched(user_ids)

    async def send(self, hint: Hint, to: Collection[int] | None = None) -> None:
        """Publish a hint, as `HintPublisher` does."""
        await self.bus.publish([replace(hint, to=None if to is None else tuple(to))])

    async def healthy(self) -> None:
        """Wait until hints arrive."""
        await until(self.bus.is_healthy)


def _heard_database(notified: list[Hint]) -> PostgresBus:
    async def listen(_on_payload: Callable[[str], None]) -> HeardDatabase:
        return HeardDatabase()

    async def notify(hints: Sequence[Hint]) -> None:
        notified.extend(hints)

    def nothing(*_: object) -> None:
        return None

    return PostgresBus(
        listen, notify, on_hint=nothing, on_listening=nothing, on_health=nothing, on_lost=nothing, on_probe=nothing
    )


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not done():
            await asyncio.sleep(0.02)


def settings_of(*valkeys: ValkeyProcess, **others: object) -> BusSettings:
    addresses = tuple(ValkeyAddress("127.0.0.1", valkey.port, tls=False) for valkey in valkeys)
    return BusSettings(bus_type="Valkey", **{"bus_urls": addresses, **others})  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def servers(settings: BusSettings, count: int = 2) -> AsyncIterator[list[BusOfServer]]:
    made = [BusOfServer(f"server-{number}", settings) for number in range(count)]
    tasks = [asyncio.create_task(server.bus.run()) for server in made]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def valkey() -> Iterator[ValkeyProcess]:
    with ValkeyProcess() as running:
        yield running


def row(chat_id: int) -> Hint:
    return Hint("server-0", ranges=(SeqRange(chat_id, 1, 1),))


async def is_reached(sender: BusOfServer, receiver: BusOfServer, user_id: int) -> None:
    """Send hints to a user until one arrives: what was sent before is healed."""
    async with asyncio.timeout(WAIT_SECONDS):
        while row(1) not in receiver.hints:
            with contextlib.suppress(ServiceUnavailable):
                await sender.send(row(1), [user_id])
            await asyncio.sleep(0.02)


async def test_a_hint_goes_to_the_servers_of_its_users_and_to_no_other(valkey: ValkeyProcess) -> None:
    async with servers(settings_of(valkey), count=3) as (one, two, three):
        for server, user_ids in ((one, (1,)), (two, (2, 3)), (three, (3,))):
            await server.healthy()
            await server.connect(*user_ids)
        await one.send(row(10), [1, 2])
        await one.send(row(11), [3, 4])
        await one.send(row(12))
        await until(lambda: all(row(12) in server.hints for server in (one, two, three)))
        assert one.hints == [row(10), row(12)]
        assert two.hints == [row(10), row(11), row(12)]
        assert three.hints == [row(11), row(12)]


async def test_presence_goes_to_the_servers_with_a_watcher_and_to_no_other(valkey: ValkeyProcess) -> None:
    def turned(*user_ids: int) -> Hint:
        return Hint("server-0", presence=tuple((user_id, 1) for user_id in user_ids))

    async with servers(settings_of(valkey), count=3) as (one, two, three):
        for server in (one, two, three):
            await server.healthy()
            # Where users are connected is another matter.
            await server.connect(1, 2, 3)
        await one.watch(1)
        await two.watch(1, 2)
        await one.send(turned(1, 2, 3))
        await one.send(row(1))
        await until(lambda: all(row(1) in server.hints for server in (one, two, three)))
        assert [hint.presence for hint in one.hints if hint.presence] == [((1, 1),)]
        assert dict(item for hint in two.hints for item in hint.presence) == {1: 1, 2: 1}
        assert not [hint for hint in three.hints if hint.presence]


async def test_a_server_gets_its_own_batch_without_valkey(valkey: ValkeyProcess) -> None:
    batch = Hint("server-0", ranges=(SeqRange(1, 1, 1),), is_batch=True)
    async with servers(settings_of(valkey)) as (one, two):
        for server in (one, two):
            await server.healthy()
            await server.connect(1)
        await one.send(batch, [1])
        assert [hint.ranges for hint in one.hints] == [batch.ranges]
        await one.send(row(2), [1])
        await until(lambda: row(2) in one.hints and row(2) in two.hints)
        assert two.hints == [batch, row(2)]
        assert len(one.hints) == len(two.hints)


async def test_hints_are_notified_too_only_while_servers_have_another_bus(valkey: ValkeyProcess) -> None:
    async with servers(settings_of(valkey), count=1) as (one,):
        await one.healthy()
        await one.send(row(1))
        one.bus.notifies_too = False
        await one.send(row(2))
        one.bus.notifies_too = True
        await one.send(row(3))
        assert one.notified == [row(1), row(3)]


async def test_each_of_several_valkeys_has_its_share_of_the_users(valkey: ValkeyProcess) -> None:
    with ValkeyProcess() as other:
        async with servers(settings_of(valkey, other)) as (one, two):
            for server in (one, two):
                await server.healthy()
            await two.connect(4, 5)
            await one.send(row(1), [4])
            await one.send(row(2), [5])
            await until(lambda: {row(1), row(2)} <= set(two.hints))
            assert valkey.registry() == {4: {two.name}}
            assert other.registry() == {5: {two.name}}
            other.kill()
            await until(lambda: not two.bus.is_healthy())
            with pytest.raises(ServiceUnavailable):
                await one.send(row(3), [4, 5])
            await one.send(row(4), [4])
            await until(lambda: row(4) in two.hints)


async def test_members_of_the_largest_group_and_the_highest_ids_are_found(valkey: ValkeyProcess) -> None:
    highest = 2**53 - 1
    async with servers(settings_of(valkey)) as (one, two):
        for server in (one, two):
            await server.healthy()
        await two.connect(highest, highest - 1)
        await one.send(row(1), [*range(1, 3000), highest])
        await until(lambda: two.hints == [row(1)])
        assert one.hints == []
        assert set(valkey.registry()) == {highest, highest - 1}


async def test_users_who_left_are_forgotten_and_those_who_returned_are_not(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatserver.fanout.valkey.node.WATCH_SECONDS", 0.05)
    async with servers(settings_of(valkey), count=1) as (one,):
        await one.healthy()
        await one.connect(1, 2)
        await one.watch(1, 3)
        one.users.clear()
        await until(lambda: valkey.registry() == {})
        assert valkey.registry("watched") == {1: {one.name}, 3: {one.name}}
        one.watched.clear()
        await until(lambda: valkey.registry("watched") == {})
        await one.connect(2)
        await one.watch(3)
        assert valkey.registry() == {2: {one.name}}
        assert valkey.registry("watched") == {3: {one.name}}


async def test_a_server_that_was_killed_is_forgotten_when_it_is_written_to(valkey: ValkeyProcess) -> None:
    settings = settings_of(valkey)
    async with servers(settings, count=1) as (one,):
        async with servers(settings, count=1) as (killed,):
            await killed.healthy()
            await killed.connect(1)
        await one.healthy()
        await until(lambda: valkey.call("PUBSUB", "NUMSUB", f"chat:to:{killed.name}")[1] == 0)
        await one.send(row(1), [1])
        await one.send(row(2))
        assert valkey.registry() == {}
        assert valkey.call("SMEMBERS", "chat:servers") == [one.name]
        assert await one.bus.limit_counts.count([Usage(1, "messages:1", 10**6, 0)]) == [10**6]
        assert valkey.call("KEYS", "chat:count:*") == [f"chat:count:{one.name}"]


async def test_a_lost_message_is_noticed_by_the_next_one(valkey: ValkeyProcess) -> None:
    async with servers(settings_of(valkey)) as (one, two):
        for server in (one, two):
            await server.healthy()
        await two.connect(1)
        healings = two.healings
        # As if Valkey had counted a message that did not arrive.
        valkey.call("INCR", f"chat:count:{two.name}")
        await one.send(row(1), [1])
        await until(lambda: row(1) in two.hints)
        await until(lambda: two.healings > healings)
        await two.healthy()
        assert (two.gaps, one.gaps) == (1, 0)


async def test_a_lost_message_is_noticed_without_another_one(valkey: ValkeyProcess) -> None:
    async with servers(settings_of(valkey), count=1) as (one,):
        await one.healthy()
        valkey.call("INCR", f"chat:count:{one.name}")
        await until(lambda: one.gaps == 1)
        await one.healthy()


async def _flushed(valkey: ValkeyProcess) -> None:
    valkey.call("FLUSHALL")


async def _restarted(valkey: ValkeyProcess) -> None:
    valkey.kill()
    valkey.start()


async def _cut(valkey: ValkeyProcess) -> None:
    valkey.call("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")


@pytest.mark.parametrize("fault", [_flushed, _restarted, _cut])
async def test_after_a_fault_everybody_is_registered_and_what_was_missed_is_read(
    valkey: ValkeyProcess, fault: Callable[[ValkeyProcess], object]
) -> None:
    async with servers(settings_of(valkey)) as (one, two):
        for server in (one, two):
            await server.healthy()
        await one.connect(1, 2)
        await two.connect(2, 3)
        await one.watch(3)
        healings = one.healings, two.healings
        await fault(valkey)  # type: ignore[misc]
        await until(lambda: one.healings > healings[0] and two.healings > healings[1])
        for server in (one, two):
            await server.healthy()
        assert valkey.registry() == {1: {one.name}, 2: {one.name, two.name}, 3: {two.name}}
        assert valkey.registry("watched") == {3: {one.name}}
        await is_reached(one, two, 3)


async def test_a_paused_valkey_is_not_healthy_and_heals_when_it_continues(valkey: ValkeyProcess) -> None:
    async with servers(settings_of(valkey)) as (one, two):
        for server in (one, two):
            await server.healthy()
        await two.connect(1)
        valkey.pause()
        with pytest.raises(ServiceUnavailable):
            await one.send(row(1), [1])
        await until(lambda: not one.bus.is_healthy() and not two.bus.is_healthy())
        # A user who connects meanwhile is not kept waiting for ever, and is registered later.
        await two.connect(2)
        healings = two.healings
        valkey.resume()
        await until(lambda: two.healings > healings)
        await is_reached(one, two, 2)
        assert valkey.registry() == {1: {two.name}, 2: {two.name}}


async def test_without_memory_it_is_not_healthy_until_there_is_some(valkey: ValkeyProcess) -> None:
    async with servers(settings_of(valkey)) as (one, two):
        for server in (one, two):
            await server.healthy()
        valkey.call("CONFIG", "SET", "maxmemory", "1")
        await until(lambda: not two.bus.is_healthy())
        await two.connect(1)
        valkey.call("CONFIG", "SET", "maxmemory", "0")
        await is_reached(one, two, 1)
        assert valkey.registry() == {1: {two.name}}


async def test_users_whose_keys_were_evicted_are_registered_again(valkey: ValkeyProcess) -> None:
    async with servers(settings_of(valkey), count=1) as (one,):
        await one.healthy()
        await one.connect(*range(100))
        valkey.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        valkey.call("CONFIG", "SET", "maxmemory", "1")
        with contextlib.suppress(hiredis.ReplyError):
            # Room for it is made of the registry.
            valkey.call("SET", "large", "x" * 1000)
        valkey.call("CONFIG", "SET", "maxmemory", "0")
        assert len(valkey.registry()) < 100
        await until(lambda: len(valkey.registry()) == 100)
        await one.healthy()


async def test_a_wrong_password_is_not_healthy_until_the_file_has_the_right_one(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("wrong")
    with ValkeyProcess(password="right") as valkey:
        settings = settings_of(valkey, bus_password_file=file)
        with pytest.raises(ServiceUnavailable):
            await open_link(settings.bus_urls[0], settings, lambda _: None)
        async with servers(settings, count=1) as (one,):
            await one.connect(1)
            with pytest.raises(ServiceUnavailable):
                await one.send(row(1), [1])
            assert not one.bus.is_healthy()
            file.write_text("right\n")
            await is_reached(one, one, 1)
            # A new password takes effect at the next connection.
            valkey.call("CONFIG", "SET", "requirepass", "newer")
            valkey.password = "newer"
            file.write_text("newer\n")
            valkey.call("CLIENT", "KILL", "TYPE", "pubsub")
            one.hints.clear()
            await is_reached(one, one, 1)


async def test_the_rights_on_the_page_are_enough(valkey: ValkeyProcess, tmp_path: Path) -> None:
    rights = re.search(r"needs `(\+[^`]+)`", PAGE.read_text())
    assert rights
    valkey.call("ACL", "SETUSER", "server", "on", ">secret", "~chat:*", "&chat:*", *rights[1].split())
    (tmp_path / "password").write_text("secret")
    settings = settings_of(valkey, bus_username="server", bus_password_file=tmp_path / "password")
    async with servers(settings, count=1) as (one,):
        await one.healthy()
        await one.connect(1, 2)
        one.users.remove(2)
        await until(lambda: valkey.registry() == {1: {one.name}})
        # For everybody, also for a server that has gone.
        valkey.call("SADD", "chat:servers", "gone")
        await one.send(row(1))
        await until(lambda: one.hints == [row(1)])
        assert valkey.call("SMEMBERS", "chat:servers") == [one.name]


async def test_tls_is_used_and_its_certificate_is_checked(tmp_path: Path) -> None:
    pair = of_a_user("localhost").server
    (tmp_path / "tls.crt").write_text(pair.certificate)
    (tmp_path / "tls.key").write_text(pair.key)
    files = {"--tls-cert-file": "tls.crt", "--tls-key-file": "tls.key", "--tls-ca-cert-file": "tls.crt"}
    with ValkeyProcess() as free:
        tls_port = free.port
    options = [text for name, file in files.items() for text in (name, str(tmp_path / file))]
    with ValkeyProcess("--tls-port", str(tls_port), "--tls-auth-clients", "no", *options):
        address = (ValkeyAddress("localhost", tls_port, tls=True),)
        trusted = settings_of(bus_urls=address, bus_ca_file=tmp_path / "tls.crt")
        async with servers(trusted, count=1) as (one,):
            await one.connect(1)
            await is_reached(one, one, 1)
        with pytest.raises(ServiceUnavailable):
            await open_link(address[0], settings_of(bus_urls=address), lambda _: None)
