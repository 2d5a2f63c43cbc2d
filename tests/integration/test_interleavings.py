"""Any interleaving of what users do and what breaks: devices that replay end equal to one that fetches afresh.

Three servers in one event loop, each with all of its real parts but HTTP, on one PostgreSQL.
hypothesis decides whether hints go by NOTIFY or to whom Valkey's registry names, who does what on which server, how
long the event loop runs before the next step, which hints are lost, doubled, delayed or reordered, and when
connections, servers and the registry go. The database's timing is its own, so that a seed repeats the steps and not
the microseconds. `make soak` goes on with new seeds.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import hypothesis
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from chatserver.messaging import changes, chats, feed, groups, own_chats, stars, timers
from chatserver.messaging.group_edits import GroupChange, change_group
from chatserver.messaging.invites import create_invite, join_group
from chatserver.messaging.own_chats import SettingsChange
from chatserver.storage.database import Database
from chatserver.storage.messages import open_direct_chat
from chatserver.users import blocks
from chatserver.users.privacy import PrivacyChange, change_privacy
from tests.support.findings import tell
from tests.support.handset import Handset
from tests.support.inprocess import ChatServer
from tests.support.people import sign_in
from tests.support.playedbus import Air
from tests.support.replica import Replica, Row, as_client_sees

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from chatserver.group_fields import Who

SERVERS = 3
USERS = 4
DEVICES = (0, 0, 1, 1, 2, 3)
"""Whose each device is: two people have two."""

HAPPENS_SECONDS = 15.0
"""Far beyond what healing takes."""

SOAK_SECONDS = float(os.environ.get("CHAT_SOAK_SECONDS", "600"))
SOAK_EXAMPLES = 50
SOAK_STEPS = 80
TIMER_SECONDS = 60
EXAMPLES = 16
"""Some 15 s of CPU."""

STEPS = 60
SEED = 3
"""Its worlds have what is worth a look. Those that Hypothesis derives from the source alone had no server that died."""

NOT_COMPARED = ("status", "from", "to", "timestamp", "message_id", "reply_to", "media_url")
"""Of a row: what its sender's own device makes up from the ack, and `status`, which receipts change."""

CHANGEABLE = ("text", "reactions", "edited_at", "deleted_at")
"""A former member sees messages as they are now, and is not told what changed since."""

# How long the loop runs after a step: not at all, for a statement or two, for most of what was begun.
pauses = st.sampled_from([0.0, 0.001, 0.004, 0.015])
numbers = st.integers(0, 63)
counts = st.integers(1, 3)
servers = st.integers(0, SERVERS - 1)
users = st.integers(0, USERS - 1)
devices = st.integers(0, len(DEVICES) - 1)


