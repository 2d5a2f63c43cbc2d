"""Long polls of one user: few, woken by one query, and each with what its own cursor lacks."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from chatserver.fanout.polling import POLLS_OF_A_USER
from chatserver.messaging import feed
from chatserver.messaging.feed import FeedQuery
from chatserver.model import SendMessage
from chatserver.storage.database import single_connection
from tests.support.devices import sign_in as device
from tests.support.inprocess import ChatServer
from tests.support.people import Server, arrival, principal_of, sign_in
from tests.support.playedbus import Air

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from chatserver.storage.calls import CallTimes
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration


@asynccontextmanager
async def chat_server(read_dsn: Callable[[], str]) -> AsyncIterator[ChatServer]:
    air = Air(read_dsn)
    await air.open()
    server = ChatServer(read_dsn, "one", air)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
        await air.close()


async def test_one_row_wakes_all_polls_of_a_user_and_is_read_by_one_query(
    read_dsn: Callable[[], str], server: Server
) -> None:
    ana, ben = await sign_in(server.database, "Ana"), await sign_in(server.database, "Ben")
    chat_id = (await server.send(ben.user.user_id, "first", to="Ana")).chat_id
    cursors = []
    for number in range(POLLS_OF_A_USER):
        cursors.append((await feed.read_feed(server.database, ana.user.user_id, events=True)).next_since)
        await server.send(ben.user.user_id, str(number), chat_id=chat_id)
    async with chat_server(read_dsn) as one:
        polls = [
            asyncio.create_task(one.context.polls.wait(principal_of(ana), FeedQuery(since, 100, events=False), 60))
            for since in cursors
        ]
        # Each begins with what it lacks; those that have it all wait.
        pages = await asyncio.gather(*polls)
        assert [len(page.rows) for page in pages] == list(range(POLLS_OF_A_USER, 0, -1))
        polls = [
            asyncio.create_task(
                one.context.polls.wait(principal_of(ana), FeedQuery(page.next_since, 100, events=number % 2 == 0), 60)
            )
            for number, page in enumerate(pages)
        ]
        # No shared cursor: between the looks of the first ones others have written.
        while one.context.hub.polls.count(ana.user.user_id) < POLLS_OF_A_USER:
            await asyncio.sleep(0.01)
        await one.quiet()
        queries = 0

        def count(_call: CallTimes) -> None:
            nonlocal queries
            queries += 1

        one.database._on_call = count
        # Stored here, it is pushed at once and read by the polls alone.
        await one.context.messages.send(
            ben.user.user_id, SendMessage(chat_id=chat_id, text="news"), arrival(), "192.0.2.1"
        )
        pages = await asyncio.gather(*polls)
        assert [[row.text for row in page.rows] for page in pages] == [["news"]] * POLLS_OF_A_USER
        # The rows, and whether the device is still signed in.
        assert queries <= 5


async def test_polls_that_are_answered_together_get_what_each_would_get_alone(
    read_dsn: Callable[[], str], server: Server
) -> None:
    ana, ben, cyd = [await sign_in(server.database, name) for name in ("Ana", "Ben", "Cyd")]
    me = ana.user.user_id
    slow = (await server.send(cyd.user.user_id, "first", to="Ana")).chat_id
    quick = (await server.send(ben.user.user_id, "first", to="Ana")).chat_id
    questions = [FeedQuery(None, 100, events=False), FeedQuery("not a cursor", 100, events=False)]
    async with single_connection(read_dsn, "a slow writer") as writer:
        for number in range(12):
            events = number % 2 == 0
            since = (await feed.read_feed(server.database, me, events=events)).next_since
            questions.append(FeedQuery(since, 1 + number, events))
            await server.send(ben.user.user_id, str(number), chat_id=quick)
            if number == 3:
                # Committed late: behind cursors that were made meanwhile.
                writing = writer.transaction()
                await writing.start()
                await writer.execute(
                    "INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at) "
                    "SELECT $1, 2, $2, 'late', now()",
                    slow,
                    cyd.user.user_id,
                )
                await writer.execute(
                    "UPDATE chats SET last_seq = 2, last_xact = pg_current_xact_id() WHERE chat_id = $1", slow
                )
            if number == 8:
                await writing.commit()
    pages = await feed.read_feeds(server.database, me, questions)
    assert set(pages) == set(questions[2:])
    for question, page in pages.items():
        alone = await feed.read_feed(
            server.database, me, since=question.since, limit=question.limit, events=question.events
        )
        assert (page.rows, page.more) == (alone.rows, alone.more)
        onward = await feed.read_feed(server.database, me, since=page.next_since, events=question.events)
        alone = await feed.read_feed(server.database, me, since=alone.next_since, events=question.events)
        assert onward.rows == alone.rows


async def test_one_poll_too_many_is_refused_and_the_others_wait_on(process: ServerProcess) -> None:
    ana = await device(process)
    async with ana.http(process) as http:
        since = (await http.get("/api/messages")).headers["X-Next-Since"]
        polls = [
            asyncio.create_task(http.get("/api/messages", params={"since": since, "wait": 60}))
            for _ in range(POLLS_OF_A_USER + 4)
        ]
        done, waiting = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 4:
            more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        refused = [poll.result() for poll in done]
        assert {answer.status_code for answer in refused} == {429}
        assert refused[0].json()["code"] == "rate_limited"
        assert int(refused[0].headers["Retry-After"]) > 0
        # Without waiting it is answered.
        assert (await http.get("/api/messages", params={"since": since})).status_code == 200
        ben = await device(process)
        async with ben.socket(process) as b:
            await b.message("news", to=ana.phone_number)
        for answer in await asyncio.gather(*waiting):
            assert [row["text"] for row in answer.json()] == ["news"]
