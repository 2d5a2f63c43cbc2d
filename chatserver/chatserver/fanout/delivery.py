"""Brings rows from the database and the bus to the connections of this server; hands on what else hints say.

Hints say where to look. All that wait are answered by one query, and what it returns is pushed in order; when hints
may have been lost, the database is asked every HEAL_SECONDS where the chats of the local users stand.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from chatserver.batches import Batches
from chatserver.errors import ServiceUnavailable
from chatserver.fanout.connection import PushedRow
from chatserver.fanout.device_claims import Claims
from chatserver.fanout.own_batches import Echo
from chatserver.fanout.presence import Presence
from chatserver.fanout.profiles import Profiles
from chatserver.fanout.signals import Signals
from chatserver.fanout.watches import Watches
from chatserver.messaging import sync
from chatserver.messaging.rows import frame_or_none
from chatserver.model import SeqRange
from chatserver.supervision import apart, caught
from chatserver.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chatserver.accounts.devices import Devices
    from chatserver.fanout.bus import Bus
    from chatserver.fanout.hub import Hub
    from chatserver.hints import Hint
    from chatserver.metrics import Metrics
    from chatserver.model import Delivery
    from chatserver.storage.database import Database
    from chatserver.storage.messages import AppendResult, NewMessage

log = structlog.get_logger()

# How long a client may go without news when hints are lost.
HEAL_SECONDS = 5.0
# After a failed query; the database's own calls are bounded by seconds.
RETRY_SECONDS = 0.5
# Rows asked of one chat and of all chats by one query; large texts make them fewer.
CHAT_ROWS = 500
QUERY_ROWS = 2000
# Users who connect or poll, whose chats are asked for by one query: few enough to hold nobody else up.
LEARNERS_TOGETHER = 100
# Users asked about by one query of a heal.
HEAL_USERS = 500
# A chat first heard of by a heal is pushed from so many rows back; the client fetches older ones.
NEW_CHAT_ROWS = 100


class Deliverer:
    """The way from what is committed to the outboxes of this server's connections.

    Attributes:
        claims: tells the other servers which connection of a device is the newest.
        signals: receipts and typing, which are no rows.
        presence, watches: who is online, and which connections get to know it.
    """

    def __init__(self, database: Database, devices: Devices, hub: Hub, metrics: Metrics) -> None:
        self.claims = Claims(database.server_name, hub)
        self.signals = Signals(database, hub)
        self.watches = Watches(database, hub)
        self.presence = Presence(database, hub, self.watches)
        self._database = database
        self._devices = devices
        self._hub = hub
        self._metrics = metrics
        self._echo = Echo(hub, metrics)
        self._profiles = Profiles(database, hub)
        self._work = asyncio.Event()
        self._reached: dict[int, int] = {}
        self._first: dict[int, int] = {}
        self._news: dict[int, set[int]] = {}
        self._found: dict[tuple[int, int], int] = {}
        # Chats whose rows could not be delivered, and how far they reach.
        self._put_off: dict[int, int] = {}
        self._learning: list[dict[int, int]] = []
        self._lessons = Batches(self._learn, most=LEARNERS_TOGETHER)
        self._heal_now = asyncio.Event()

    # --- hints

    def hear(self, hint: Hint) -> None:
        """Take a hint; never blocks."""
        self._metrics.bus_hints.inc()
        if hint.is_batch and hint.origin == self._database.server_name:
            self._tell_learning(hint.ranges)
            self._look_for(chat_range for chat_range in hint.ranges if not self._echo.settles(chat_range))
            return
        for news in hint.members:
            self._news.setdefault(news.chat_id, set()).update(news.user_ids)
            self.watches.doubt_users(news.user_ids)
        self._tell_learning(hint.ranges)
        for chat_range in hint.ranges:
            self._note(chat_range)
        self.signals.hear(hint.receipts, hint.typing)
        self._devices.end(hint.revoked)
        for device_id, conn_id in hint.claims:
            self._hub.heard_claim(device_id, conn_id)
        self.watches.doubt_pairs(hint.relations)
        self._profiles.hear(hint.profiles)
        self.watches.hear(hint.presence)
        self._work.set()

    def begin(self, messages: Sequence[NewMessage]) -> None:
        """Hold back the hints of a batch that this server is storing: it will have the rows at hand."""
        self._echo.begin({message.chat_id for message in messages})

    def committed(self, messages: Sequence[NewMessage], results: Sequence[AppendResult]) -> None:
        """Deliver the rows of a stored batch to the connections of this server."""
        try:
            left = self._echo.deliver(messages, results)
        except Exception as error:  # noqa: BLE001 - no failure of storing: the rows are, and their hint brings them
            caught("own_batch_not_brought", error)
        else:
            self._look_for(left)
        self._release(messages)

    def failed(self, messages: Sequence[NewMessage]) -> None:
        """Look for the rows of a batch whose storing is uncertain, as its hints say."""
        self._release(messages)

    def _release(self, messages: Sequence[NewMessage]) -> None:
        self._look_for(self._echo.end({message.chat_id for message in messages}))

    def _look_for(self, ranges: Iterable[SeqRange]) -> None:
        for chat_range in ranges:
            self._note(chat_range)
            self._work.set()

    def hints_were_missed(self) -> None:
        """Look for what the bus did not tell."""
        self._hub.claims_were_missed()
        self._hub.members.forget_all()
        self._heal_now.set()

    def _note(self, chat_range: SeqRange) -> None:
        chat_id = chat_range.chat_id
        self._reached[chat_id] = max(chat_range.last_seq, self._reached.get(chat_id, 0))
        self._first[chat_id] = min(chat_range.first_seq, self._first.get(chat_id, chat_range.first_seq))

    def _tell_learning(self, ranges: Iterable[SeqRange]) -> None:
        """Let those who are being found out about know which rows their snapshot may lack."""
        if self._learning:
            for chat_range in ranges:
                for reached in self._learning:
                    reached[chat_range.chat_id] = max(chat_range.last_seq, reached.get(chat_range.chat_id, 0))

    # --- who is here

    async def learn(self, user_id: int) -> None:
        """Find out which chats a user is in, so that their rows are pushed; call it before they connect or poll.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        self._hub.expect(user_id, time.monotonic())
        if not self._hub.knows(user_id):
            await self._lessons.submit(user_id)

    async def _learn(self, user_ids: Sequence[int]) -> list[None]:
        # What is committed after the query's snapshot is hinted after this line.
        reached: dict[int, int] = {}
        self._learning.append(reached)
        try:
            positions = await sync.positions(self._database, user_ids)
        finally:
            self._learning = [other for other in self._learning if other is not reached]
        for user_id, chats in positions.items():
            for chat_id, last_seq in chats.items():
                self._hub.follow(user_id, chat_id, last_seq)
                if reached.get(chat_id, 0) > last_seq:
                    self._reached[chat_id] = max(reached[chat_id], self._reached.get(chat_id, 0))
                    self._work.set()
            self._hub.learned(user_id)
        return [None] * len(user_ids)

    # --- the loops

    async def run(self) -> None:
        """Answer hints until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._deliver_news()
                await self._deliver_rows()
                await self.signals.deliver({chat_id for _, chat_id in self._found})
                await self.watches.settle()
                await self._profiles.deliver()
            except ServiceUnavailable:
                log.warning("delivery_waits_for_database")
                self._work.set()
                await asyncio.sleep(RETRY_SECONDS)
            except BaseException:
                # Whoever runs this again goes on with what waits.
                self._work.set()
                raise

    async def run_healing(self, bus: Bus) -> None:
        """Ask the database for what may have been missed: when listening begins, and every 5 s without hints."""
        while True:
            try:
                async with asyncio.timeout(HEAL_SECONDS):
                    await self._heal_now.wait()
            except TimeoutError:
                pass
            now = time.monotonic()
            self._hub.forget_idle(now)
            self.signals.forget_typed(now)
            self._try_again()
            if not self._heal_now.is_set() and bus.is_healthy():
                self.signals.bus_was_well(now)
                continue
            self._heal_now.clear()
            self._hub.members.forget_all()
            try:
                await self._heal()
            except ServiceUnavailable:
                log.warning("healing_waits_for_database")
                # A listening bus would not bring this back.
                self._heal_now.set()
                await asyncio.sleep(RETRY_SECONDS)
            except BaseException:
                self._heal_now.set()
                raise

    # --- steps

    async def _deliver_news(self) -> None:
        # Here, between two rounds of rows: a round that is under way knows only the followers it began with.
        found, self._found = self._found, {}
        for (user_id, chat_id), after_seq in found.items():
            self._join(user_id, chat_id, after_seq)
        if await apart("news_not_delivered", list(self._news), self._deliver_news_of):
            # A heal finds who came into what.
            self.hints_were_missed()
        self._news = {
            chat_id: left for chat_id, user_ids in self._news.items() if (left := set(self._hub.known_users(user_ids)))
        }

    async def _deliver_news_of(self, chat_ids: Sequence[int]) -> None:
        news = {chat_id: self._hub.known_users(self._news[chat_id]) for chat_id in chat_ids}
        # The event of joining is hinted with the news, mostly; a large group's hint comes in pieces.
        unknown = [chat_id for chat_id, user_ids in news.items() if user_ids and chat_id not in self._first]
        if unknown:
            for chat_id, last_seq in (await sync.last_seqs(self._database, unknown)).items():
                self._note(SeqRange(chat_id, last_seq, last_seq))
        for chat_id, user_ids in news.items():
            self._hub.members.forget(chat_id)
            for user_id in user_ids:
                self._join(user_id, chat_id, self._first.get(chat_id, 1) - 1)
            self._news[chat_id] -= set(user_ids)

    def _try_again(self) -> None:
        put_off, self._put_off = self._put_off, {}
        self._look_for(SeqRange(chat_id, last_seq, last_seq) for chat_id, last_seq in put_off.items())
        if self.signals.try_again():
            self._work.set()

    def _join(self, user_id: int, chat_id: int, after_seq: int) -> None:
        self._hub.join(user_id, chat_id, after_seq)
        # What the others there have had of an own batch by now is no longer hinted.
        self._reached[chat_id] = max(self._hub.pushed_seq(chat_id), self._reached.get(chat_id, 0))

    async def _deliver_rows(self) -> None:
        while self._reached:
            ranges = self._next_ranges()
            if not ranges:
                return
            for chat_range in await apart("rows_not_delivered", ranges, self._deliver_ranges):
                # The next look at the bus, 5 s later, tries again; until then the chat holds up no other.
                self._put_off[chat_range.chat_id] = self._reached.pop(chat_range.chat_id, chat_range.last_seq)

    async def _deliver_ranges(self, ranges: Sequence[SeqRange]) -> None:
        # What is left out now is still to be reached, and comes in the next round.
        ranges = await sync.light(self._database, ranges)
        followers = self._hub.followers(r.chat_id for r in ranges)
        self._push(ranges, await sync.rows_for(self._database, ranges, followers))

    def _next_ranges(self) -> list[SeqRange]:
        """Take chats off the list until one query is full; forget those that nobody here needs."""
        ranges: list[SeqRange] = []
        rows = 0
        # Whoever comes into a chat in the next round needs to know what there is.
        joining = {chat_id for _, chat_id in self._found} | self._news.keys()
        for chat_id, last_seq in list(self._reached.items()):
            if chat_id in self._put_off:
                self._put_off[chat_id] = max(last_seq, self._put_off[chat_id])
                del self._reached[chat_id]
                continue
            after = self._hub.needed_after(chat_id)
            if after is None or after >= last_seq:
                if chat_id not in joining:
                    self._done(chat_id)
                continue
            first, last = after + 1, min(last_seq, after + CHAT_ROWS)
            ranges.append(SeqRange(chat_id, first, last))
            rows += last - first + 1
            if rows >= QUERY_ROWS:
                break
        return ranges

    def _done(self, chat_id: int) -> None:
        self._reached.pop(chat_id, None)
        self._first.pop(chat_id, None)

    def _push(self, ranges: Sequence[SeqRange], deliveries: Iterable[Delivery]) -> None:
        rows: dict[int, list[PushedRow]] = {}
        now_us = time.time() * MICROSECONDS
        for delivery in deliveries:
            row = delivery.row
            frame = frame_or_none(row)
            if frame is None:
                continue
            pushed = PushedRow(row.chat_id, row.seq, row.from_id, row.client_id, frame, delivery.user_ids)
            rows.setdefault(row.chat_id, []).append(pushed)
            self._metrics.delivery_seconds.observe(max(0.0, (now_us - row.created_at_us) / MICROSECONDS))
        for chat_range in ranges:
            self._hub.push(chat_range.chat_id, rows.get(chat_range.chat_id, ()), chat_range.last_seq)

    async def _heal(self) -> None:
        user_ids = self._hub.local_users()
        for start in range(0, len(user_ids), HEAL_USERS):
            await apart("users_not_healed", user_ids[start : start + HEAL_USERS], self._heal_users)
        await self.signals.heal(chat_id for _, chat_id in self._found)
        await self.watches.heal()
        await self._devices.end_revoked(self._hub.devices())
        self._work.set()

    async def _heal_users(self, user_ids: Sequence[int]) -> None:
        positions = await sync.positions(self._database, user_ids)
        for user_id, chats in positions.items():
            for chat_id, last_seq in chats.items():
                if not self._hub.follows(user_id, chat_id):
                    self._found[user_id, chat_id] = max(0, last_seq - NEW_CHAT_ROWS)
                    self._reached[chat_id] = max(last_seq, self._reached.get(chat_id, 0))
                after = self._hub.needed_after(chat_id)
                if after is not None and after < last_seq:
                    self._metrics.gaps_healed.inc(last_seq - after)
                    self._reached[chat_id] = max(last_seq, self._reached.get(chat_id, 0))
