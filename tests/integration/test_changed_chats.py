"""A list of the chats that have changed since another one: nothing is missed, whatever others commit meanwhile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import chatserver.storage
from chatserver.errors import CursorExpired, ValidationFailed
from chatserver.messaging import changes, chats, feed, groups, own_chats
from chatserver.messaging.group_edits import GroupChange, change_group
from chatserver.messaging.own_chats import SettingsChange
from chatserver.model import ReceiptMark
from chatserver.storage.database import single_connection
from tests.support.filling import fill_chats
from tests.support.people import Server, running_server, sign_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chatserver.messaging.chats import ChatPage

pytestmark = pytest.mark.integration


class Follower:
    """A client that follows its list of chats.

    Attributes:
        since: the position from which changes continue.
    """

    def __init__(self, server: Server, user_id: int, limit: int = 50) -> None:
        self._server = server
        self._user_id = user_id
        self._limit = limit
        self.since: str | None = None

    async def changed(self) -> list[int]:
        """Return the chats of the next list, all of its pages, in their order."""
        found: list[int] = []
        page: ChatPage | None = None
        while page is None or page.next_cursor is not None:
            page = await chats.list_chats(
                self._server.database,
                self._user_id,
                limit=self._limit,
                cursor=None if page is None else page.next_cursor,
                changed_since=self.since,
            )
            assert (page.next_cursor is None) != (page.next_changed_since is None)
            found += [chat.chat_id for chat in page.chats]
        self.since = page.next_changed_since
        return found


async def test_each_change_of_what_the_list_shows_lists_the_chat_once_more_and_no_other(server: Server) -> None:
    database = server.database
    ada, bob, cy = [(await sign_in(database, name)).user.user_id for name in ("Ada", "Bob", "Cy")]
    follower = Follower(server, ada)
    assert await follower.changed() == []
    other = (await server.send(ada, "hi", to="Cy")).chat_id
    chat = (await server.send(bob, "hi", to="Ada")).chat_id
    group = (await groups.create_group(database, bob, "team", ["Ada"])).chat_id
    assert await follower.changed() == [group, chat, other]
    assert await follower.changed() == []

    async def mark(read_seq: int) -> None:
        await server.receipts.mark(ada, {chat: ReceiptMark(read_seq=read_seq)})

    happenings: list[tuple[int, Callable[[], Awaitable[object]]]] = [
        (chat, lambda: server.send(bob, "more", chat_id=chat)),
        (chat, lambda: changes.edit_message(database, bob, chat, 1, "hello")),
        (chat, lambda: changes.put_reaction(database, ada, chat, 1, "👍")),
        (chat, lambda: mark(1)),
        (chat, lambda: own_chats.change_settings(database, ada, chat, SettingsChange(archived=True))),
        (chat, lambda: changes.hide_message(database, ada, chat, 2)),
        (chat, lambda: own_chats.clear_history(database, ada, chat, 1)),
        (group, lambda: change_group(database, bob, group, GroupChange(group_name="the team"))),
        (group, lambda: groups.add_member(database, bob, group, cy)),
        (group, lambda: groups.remove_member(database, bob, group, ada)),
        (group, lambda: own_chats.change_settings(database, ada, group, SettingsChange(pinned=True))),
    ]
    for expected, happens in happenings:
        await happens()
        assert await follower.changed() == [expected]
        assert await follower.changed() == []
    # The group goes on without them.
    await server.send(bob, "unseen", chat_id=group)
    assert await follower.changed() == []
    await groups.add_member(database, bob, group, ada)
    assert await follower.changed() == [group]


async def test_what_is_committed_late_is_not_missed(server: Server, read_dsn: Callable[[], str]) -> None:
    database = server.database
    ada, bob, _ = [(await sign_in(database, name)).user.user_id for name in ("Ada", "Bob", "Cy")]
    one, two = (await server.send(bob, "hi", to="Ada")).chat_id, (await server.send(ada, "hi", to="Cy")).chat_id
    follower = Follower(server, ada)
    await follower.changed()
    async with single_connection(read_dsn, "slow") as slow:
        transaction = slow.transaction()
        await transaction.start()
        # As of another server: its transaction has a smaller id than those that commit before it.
        await slow.execute("UPDATE chat_members SET archived = true WHERE chat_id = $1 AND user_id = $2", one, ada)
        await server.send(ada, "more", chat_id=two)
        assert await follower.changed() == [two]
        assert await follower.changed() == []
        await transaction.commit()
    assert await follower.changed() == [one]
    assert await follower.changed() == []


async def test_changes_are_paged_and_what_changes_between_pages_comes_next(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    ids = []
    for number in range(7):
        await sign_in(server.database, f"p{number}")
        ids.append((await server.send(ada, "hi", to=f"p{number}")).chat_id)
    follower = Follower(server, ada, limit=3)
    assert await follower.changed() == ids[::-1]
    for chat_id in ids[2:]:
        await server.send(ada, "more", chat_id=chat_id)
    since = follower.since
    page = await chats.list_chats(server.database, ada, limit=3, changed_since=since)
    assert [chat.chat_id for chat in page.chats] == ids[:3:-1]
    # A change that does not move the chat, and of one that was not in the first list.
    await own_chats.change_settings(server.database, ada, ids[6], SettingsChange(archived=True))
    await own_chats.change_settings(server.database, ada, ids[0], SettingsChange(archived=True))
    page = await chats.list_chats(server.database, ada, limit=3, cursor=page.next_cursor)
    assert [chat.chat_id for chat in page.chats] == [ids[3], ids[2], ids[0]]
    page = await chats.list_chats(server.database, ada, limit=3, changed_since=page.next_changed_since)
    assert [chat.chat_id for chat in page.chats] == [ids[6], ids[0]]


async def test_a_list_without_an_earlier_one_is_refused(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    for text in ("x", "0", "1795377578", "c1.x"):
        with pytest.raises(ValidationFailed) as caught:
            await chats.list_chats(server.database, ada, changed_since=text)
        assert [error.path for error in caught.value.errors] == ["changed_since"]
    # A feed's cursor is a position, too.
    since = (await feed.read_feed(server.database, ada)).next_since
    assert (await chats.list_chats(server.database, ada, changed_since=since)).chats == ()


async def test_changes_of_another_history_have_expired(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    page = await chats.list_chats(server.database, ada)
    await server.database.execute("UPDATE meta SET epoch = 'restored'")
    with pytest.raises(CursorExpired):
        await chats.list_chats(server.database, ada, changed_since=page.next_changed_since)
    assert (await chats.list_chats(server.database, ada)).chats == ()


async def test_chats_that_have_not_changed_cost_no_look_at_their_messages(read_dsn: Callable[[], str]) -> None:
    # One connection: statistics of others would arrive later.
    async with running_server(read_dsn, pool_size=1) as server:
        database = server.database
        ada = (await sign_in(database, "Ada")).user.user_id
        await fill_chats(read_dsn, ada, chats=300, messages_each=100)

        async def read() -> int:
            await database.execute("SELECT pg_stat_force_next_flush()")
            (row,) = await database.fetch(
                "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'messages'"
            )
            number: int = row[0]
            return number

        page = await chats.list_chats(database, ada, limit=200)
        while page.next_cursor is not None:
            page = await chats.list_chats(database, ada, limit=200, cursor=page.next_cursor)
        before = await read()
        page = await chats.list_chats(database, ada, limit=200, changed_since=page.next_changed_since)
        assert page.chats == ()
        # The planner itself looks at the ends of an index.
        assert await read() - before < 50


def test_no_subtransaction_writes_rows_whose_transaction_is_compared_with_snapshots() -> None:
    """A snapshot knows ids of transactions, and a row that a subtransaction wrote has the id of that."""
    folder = Path(chatserver.storage.__file__).parent
    sources = [*folder.glob("*.py"), *folder.glob("migrations/*.sql")]
    assert len(sources) > 50
    begins = re.compile(r"\bSAVEPOINT\b|\bEXCEPTION\s+WHEN\b", re.IGNORECASE)
    assert [path.name for path in sources if begins.search(path.read_text())] == []