class Interleavings(RuleBasedStateMachine):
    """The world: people with devices, servers, a bus; `teardown` mends all and compares."""

    totals: ClassVar[Counter[str]] = Counter()

    def __init__(self, read_dsn: Callable[[], str]) -> None:
        super().__init__()
        self._read_dsn = read_dsn
        self._runner = asyncio.Runner()
        self._air = Air(read_dsn)
        self._database = Database(read_dsn, server_name="test", pool_size=2)
        self._servers: list[ChatServer] = []
        self._handsets: list[Handset] = []
        self._users: list[int] = []
        self._names: list[str] = []
        self._cursors: list[str | None] = []
        self._polled: list[Replica] = []
        self._rows_polled: list[list[tuple[int, int]]] = []
        self._watermarks: dict[tuple[int, int], tuple[int, int]] = {}
        self._left: set[tuple[int, int]] = set()
        self._gone: set[tuple[int, int]] = set()
        self._ended: list[ChatServer] = []
        self._texts = 0
        self._blocked: set[tuple[int, int]] = set()
        self._group = self._direct = 0
        self._codes: list[str] = []
        self._by_valkey = self._is_over = False

    def _run(self, work: Coroutine[Any, Any, object], pause: float = 0) -> None:
        """Do a step, and let the loop go on for a while with what is under way."""

        async def step() -> None:
            await work
            await asyncio.sleep(pause)
            # Hints are then with the bus, whether or not it passes them on.
            await self._air.catch_up()

        self._runner.run(step())

    # --- how it begins

    @initialize(by_valkey=st.booleans(), with_timer=st.booleans(), is_over=st.booleans())
    def begin(self, *, by_valkey: bool, with_timer: bool, is_over: bool) -> None:
        """Three servers, whose hints go by NOTIFY or Valkey, four people, a group of three and a direct chat."""
        self._is_over = is_over
        self._by_valkey = by_valkey
        self._run(self._begin())
        if with_timer:
            self._run(timers.set_timer(self._database, self._users[0], self._group, TIMER_SECONDS))

    async def _begin(self) -> None:
        await self._air.open()
        await self._database.open()
        self._air.databases.append(self._database)
        for number in range(SERVERS):
            self._servers.append(await self._new_server(number))
        sessions = [await sign_in(self._database, _new_name()) for _ in range(USERS)]
        self._users = [session.user.user_id for session in sessions]
        self._names = [session.user.username or "" for session in sessions]
        firsts = set()
        for owner in DEVICES:
            session = sessions[owner]
            if owner in firsts:
                session = await sign_in(self._database, None, session.user.phone_number)
            firsts.add(owner)
            self._handsets.append(Handset(session))
        self._cursors = [None] * USERS
        self._polled = [Replica(user_id) for user_id in self._users]
        self._rows_polled = [[] for _ in range(USERS)]
        self._group = (await groups.create_group(self._database, self._users[0], "team", self._names[1:3])).chat_id
        for place, handset in enumerate(self._handsets):
            await handset.connect(self._servers[place % SERVERS])
        self._direct = await _open_direct(self._database, self._users[0], self._users[1])

    async def _new_server(self, number: int) -> ChatServer:
        name = f"server-{number}"
        server = ChatServer(self._read_dsn, name, self._air, by_valkey=self._by_valkey)
        await server.start()
        return server

    # --- devices

    @rule(device=devices, server=servers, noticed=st.booleans(), pause=pauses)
    def connect(self, device: int, server: int, *, noticed: bool, pause: float) -> None:
        """Connect; the older connection, if any, is left half-open or closed."""
        self._run(self._connect(device, server, noticed=noticed), pause)

    async def _connect(self, device: int, server: int, *, noticed: bool) -> None:
        self._handsets[device].disconnect(noticed=noticed)
        await self._handsets[device].connect(self._servers[server])

    @rule(device=st.none() | devices, pause=pauses)
    def read(self, device: int | None, pause: float) -> None:
        """Let one device, or each, take the frames that wait for it."""
        self._run(self._read(self._handsets if device is None else [self._handsets[device]]), pause)

    async def _read(self, handsets: list[Handset]) -> None:
        for handset in handsets:
            handset.read()

    @rule(device=devices, where=st.sampled_from(["group", "direct", "to"]), other=users, count=counts, pause=pauses)
    def send(self, device: int, where: str, other: int, count: int, pause: float) -> None:
        """Write messages, to whom there may be no chat yet as well."""
        targets: dict[str, dict[str, object]] = {
            "group": {"chat_id": self._group},
            "direct": {"chat_id": self._direct},
            "to": {"to": self._names[other]},
        }
        self._run(self._send(device, targets[where], count), pause)

    async def _send(self, device: int, target: dict[str, object], count: int) -> None:
        for _ in range(count):
            self._texts += 1
            self._handsets[device].send(f"text {self._texts}", **target)

    @rule(device=devices, place=numbers, sync=st.booleans(), pause=pauses)
    def again(self, device: int, place: int, *, sync: bool, pause: float) -> None:
        """Repeat a message, acknowledged or not, or sync once more on the same connection."""
        handset = self._handsets[device]
        self._run(_done(handset.sync if sync else lambda: handset.repeat(place)), pause)

    @rule(device=devices, kind=st.sampled_from(["delivered", "read"]), in_group=st.booleans(), pause=pauses)
    def mark(self, device: int, kind: str, *, in_group: bool, pause: float) -> None:
        """Tell what was received or read."""
        chat_id = self._group if in_group else self._direct
        self._run(_done(lambda: self._handsets[device].mark(kind, chat_id)), pause)

    # --- calls

    @rule(
        user=users, server=servers, in_group=st.booleans(), seq=st.integers(1, 30),
        act=st.sampled_from(
            ["edit", "delete", "react", "react", "unreact", "hide", "clear", "star", "pin", "receipts", "timer"]
        ),
        pause=pauses,
    )  # fmt: skip
    def change(self, user: int, server: int, *, in_group: bool, seq: int, act: str, pause: float) -> None:
        """Edit, delete, hide, star or react to whatever message has this seq, clear up to it, or set something."""
        chat_id = self._group if in_group else self._direct
        database, user_id = self._servers[server].database, self._users[user]
        self._texts += 1
        calls: dict[str, Coroutine[Any, Any, object]] = {
            "edit": changes.edit_message(database, user_id, chat_id, seq, f"text {self._texts}"),
            "delete": changes.delete_message(database, user_id, chat_id, seq),
            "react": changes.put_reaction(database, user_id, chat_id, seq, "👍😀"[seq % 2]),
            "unreact": changes.remove_reaction(database, user_id, chat_id, seq, "👍😀"[seq % 2]),
            "hide": changes.hide_message(database, user_id, chat_id, seq),
            "clear": own_chats.clear_history(database, user_id, chat_id, seq),
            "star": stars.set_star(database, user_id, chat_id, seq, starred=seq % 3 > 0),
            "pin": own_chats.change_settings(database, user_id, chat_id, SettingsChange(pinned=seq % 2 > 0)),
            "timer": timers.set_timer(database, user_id, chat_id, TIMER_SECONDS if seq % 3 else None),
            "receipts": change_privacy(database, user_id, PrivacyChange(read_receipts=seq % 2 > 0)),
        }
        chosen = calls.pop(act)
        for other in calls.values():
            other.close()
        self._call(server, chosen, pause)

    @rule(
        user=users, other=users, server=servers, pause=pauses,
        act=st.sampled_from(
            ["add", "add", "remove", "leave", "role", "block", "describe", "permit", "invite", "join", "join"]
        ),
    )  # fmt: skip
    def change_group(self, user: int, other: int, server: int, act: str, pause: float) -> None:
        """Add, remove, leave, make an admin; block, or end it; change the group's fields; invite, and join."""
        database, user_id, other_id = self._servers[server].database, self._users[user], self._users[other]
        if act == "add":
            self._call(server, groups.add_member(database, user_id, self._group, other_id), pause)
        elif act == "block":
            self._blocked ^= {(user, other)}
            blocked = (user, other) in self._blocked
            self._call(server, blocks.set_block(database, user_id, other_id, blocked=blocked), pause)
        elif act == "role":
            self._call(server, groups.set_role(database, user_id, self._group, other_id, "admin"), pause)
        elif act == "invite":
            self._call(server, self._invite(database, user_id, 1 + other), pause)
        elif act == "join":
            code = self._codes[other % len(self._codes)] if self._codes else ""
            self._call(server, join_group(database, user_id, code), pause)
        elif act in {"describe", "permit"}:
            self._texts += 1
            picture = None if other % 2 else f"https://example.com/{self._texts}.png"
            change = GroupChange(group_name=f"team {self._texts // 2}", picture_url=picture)
            if act == "permit":
                who: Who = "admins" if self._texts % 3 == 0 else "everyone"
                change = GroupChange(who_may_send=who, who_may_edit="everyone", description=f"text {self._texts}")
            self._call(server, change_group(database, user_id, self._group, change), pause)
        else:
            gone_id = other_id if act == "remove" else user_id
            self._call(server, groups.remove_member(database, user_id, self._group, gone_id), pause)

    @rule(server=servers, pause=pauses)
    def let_pass(self, server: int, pause: float) -> None:
        """Let the time of all messages with a timer be over, and a server delete some of them."""
        self._run(self._let_pass(server), pause)

    async def _let_pass(self, server: int) -> None:
        # Not the rows' own times, which devices know.
        await self._database.execute("UPDATE expiries SET seconds = 0, due_at = now(), leased_until = NULL")
        self._servers[server].begin(self._servers[server].context.expiry.round())

    async def _invite(self, database: Database, user_id: int, max_uses: int) -> None:
        self._codes.append((await create_invite(database, user_id, self._group, max_uses=max_uses)).code)

    def _call(self, server: int, work: Coroutine[Any, Any, object], pause: float) -> None:
        self._run(_done(lambda: self._servers[server].begin(work)), pause)

    @rule(user=users, server=servers, limit=st.sampled_from([2, 5, 100]))
    def poll(self, user: int, server: int, limit: int) -> None:
        """Follow the feed by one page, on any server."""
        self._run(self._poll(user, self._servers[server], limit))

    async def _poll(self, user: int, server: ChatServer, limit: int) -> bool:
        page = await feed.read_feed(
            server.database, self._users[user], since=self._cursors[user], limit=limit, events=True
        )
        self._cursors[user] = page.next_since
        for row in page.rows:
            self._rows_polled[user].append((row.chat_id, row.seq))
            self._polled[user].apply(as_client_sees(row))
        return bool(page.rows)

    # --- the bus, and what breaks

    @rule(
        server=st.none() | servers, place=numbers, pause=pauses,
        fate=st.sampled_from(["all", "one", "double", "lose", "late"]),
    )  # fmt: skip
    def hint(self, server: int | None, place: int, fate: str, pause: float) -> None:
        """Hand hints of one server, or of each, over, in order or not, once or twice or never."""
        self._run(self._hint_some(self._servers if server is None else [self._servers[server]], place, fate), pause)

    async def _hint_some(self, some: list[ChatServer], place: int, fate: str) -> None:
        for server in some:
            self._hint(server, place, fate)

    def _hint(self, server: ChatServer, place: int, fate: str) -> None:
        waiting = server.bus.waiting
        if fate == "all":
            while waiting:
                server.hear(waiting.pop(0))
        elif waiting:
            # The order of claims is what says which connection is newer; PostgreSQL keeps it.
            movable = [number for number, hint in enumerate(waiting) if not hint.claims]
            late = movable[place % len(movable)] if fate == "late" and movable else 0
            hint = waiting.pop(late)
            if fate != "lose":
                server.hear(hint)
            if fate == "double":
                server.hear(hint)

    @rule(
        what=st.sampled_from(["disconnect", "vanish", "lose bus", "regain bus", "flush", "kill"]),
        server=servers, device=devices, pause=pauses,
    )  # fmt: skip
    def trouble(self, what: str, server: int, device: int, pause: float) -> None:
        """Break a connection, with or without the server's knowing, the bus, or a server."""
        if what in {"disconnect", "vanish"}:
            handset = self._handsets[device]
            self._run(_done(lambda: handset.disconnect(noticed=what == "disconnect")), pause)
        elif what == "lose bus":
            self._servers[server].lose_bus()
        elif what == "flush":
            # With NOTIFY there is nothing that could be forgotten.
            for each in self._servers:
                each.bus.flush()
        elif what == "regain bus":
            self._run(_done(self._servers[server].regain_bus), pause)
        else:
            self._run(self._kill(server), pause)

    async def _kill(self, number: int) -> None:
        server = self._servers[number]
        for handset in self._handsets:
            if handset.wire is not None and handset.wire.server is server:
                handset.disconnect(noticed=True)
        await server.kill()
        self._ended.append(server)
        self._servers[number] = await self._new_server(number)

    # --- what holds at every step

    @invariant()
    def chats_have_no_gaps_and_watermarks_only_rise(self) -> None:
        """Read from the database alone."""
        if self._users:
            self._run(self._check_database())

    async def _check_database(self) -> None:
        records = await self._database.fetch(
            "SELECT c.chat_id, c.last_seq, count(m.seq), coalesce(max(m.seq), 0), c.has_expiries FROM chats c "
            "LEFT JOIN messages m USING (chat_id) WHERE c.chat_id IN ("
            "SELECT chat_id FROM chat_members WHERE user_id = ANY ($1::bigint[])) GROUP BY 1, 2",
            self._users,
        )
        for chat_id, last_seq, count, newest, has_expiries in records:
            assert newest <= last_seq, f"chat {chat_id} has a row above its last one"
            assert has_expiries or last_seq == count == newest, f"chat {chat_id} has a gap"
        records = await self._database.fetch(
            "SELECT cm.chat_id, cm.user_id, cm.delivered_seq, cm.read_seq, c.last_seq FROM chat_members cm "
            "JOIN chats c USING (chat_id) WHERE cm.user_id = ANY ($1::bigint[])",
            self._users,
        )
        for chat_id, user_id, delivered_seq, read_seq, last_seq in records:
            was_delivered, was_read = self._watermarks.get((chat_id, user_id), (0, 0))
            assert was_delivered <= delivered_seq <= last_seq
            assert was_read <= read_seq <= delivered_seq
            self._watermarks[chat_id, user_id] = (delivered_seq, read_seq)

    # --- how it ends

    def teardown(self) -> None:
        """Mend what is broken, let everybody catch up, and compare."""
        try:
            if self._handsets:
                self._run(self._finish())
        finally:
            self._runner.run(self._close())
            self._runner.close()

    async def _close(self) -> None:
        for server in self._servers:
            await server.kill()
        await self._database.close()
        await self._air.close()

    async def _finish(self) -> None:
        for server in self._servers:
            await server.quiet()
            server.regain_bus()
        for place, handset in enumerate(self._handsets):
            handset.read()
            if handset.wire is None:
                await handset.connect(self._servers[place % SERVERS])
            handset.repeat_unacknowledged()
        # What a server began before it was killed, another one completes.
        await self._database.execute("UPDATE expiries SET due_at = now(), leased_until = NULL")
        if self._is_over:
            await self._database.execute("UPDATE expiries SET seconds = 0")
        await self._servers[0].context.expiry.round()
        deadline = time.monotonic() + HAPPENS_SECONDS
        while lacking := [what for place in range(len(DEVICES)) if (what := await self._lacking(place))]:
            assert time.monotonic() < deadline, lacking
            for server in self._servers:
                self._hint(server, 0, "all")
            await asyncio.sleep(0.005)
        for user in range(USERS):
            while await self._poll(user, self._servers[user % SERVERS], 100):
                pass
            for chat_id in self._polled[user].stale:
                page = await chats.read_history(self._database, self._users[user], chat_id, limit=chats.HISTORY_MAX)
                self._polled[user].refetch(chat_id, [as_client_sees(row) for row in page.rows], page.rows[-1].seq)
        await self._compare()

    async def _lacking(self, place: int) -> str:
        """Let a device take what there is, and return what it still waits for."""
        handset = self._handsets[place]
        server = self._servers[place % SERVERS]
        handset.read()
        assert handset.wire is not None, "nobody ends a connection now"
        for chat_id in await self._chats_of(handset.user_id):
            await handset.recover(server, chat_id)
            rows = (await chats.read_history(self._database, handset.user_id, chat_id, limit=1)).rows
            if rows and handset.order.have.get(chat_id, 0) < rows[-1].seq:
                return f"device {place}: rows of chat {chat_id} after {handset.order.have.get(chat_id, 0)}"
        if handset.outbox:
            return f"device {place}: {len(handset.outbox)} acks"
        return await self._wrong_unread(place)

    async def _wrong_unread(self, place: int) -> str:
        handset = self._handsets[place]
        for chat in (await chats.list_chats(self._database, handset.user_id)).chats:
            if not chat.left and handset.unread(chat.chat_id) != chat.unread:
                return (
                    f"device {place}: {handset.unread(chat.chat_id)} unread in chat {chat.chat_id}, not {chat.unread}"
                )
        return ""

    async def _chats_of(self, user_id: int) -> list[int]:
        records = await self._database.fetch("SELECT chat_id FROM chat_members WHERE user_id = $1", user_id)
        return [record[0] for record in records]

    async def _compare(self) -> None:
        records = await self._database.fetch(
            "SELECT user_id, chat_id FROM chat_members WHERE user_id = ANY ($1::bigint[]) AND left_seq IS NOT NULL",
            self._users,
        )
        self._left = {(record[0], record[1]) for record in records}
        records = await self._database.fetch("SELECT chat_id, seq FROM expired_sends")
        self._gone = {(record[0], record[1]) for record in records}
        fresh = {user_id: await self._fetch(user_id) for user_id in self._users}
        for place, handset in enumerate(self._handsets):
            assert not handset.doubled, f"device {place} was given rows twice or out of order on one connection"
            assert not handset.failed, handset.failed
            assert not handset.unlike, f"device {place} was given two places for one message"
            assert len(handset.handed_on) == len(set(handset.handed_on))
            assert self._shown(handset.replica, handset.user_id) == fresh[handset.user_id], f"device {place}"
            await self._compare_group(handset.replica, handset.user_id)
        for user, user_id in enumerate(self._users):
            assert len(self._rows_polled[user]) == len(set(self._rows_polled[user])), "the feed gave a row twice"
            assert self._shown(self._polled[user], user_id) == fresh[user_id], f"user {user}"
            await self._compare_group(self._polled[user], user_id)
        await self._compare_acknowledged()

    async def _compare_group(self, replica: Replica, user_id: int) -> None:
        """What rows said of the group is what it is now, or was when the user left."""
        if known := replica.groups.get(self._group):
            group = (await chats.get_chat(self._database, user_id, self._group)).group
            assert group is not None
            fetched = msgspec.structs.asdict(group)
            assert known == {name: fetched[name] for name in known}
            self.totals["groups"] += 1

    async def _fetch(self, user_id: int) -> dict[tuple[int, int], Row]:
        """What a new device shows."""
        replica = Replica()
        for chat_id in await self._chats_of(user_id):
            page = await chats.read_history(self._database, user_id, chat_id, limit=chats.HISTORY_MAX)
            replica.refresh([as_client_sees(row) for row in page.rows])
        return self._shown(replica, user_id)

    def _shown(self, replica: Replica, user_id: int) -> dict[tuple[int, int], Row]:
        """What a replica says of each message, but what it cannot know."""
        shown = {}
        for place, row in replica.messages.items():
            if (user_id, place[0]) in self._left and place in self._gone:
                # A former member is not told what has gone since.
                continue
            unknown = {*NOT_COMPARED, *(CHANGEABLE if (user_id, place[0]) in self._left else ())}
            shown[place] = {name: value for name, value in row.items() if name not in unknown}
        return shown

    async def _compare_acknowledged(self) -> None:
        records = await self._database.fetch(
            "SELECT client_id::text, chat_id, seq FROM messages WHERE sender_id = ANY ($1::bigint[]) "
            "AND kind = 'message' UNION ALL "
            "SELECT client_id::text, chat_id, seq FROM expired_sends WHERE sender_id = ANY ($1::bigint[])",
            self._users,
        )
        stored = Counter(record[0] for record in records)
        assert max(stored.values(), default=1) == 1, "a message was stored twice"
        places = {record[0]: (record[1], record[2]) for record in records}
        for handset in self._handsets:
            for client_id, place in handset.acked.items():
                assert places.get(client_id) == place, "an acknowledged message is not where it was said to be"
                self.totals["acknowledged"] += 1
            self.totals["rows"] += len(handset.handed_on)
        for server in (*self._servers, *self._ended):
            assert not server.failures, server.failures
            self.totals.update(server.refusals)
        self.totals["kills"] += len(self._ended)
        self.totals["gone"] += len(self._gone)
        self.totals["worlds"] += 1
        self.totals["worlds by Valkey"] += self._by_valkey


