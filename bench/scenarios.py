"""Scenarios that load only our chat, each in one way, and return rows. A, B and C are in `bench.measure`."""

from __future__ import annotations

import contextlib
import signal
import statistics
import time
from typing import TYPE_CHECKING

from bench import latencies
from bench.fleet import Fleet
from bench.measure import GENERATORS, RowsDiffer, loaded, ordered, since, used, warm_up
from bench.orders import Person

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.machine import Chat, Start
    from bench.measure import Row
    from bench.sizes import Sizes

GROUP_SENDERS = 16
"""Members who send; the others receive."""

HISTORY = 20
"""Messages in each chat of the reconnecting clients."""

MISSED = 3
"""How many of them each client has missed."""

STEADY_RATE = 500.0
"""Messages per second between the steady users while the others reconnect."""

STORM_SECONDS = 120.0
"""Longest wait until all reconnecting clients are synced."""

MESSAGES_A_CHAT = 1000
"""Chats of the scenario with many stored messages."""


def with_receipts(chat: Chat, sizes: Sizes) -> list[Row]:
    """B and C of our chat with receipts of the recipients, which its clients send and the peers' clients here do not.

    As fast as they are acknowledged, at 1,000/s, and at half of the most.
    """
    pairs = chat.pairs(sizes.pairs)
    warm_up(chat, pairs, sizes.warm_up_seconds)
    window = sizes.windows[-1]
    most = loaded(chat, ordered(chat, pairs, mode="closed", seconds=sizes.seconds, window=window, receipts=True))
    rows = [{"load": "most", "messages/s": round(most.acked_per_second), **most.times(), **most.costs()}]
    for rate in (min(1000.0, most.acked_per_second / 2), most.acked_per_second / 2):
        steady = loaded(chat, ordered(chat, pairs, mode="open", seconds=sizes.seconds, rate=rate, receipts=True))
        rows.append({"load": f"{rate:.0f}/s", "messages/s": round(rate), **steady.times(), **steady.costs()})
    return rows


