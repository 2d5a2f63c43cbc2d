"""A chatserver without its listener, whose loops go round quickly, and a piece of observable work for each of them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from chatserver import loops, supervision
from chatserver.accounts import deletion
from chatserver.accounts.code_senders import CodeMessage
from chatserver.errors import ChatError, ServiceUnavailable
from chatserver.fanout import bus, delivery, recovery, sweeping
from chatserver.fanout import presence as presence_service
from chatserver.fanout.valkey import node
from chatserver.fanout.valkey.bus import ValkeyBus
from chatserver.fleet import balancing, health, housekeeping, proxies
from chatserver.fleet.health import Health
from chatserver.hints import Hint
from chatserver.limits import sharing
from chatserver.messaging import groups, writer
from chatserver.messaging.pending import Pending
from chatserver.metrics import Metrics
from chatserver.model import Principal
from chatserver.settings import read_settings
from chatserver.storage import hint_sweep, presence, publishing
from chatserver.storage.messages import NewMessage
from chatserver.storage.publishing import notify
from chatserver.transport import upkeep
from chatserver.transport.websocket import Socket
from chatserver.wiring import make_context
from tests.support.gateway import Gateway
from tests.support.injection import within
from tests.support.inprocess import Wire
from tests.support.people import Server, running_server, sign_in
from tests.support.server import environment
from tests.support.valkey import bus_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence

    import pytest

    from chatserver.http.context import Context
    from chatserver.model import SentMessage
    from tests.support.valkey import ValkeyProcess

HAPPENS_SECONDS = 10.0
"""Far beyond what any of the work takes."""

TURN_SECONDS = 0.03
"""A round of a loop, or a wait before it begins again."""

END = "end"
"""The name of what ends the loops, for exceptions that are thrown there."""

PERIODS: dict[Any, tuple[str, ...]] = {
    supervision: ("RESTART_SECONDS", "RESTART_MAX_SECONDS"),
    bus: ("WATCH_SECONDS",),
    node: ("WATCH_SECONDS", "RETRY_SECONDS", "REFRESH_SECONDS"),
    sharing: ("REPORT_SECONDS",),
    delivery: ("RETRY_SECONDS",),
    recovery: ("RECOVER_SECONDS", "RETRY_SECONDS"),
    presence_service: ("PRESENCE_SECONDS", "COMPARE_SECONDS"),
    sweeping: ("SWEEP_SECONDS",),
    hint_sweep: ("CLAIM_SECONDS",),
    publishing: ("RETRY_SECONDS",),
    health: ("ROOM_SECONDS", "SCHEMA_RETRY_SECONDS"),
    upkeep: ("SWEEP_SECONDS",),
    housekeeping: ("PERIOD_SECONDS",),
    balancing: ("TICK_SECONDS",),
    deletion: ("SWEEP_SECONDS",),
    proxies: ("LOOK_SECONDS",),
    loops: ("GAUGE_SECONDS",),
    writer: ("EXPIRY_SECONDS",),
}


class LoopedServer:
    """One server with all of its loops, another one's storage beside it, and two users who are connected.

    Attributes:
        context: its parts.
    """

    def __init__(self, context: Context, other: Server, gateway: Gateway, valkeys: Sequence[ValkeyProcess]) -> None:
        self.context = context
        self._other = other
        self._gateway = gateway
        self._numbers = itertools.count(1)
        self._looked = 0
        self._ids: dict[str, int] = {}
        self._wires: dict[str, Wire] = {}
        self.works: dict[str, Callable[[], Awaitable[None]]] = {
            **({"bus": self._hears_valkey, "limits": self._shares_limits} if valkeys else {"bus": self._hears}),
            "delivery": self._delivers,
            "recovery": self._recovers,
            "presence": self._writes_presence,
            "hints": self._sweeps_hints,
            "schema": self._finds_schema,
            "room": self._finds_room,
            "sockets": self._looks_after_sockets,
            "codes": self._sends_codes,
            "deletions": self._leaves_groups,
            "housekeeping": self._tidies_up,
            "heartbeat": self._beats,
            "shedding": self._forgets_who_left,
            "proxies": self._looks_for_proxies,
            "gauges": self._measures,
            "lag": self._watches_lag,
            "expiry": self._expires,
        }

    async def connect(self, *names: str) -> None:
        """Have users who are connected."""
        for name in names:
            session = await sign_in(self._other.database, name)
            self._ids[name] = session.user.user_id
            self._wires[name] = Wire(self, Principal(session.user.user_id, session.device_id))
            await self._wires[name].open()

    async def resolve(self, host: str) -> frozenset[str]:
        """A look of the loop `proxies`."""
        found = await proxies.resolve(host)
        self._looked += 1
        return found

    async def _hears(self) -> None:
        heard, alive = self.context.metrics.delivery.bus_hints, self.context.bus
        assert isinstance(alive, bus.PostgresBus)
        await _until(alive.is_healthy)
        before = heard.value

        async def is_heard(_: int) -> bool:
            # What is told while nobody listens is not heard.
            await notify(self._other.database, [Hint("other", presence=((0, 1),))])
            return heard.value > before

        await _until_async(is_heard, 0)
        pinged_at = alive._alive_at
        await _until(lambda: alive._alive_at is not None and alive._alive_at != pinged_at)

    async def _hears_valkey(self) -> None:
        heard, valkey_bus = self.context.metrics.delivery.bus_hints, self.context.bus
        assert isinstance(valkey_bus, ValkeyBus)
        await _until(valkey_bus.is_healthy)
        before = heard.value

        async def is_heard(_: int) -> bool:
            with suppress(ServiceUnavailable):
                await valkey_bus.publish([Hint("other", profiles=(0,))])
            return heard.value > before

        await _until_async(is_heard, 0)
        # NOTIFY, and each Valkey.
        listening: list[bus.PostgresBus | node.Node] = [valkey_bus._postgres, *valkey_bus._nodes]
        before_at = [one._alive_at for one in listening]
        await _until(lambda: all(one._alive_at not in {None, at} for one, at in zip(listening, before_at, strict=True)))

    async def _shares_limits(self) -> None:
        assert self.context.limit_sharing is not None
        device_id, buckets = next(self._numbers), self.context.limit_sharing._buckets["device"]
        learned: list[object] = []
        learn = buckets.learn

        def note(key: Hashable, sent_at: float, busy_seconds: float) -> None:
            learned.append(key)
            learn(key, sent_at, busy_seconds)

        async def is_counted(device_id: int) -> bool:
            # A report that fails is not repeated.
            with suppress(ChatError):
                self.context.limits.check_request(device_id, time.monotonic())
            return device_id in learned

        buckets.learn = note  # type: ignore[method-assign]
        await _until_async(is_counted, device_id)
        buckets.learn = learn  # type: ignore[method-assign]

    async def _delivers(self) -> None:
        name = f"group {next(self._numbers)}"
        group = await groups.create_group(self._other.database, self._ids["ana"], name, ["ben"])
        await self._comes("ben", lambda frame: frame.get("chat_id") == group.chat_id)
        sent = await self._other.send(self._ids["ana"], name, chat_id=group.chat_id)
        await self._comes("ben", lambda frame: _text(frame) == name)
        await self._comes("ana", lambda frame: _text(frame) == name)
        self._wires["ben"].submit({"type": "read", "chat_id": group.chat_id, "seq": sent.seq})
        await self._comes("ana", lambda frame: frame["type"] == "receipt" and frame.get("chat_id") == group.chat_id)

    async def _recovers(self) -> None:
        deliverer, text = self.context.deliverer, f"unheard {next(self._numbers)}"
        hears, alive = self.context.bus, deliverer.receive
        assert isinstance(hears, bus.PostgresBus)
        hears._on_hint = lambda _hint: None
        try:
            await self._other.send(self._ids["ana"], text, to="ben")
            deliverer.recovery.hints_were_missed()
            await self._comes("ben", lambda frame: _text(frame) == text)
        finally:
            hears._on_hint = alive

    async def _writes_presence(self) -> None:
        dan = self._ids.get("dan") or (await sign_in(self._other.database)).user.user_id
        self._ids["dan"] = dan
        # One that a restart has left under this name, and one of a server that was killed.
        for name in (self._other.database.server_name, "killed"):
            of = self.context.database.server_name if name != "killed" else name
            await presence.turn(self._other.database, of, came=[dan], went=[])
            await _until_async(self._is_offline, dan)

    async def _is_offline(self, user_id: int) -> bool:
        return not (await presence.states(self._other.database, [user_id]))[user_id].online

    async def _finds_schema(self) -> None:
        found = Health(self.context.database, self.context.metrics)
        await supervision.keep("schema", found.watch_schema)
        assert found.schema_ready.is_set()

    async def _finds_room(self) -> None:
        self.context.health.volume_full = True
        await _until(lambda: not self.context.health.volume_full)

    async def _sweeps_hints(self) -> None:
        database = self._other.database
        await database.execute(
            "INSERT INTO hint_slots (owner, slot, batch, written_at, hint) "
            "VALUES ('gone', 1, 1, now() - interval '1 minute', $1)",
            Hint("gone", profiles=(0,)).encode()[0],
        )

        async def is_swept(_: int) -> bool:
            return await database.fetchrow("SELECT FROM hint_slots WHERE owner = 'gone'") is None

        await _until_async(is_swept, 0)

    async def _looks_after_sockets(self) -> None:
        socket = _Looked(None, self.context.sockets)  # type: ignore[arg-type] # nobody talks over it
        self.context.sockets.add(socket)
        await _until(lambda: socket.looked)
        self.context.sockets.discard(socket)

    async def _sends_codes(self) -> None:
        # Each of those that were being sent may be lost, and no other.
        for _ in range(2):
            number = f"+1555{next(self._numbers):07d}"
            with self.context.sender.reserve() as take:
                take(CodeMessage(number, "123456", 60))
            await _until(lambda: self.context.sender.waiting() == 0)
        await _until(lambda: any(posted.json["phone_number"] == number for posted in self._gateway.posted))

    async def _leaves_groups(self) -> None:
        session = await sign_in(self._other.database)
        user_id, database = session.user.user_id, self._other.database
        group = await groups.create_group(database, self._ids["ana"], "left", [session.user.phone_number or ""])
        await self.context.deletions.delete_account(Principal(user_id, session.device_id))

        async def is_left(_user_id: int) -> bool:
            there = await groups.get_group(database, self._ids["ana"], group.group_id)
            return user_id not in {member.user_id for member in there.members}

        await _until_async(is_left, user_id)
        # It would be looked through for another minute, with those of all calls before.
        await database.execute("DELETE FROM account_deletions WHERE user_id = $1", user_id)

    async def _tidies_up(self) -> None:
        database = self._other.database
        await database.execute("INSERT INTO audit_events (action, at) VALUES ('old', now() - interval '1000 days')")

        async def is_gone(_: int) -> bool:
            return await database.fetchrow("SELECT FROM audit_events WHERE action = 'old'") is None

        await _until_async(is_gone, 0)

    async def _beats(self) -> None:
        database = self._other.database
        await database.execute("DELETE FROM servers")

        async def is_back(_: int) -> bool:
            return await database.fetchrow("SELECT FROM servers WHERE server_name = 'one'") is not None

        await _until_async(is_back, 0)

    async def _forgets_who_left(self) -> None:
        mover = self.context.mover
        mover._moving_until = {"gone": 0.0}
        await _until(lambda: not mover._moving_until)

    async def _looks_for_proxies(self) -> None:
        before = self._looked
        await _until(lambda: self._looked > before)

    async def _measures(self) -> None:
        gauge = self.context.metrics.database.write_queue
        gauge.set(-1)
        await _until(lambda: gauge.value >= 0)

    async def _watches_lag(self) -> None:
        lag = self.context.metrics.process.loop_lag_seconds
        before = lag.count
        await _until(lambda: lag.count > before)

    async def _expires(self) -> None:
        answers: list[SentMessage | ChatError] = []
        message = NewMessage(
            chat_id=0, sender_id=0, client_id="late", client_hash=b"", text="late", client_timestamp=None
        )
        late = Pending(message, answers.append, time.monotonic() - 2 * writer.WRITE_SECONDS)
        self.context.writer._busy[0] = deque([late])
        await _until(lambda: bool(answers))
        del self.context.writer._busy[0]

    async def _comes(self, name: str, wanted: Callable[[dict[str, Any]], bool]) -> None:
        await _until(lambda: any(wanted(frame) for frame in self._wires[name].take()))


class _Looked(Socket):
    """A socket that notes being looked after."""

    looked = False

    def look_after(self, now: float) -> None:  # noqa: ARG002 - as of Socket
        self.looked = True


@asynccontextmanager
async def looped_server(
    read_dsn: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    *names: str,
    valkeys: Sequence[ValkeyProcess] = (),
) -> AsyncIterator[LoopedServer]:
    """Run the loops of a server whose rounds take no time, with users of these names who are connected.

    With Valkeys as its bus, it counts rate limits with other servers.
    """
    for module, periods in PERIODS.items():
        for period in periods:
            monkeypatch.setattr(module, period, TURN_SECONDS)
    with Gateway() as gateway:
        configured = environment(
            read_dsn(),
            CHAT_SERVER_NAME="one",
            CHAT_HEARTBEAT_SECONDS=0.1,
            CHAT_PROXIES_HOST="localhost",
            CHAT_OTP_SENDER="Webhook",
            CHAT_OTP_WEBHOOK_URL=gateway.url,
            CHAT_OTP_WEBHOOK_SECRET="a key that only tests use",
            **(bus_environment(valkeys) | {"CHAT_REQUESTS_PER_DEVICE_PER_MINUTE": "600"} if valkeys else {}),
        )
        context = make_context(read_settings(configured), Metrics())
        async with running_server(read_dsn, "other") as other:
            server = LoopedServer(context, other, gateway, valkeys)
            monkeypatch.setattr(loops, "resolve", server.resolve)
            with within(END):
                async with loops.running(context):
                    await server.connect(*names)
                    yield server


def _text(frame: dict[str, Any]) -> Any:
    return (frame.get("message") or {}).get("text")


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(HAPPENS_SECONDS):
        while not happened():
            await asyncio.sleep(0.001)


async def _until_async(happened: Callable[[int], Awaitable[bool]], about: int) -> None:
    async with asyncio.timeout(HAPPENS_SECONDS):
        while not await happened(about):
            await asyncio.sleep(0.001)
