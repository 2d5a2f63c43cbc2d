"""Clients that sync together get what each of them would have got alone, by few statements."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from chatserver.fanout import syncing
from chatserver.fanout.hub import Hub
from chatserver.fanout.syncing import BATCH_ROWS, FEW_CHATS, FEW_ROWS, SyncRequest, Syncs
from chatserver.messaging import changes, groups, sync
from chatserver.messaging.receipts import Receipts
from chatserver.messaging.rendering import view_synced
from chatserver.messaging.row_views import frame_of_row
from chatserver.model import ReceiptMark
from chatserver.users import blocks
from tests.support.filling import fill_chats, fill_groups
from tests.support.people import Server, running_server, sign_in
from tests.support.statements import StatementLog

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from chatserver.model import SyncResult
    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration


def shape(result: SyncResult) -> tuple[list[bytes], list[msgspec.Raw], bool]:
    """Return a result as its client sees it."""
    chats = [view_synced(chat.chat_id, chat.last_seq, chat.members, user_id=0) for chat in result.chats]
    return [frame_of_row(row) for row in result.rows], chats, result.more


async def make_history(server: Server, names: list[str], chance: random.Random) -> dict[str, int]:
    """Let people write, edit, delete, hide, react, join, leave and come back; returns their ids."""
    database = server.database
    people = {name: (await sign_in(database, name)).user.user_id for name in names}
    chats = [
        (await server.send(people[a], "hi", to=b)).chat_id for a, b in zip(names, names[1:] + names[:1], strict=True)
    ]
    founder = people[names[0]]
    for number in range(3):
        group = await groups.create_group(database, founder, f"group {number}", names[1 : 3 + number])
        leaver = people[names[1]]
        await server.send(founder, "before", chat_id=group.chat_id)
        await groups.remove_member(database, leaver, group.group_id, leaver)
        await server.send(founder, "while away", chat_id=group.chat_id)
        if number:
            await groups.add_member(database, founder, group.group_id, leaver)
            await server.send(leaver, "back", chat_id=group.chat_id)
        await server.send(founder, "after", chat_id=group.chat_id)
        chats.append(group.chat_id)
    for place, chat_id in enumerate(chats):
        writer = people[names[place]] if place < len(names) else founder
        sent = [await server.send(writer, f"text {n}", chat_id=chat_id) for n in range(chance.randint(1, 5))]
        await changes.edit_message(database, writer, chat_id, sent[0].seq, "edited")
        await changes.put_reaction(database, writer, chat_id, sent[-1].seq, "👍")
        await Receipts(database).mark(writer, {chat_id: ReceiptMark(read_seq=sent[0].seq)})
    await changes.delete_message(database, founder, chats[0], 1)
    await changes.hide_message(database, founder, chats[0], 2)
    return people


async def test_clients_that_sync_together_get_what_each_would_get_alone(server: Server) -> None:
    chance = random.Random(7)  # noqa: S311 - which of them is no secret
    names = ["Ada", "Bob", "Cy", "Dan", "Eve"]
    people = await make_history(server, names, chance)
    everything = {user_id: await sync.sync_user(server.database, user_id, {}) for user_id in people.values()}
    questions = [SyncRequest(user_id, {}) for user_id in people.values()]
    for _ in range(20):
        user_id = chance.choice(list(people.values()))
        have = {chat.chat_id: chance.randint(0, chat.last_seq + 1) for chat in everything[user_id].chats}
        questions.append(SyncRequest(user_id, {chat_id: seq for chat_id, seq in have.items() if chance.random() < 0.8}))
    # Nobody's chat, and one that this user is not in.
    questions.append(SyncRequest(people["Ada"], {987654: 3}))
    answers = await Syncs(server.database, Hub()).answer_together(questions)
    for question, answer in zip(questions, answers, strict=True):
        alone = await sync.sync_user(server.database, question.user_id, question.have)
        assert answer is not None
        assert ([frame for *_, frame in answer.rows], list(answer.chats), answer.more) == shape(alone)
        assert [(row.chat_id, row.seq) for row in alone.rows] == [(chat_id, seq) for chat_id, seq, _ in answer.rows]
    assert sum(len(answer.rows) for answer in answers if answer is not None) > 100


async def test_members_of_the_largest_chats_are_left_out_as_alone(
    server: Server, read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    me = (await sign_in(server.database, "Ada")).user.user_id
    await fill_chats(read_dsn, me, chats=30, messages_each=1)
    await fill_groups(read_dsn, me, groups=3, members=20)
    for most_members in (2, 61, 62, 80, 81, 1000):
        monkeypatch.setattr(syncing, "SYNC_MEMBERS_MAX", most_members)
        (answer,) = await Syncs(server.database, Hub()).answer_together([SyncRequest(me, {})])
        alone = await sync.sync_user(server.database, me, {}, most_members=most_members)
        assert answer is not None
        assert list(answer.chats) == shape(alone)[1]


async def test_who_missed_much_is_answered_alone_and_completely(server: Server, read_dsn: Callable[[], str]) -> None:
    ada, bob = [(await sign_in(server.database, name)).user.user_id for name in ("Ada", "Bob")]
    await fill_chats(read_dsn, ada, chats=FEW_CHATS, messages_each=1)
    for number in range(FEW_ROWS):
        chat_id = (await server.send(ada, f"{number}", to="Bob")).chat_id
    syncs = Syncs(server.database, Hub())
    most = [SyncRequest(bob, {}) for _ in range(BATCH_ROWS // FEW_ROWS)]
    answers = await syncs.answer_together([*most, SyncRequest(bob, {chat_id: FEW_ROWS - 1}), SyncRequest(ada, {})])
    assert [answer is None for answer in answers] == [False] * len(most) + [True, True]
    for user_id in (ada, bob):
        answer = await syncs.answer(user_id, {})
        assert [seq for chat, seq, _ in answer.rows if chat == chat_id] == list(range(1, FEW_ROWS + 1))
        assert not answer.more
    assert len((await syncs.answer(ada, {})).chats) == FEW_CHATS + 1


async def test_a_herd_is_answered_by_fewer_statements_than_it_has_clients(
    postgres: PostgresCluster, read_dsn: Callable[[], str]
) -> None:
    log = StatementLog(postgres, read_dsn().rsplit("/", 1)[1], "chatserver herd")
    async with running_server(read_dsn, "herd") as server:
        ada = (await sign_in(server.database, "Ada")).user.user_id
        await fill_chats(read_dsn, ada, chats=40, messages_each=2)
        user_ids = [row[0] for row in await server.database.fetch("SELECT user_id FROM users ORDER BY 1")]
        syncs = Syncs(server.database, Hub())
        # A connection asks once for the types that it does not know.
        await syncs.answer_together([SyncRequest(ada, {})])
        log.forget()
        answers = await syncs.answer_together([SyncRequest(user_id, {}) for user_id in user_ids])
        assert sum(len(answer.rows) for answer in answers if answer is not None) == 4 * 40
        # BEGIN, where the chats stand, rows with how large what is missed is, members, COMMIT.
        assert len(log.statements()) == 5


async def test_who_syncs_with_others_is_shown_watermarks_across_blocks_as_alone(server: Server) -> None:
    people = await make_history(server, ["Ada", "Bob", "Cy", "Dan", "Eve"], random.Random(7))  # noqa: S311 - no secret
    for blocker, blocked in (("Bob", "Ada"), ("Cy", "Bob"), ("Eve", "Dan")):
        await blocks.set_block(server.database, people[blocker], people[blocked], blocked=True)
    asking = [people[name] for name in ("Ada", "Bob", "Cy")]
    answers = await Syncs(server.database, Hub()).answer_together([SyncRequest(user_id, {}) for user_id in asking])
    for user_id, answer in zip(asking, answers, strict=True):
        alone = await sync.sync_user(server.database, user_id, {})
        assert answer is not None
        assert list(answer.chats) == [
            view_synced(chat.chat_id, chat.last_seq, chat.members, user_id) for chat in alone.chats
        ]
        assert any(b'"read_seq":null' in bytes(chat) for chat in answer.chats)


async def test_a_batch_that_is_too_large_leaves_out_the_largest_chats(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Cy", "Dan")]
    ada, *others = [person.user.user_id for person in people]
    for name, size in (("Bob", 1000), ("Cy", 10), ("Dan", 100)):
        await server.send(ada, "x" * size, to=name)
    monkeypatch.setattr(syncing, "BATCH_BYTES", 500)
    answers = await Syncs(server.database, Hub()).answer_together([SyncRequest(user_id, {}) for user_id in others])
    assert [None if answer is None else len(answer.rows) for answer in answers] == [None, 1, 1]


async def test_who_misses_large_texts_syncs_alone_and_no_batch_reads_them(server: Server) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    light = (await server.send(ada.user.user_id, "small", to="Bob")).chat_id
    heavy = (await server.send(ada.user.user_id, "notes", to="Ada")).chat_id
    for _ in range(2):
        await server.send(ada.user.user_id, "\U0001f44d" * 65_536, chat_id=heavy)
    questions = [
        SyncRequest(ada.user.user_id, {}),
        SyncRequest(bob.user.user_id, {}),
        SyncRequest(ada.user.user_id, {heavy: 3}),
    ]
    answers = await Syncs(server.database, Hub()).answer_together(questions)
    assert answers[0] is None
    for answer in answers[1:]:
        assert answer is not None
        assert [(chat_id, seq) for chat_id, seq, _ in answer.rows] == [(light, 1)]
    alone = await Syncs(server.database, Hub()).answer(ada.user.user_id, {})
    assert sorted((chat_id, seq) for chat_id, seq, _ in alone.rows) == [(light, 1), (heavy, 1), (heavy, 2), (heavy, 3)]