def reconnect_storm(start: Start, sizes: Sizes) -> list[Row]:
    """D: thousands connect at once to a server and sync, while others keep sending there.

    Their own server was killed, so that nothing delays or spreads their reconnects.
    """
    with start() as chat:
        steady = chat.pairs(sizes.pairs)
        returning = [
            [Person(person.token, have={chat_id: seq - MISSED for chat_id, seq in person.have.items()})]
            for pair in chat.filling.pairs((sizes.storm + 1) // 2, HISTORY)
            for person in _both_ways(pair)
        ][: sizes.storm]
        calm = loaded(chat, ordered(chat, steady, mode="open", seconds=sizes.seconds, rate=STEADY_RATE))
        with start(database=chat.database) as doomed, contextlib.ExitStack() as leaving:
            leaving.enter_context(Fleet(ordered(doomed, returning, mode="hold"), GENERATORS))
            staying = ordered(chat, steady, mode="open", seconds=sizes.storm_seconds, rate=STEADY_RATE)
            with (
                Fleet(staying, 1) as stayers,
                Fleet(ordered(chat, returning, mode="sync", seconds=STORM_SECONDS), GENERATORS) as comers,
            ):
                before = used(chat)
                stayers.go()
                time.sleep(1)
                doomed.servers[0].signal(signal.SIGKILL)
                comers.go()
                synced = comers.result()
                stayed = stayers.result()
                cpu = since(before, chat)
    # A rejected send may have been stored nevertheless: clients retry it with the same id.
    if synced.delivered != len(returning) * MISSED or not stayed.acked <= stayed.delivered <= stayed.sent:
        raise RowsDiffer(
            f"{synced.delivered} of {len(returning) * MISSED} missed messages came; of the steady users "
            f"{stayed.sent} sent, {stayed.acked} acknowledged, {stayed.refused} refused, {stayed.delivered} delivered"
        )
    times = latencies.percentiles(synced.acked_us)
    return [
        {
            "clients": len(returning),
            "synced ms": times,
            "all synced s": round(times["max"] / 1000, 2),
            "tried again": synced.refused,
            "steady users refused": stayed.refused,
            "steady users' ms": latencies.percentiles(stayed.delivered_us),
            "before ms": latencies.percentiles(calm.result.delivered_us),
            "cpu s": {who: round(used_up, 1) for who, used_up in cpu.items()},
        }
    ]


def _both_ways(pair: list[Person]) -> Iterator[Person]:
    """Return each user of the pairs as one who only receives, and has the rows of the second of the pair."""
    for person in pair:
        yield Person(person.token, have=pair[1].have)


def groups(chat: Chat, sizes: Sizes) -> list[Row]:
    """E: messages to large groups, as fast as they are acknowledged and at half of that."""
    rows = []
    for members in sizes.groups:
        party = [chat.filling.group(members, GROUP_SENDERS)]
        most = loaded(chat, ordered(chat, party, mode="closed", seconds=sizes.seconds, window=1))
        rate = max(1.0, most.acked_per_second / 2)
        half = loaded(chat, ordered(chat, party, mode="open", seconds=sizes.seconds, rate=rate))
        rows += [
            {
                "members": members,
                "load": load,
                "messages/s": round(measured.acked_per_second, 1),
                "deliveries/s": round(measured.result.delivered / measured.result.seconds),
                "acked": latencies.percentiles(measured.result.acked_us),
                "delivered": latencies.percentiles(measured.result.delivered_us),
                "cpu us a delivery": {
                    who: round(1e6 * seconds / measured.result.delivered, 1) for who, seconds in measured.cpu.items()
                },
            }
            for load, measured in (("most", most), ("half", half))
        ]
    return rows


def rest_sends(chat: Chat, sizes: Sizes) -> list[Row]:
    """F: sends by REST, as fast as they are answered and at 1,000/s or half of that."""
    pairs = chat.pairs(sizes.pairs)
    chat.wire = "rest"
    try:
        most = loaded(chat, ordered(chat, pairs, mode="closed", seconds=sizes.seconds, window=1))
        rate = min(1000.0, most.acked_per_second / 2)
        steady = loaded(chat, ordered(chat, pairs, mode="open", seconds=sizes.seconds, rate=rate))
    finally:
        chat.wire = "chat"
    return [
        {
            "load": load,
            "messages/s": round(measured.acked_per_second),
            **measured.times(),
            **measured.costs(),
        }
        for load, measured in (("most", most), (f"{rate:.0f}/s", steady))
    ]


def first_sync(chat: Chat, sizes: Sizes) -> list[Row]:
    """G: new devices of users with many chats: from connecting to having all messages, one device after the other."""
    rows = []
    for chats, messages_each in sizes.first_syncs:
        users = chat.filling.stars(sizes.first_sync_users, chats, messages_each)
        taken, cpu = [], []
        for user in users:
            before = used(chat)
            with Fleet(ordered(chat, [[user]], mode="sync", seconds=STORM_SECONDS), 1) as fleet:
                fleet.go()
                result = fleet.result()
            cpu.append(since(before, chat))
            if result.delivered != chats * messages_each:
                raise RuntimeError(f"{result.delivered} of {chats * messages_each} messages came")
            taken.append(result.seconds * 1000)
        rows.append(
            {
                "chats": chats,
                "messages": chats * messages_each,
                "ms": {"p50": round(statistics.median(taken), 1), "max": round(max(taken), 1)},
                "cpu ms": {who: round(1000 * statistics.fmean(one[who] for one in cpu), 1) for who in cpu[0]},
            }
        )
    return rows


def more_messages(start: Start, sizes: Sizes) -> list[Row]:
    """I: the same load with many messages stored, in the chats that are written to as in others."""
    rows = []
    for stored in sizes.stored:
        with start() as chat:
            chats = max(sizes.pairs, stored // MESSAGES_A_CHAT)
            started = time.monotonic()
            pairs = chat.filling.pairs(chats, stored // chats)
            filled = time.monotonic() - started
            size = chat.postgres.sql(f"SELECT pg_size_pretty(pg_database_size('{chat.database}'))", chat.database)
            # Chats from all parts of the tables, not only the first ones.
            spread = pairs[:: len(pairs) // sizes.pairs][: sizes.pairs]
            figures = _most_and_steady(chat, spread, sizes)
        chat.postgres.sql(f"DROP DATABASE {chat.database}")
        rows.append({"stored": chats * (stored // chats), "size": size, "filled in s": round(filled), **figures})
    return rows


def _most_and_steady(chat: Chat, pairs: list[list[Person]], sizes: Sizes) -> Row:
    window = sizes.windows[-1]
    warm_up(chat, pairs, sizes.warm_up_seconds)
    most = loaded(chat, ordered(chat, pairs, mode="closed", seconds=sizes.seconds, window=window))
    at_1000 = loaded(chat, ordered(chat, pairs, mode="open", seconds=sizes.seconds, rate=1000.0))
    times = at_1000.times()
    return {
        "messages/s": round(most.acked_per_second),
        "cpu us": most.costs()["cpu us"],
        "acked at 1,000/s": times["acked"],
        "delivered at 1,000/s": times["delivered"],
    }