def _new_name() -> str:
    return f"u{secrets.token_hex(8)}"


async def _done(act: Callable[[], object]) -> None:
    act()


async def _open_direct(database: Database, user_id: int, other_id: int) -> int:
    chat_id = await open_direct_chat(database, user_id, other_id)
    assert chat_id is not None
    return chat_id


def explore(read_dsn: Callable[[], str], examples: int, steps: int, seed: int) -> None:
    """Run worlds, the same ones for the same seed."""

    def new() -> Interleavings:
        return Interleavings(read_dsn)

    run_state_machine_as_test(
        hypothesis.seed(seed)(new),  # type: ignore[arg-type] # a function that makes one will do
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=False,
            deadline=None,
            database=None,
            print_blob=True,
            # No shrinking: with a database's timing in it, a failure may not fail again with fewer steps.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def _tell(label: str) -> None:
    total = Interleavings.totals
    tell(
        f"interleavings ({label}): {total['worlds']} worlds, "
        f"{total['worlds by Valkey']} with hints by Valkey, {total['kills']} servers killed, "
        f"{total['acknowledged']} acknowledged messages looked up, {total['gone']} messages that disappeared, "
        f"{total['rows']} rows at devices compared"
    )


@pytest.mark.integration
def test_devices_that_replay_equal_one_that_fetches_afresh_whatever_the_interleaving(
    read_dsn: Callable[[], str],
) -> None:
    explore(read_dsn, EXAMPLES, STEPS, SEED)
    _tell(f"seed {SEED}")
    seen = Interleavings.totals
    counted = ("kills", "worlds by Valkey", "acknowledged", "groups", "gone")
    assert min(seen[name] for name in counted) > 0, "choose another SEED"


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS + 600)
def test_devices_that_replay_equal_one_that_fetches_afresh_for_as_long_as_wanted(read_dsn: Callable[[], str]) -> None:
    seed = int(os.environ.get("CHAT_SOAK_SEED") or secrets.randbelow(10**6))
    deadline = time.monotonic() + SOAK_SECONDS
    while time.monotonic() < deadline:
        tell(f"interleavings: CHAT_SOAK_SEED={seed}")
        explore(read_dsn, SOAK_EXAMPLES, SOAK_STEPS, seed)
        seed += 1
    _tell("seeds by chance")
