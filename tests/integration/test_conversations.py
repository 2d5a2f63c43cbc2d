"""Edits, deletions, reactions and blocks: who may do what, what a retry does, who gets to know."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from chatserver.errors import (
    ChatError,
    ChatNotFound,
    EditTooLate,
    Forbidden,
    MessageNotFound,
    NotAMember,
    ValidationFailed,
)
from chatserver.messaging import changes, chats, feed, groups, sync
from chatserver.messaging.messages import send_message
from chatserver.messaging.receipts import Receipts
from chatserver.messaging.row_views import frame_of_row
from chatserver.model import Change, Reaction, ReceiptMark, SendMessage, SeqRange
from tests.support.people import Server, people

if TYPE_CHECKING:
    from chatserver.model import MessageRow

pytestmark = pytest.mark.integration


async def rows_of(server: Server, user_id: int, chat_id: int) -> list[MessageRow]:
    return list((await chats.read_history(server.database, user_id, chat_id, limit=1000)).rows)


async def row_of(server: Server, user_id: int, chat_id: int, seq: int) -> MessageRow:
    (row,) = [row for row in await rows_of(server, user_id, chat_id) if row.seq == seq]
    return row


async def age(server: Server, chat_id: int, seq: int, seconds: int) -> None:
    await server.database.execute(
        "UPDATE messages SET created_at = created_at - make_interval(secs => $3) WHERE chat_id = $1 AND seq = $2",
        chat_id,
        seq,
        float(seconds),
    )


async def test_an_edit_changes_the_text_and_is_an_event(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    client_id = "3f2b8c1e-8d5a-4a7e-9c55-0f6f2f6f1c11"
    chat_id = (await server.send(ada, "helo", to="Bob", client_id=client_id)).chat_id
    assert await changes.edit_message(server.database, ada, chat_id, 1, "hello") == Change(chat_id, 2)
    message, event = await rows_of(server, bob, chat_id)
    assert (message.text, event.kind, event.text, event.target_seq) == ("hello", "edit", "hello", 1)
    assert (message.edited_at_us, event.from_id) == (event.created_at_us, ada)
    # A retry changes nothing, even after the window; nor does the edit make the send's own retry a conflict.
    await age(server, chat_id, 1, 3600)
    assert await changes.edit_message(server.database, ada, chat_id, 1, "hello") == Change(chat_id, None)
    assert (await server.send(ada, "helo", chat_id=chat_id, client_id=client_id)).duplicate
    # A later edit shows in the older one's row too: a text that was taken back is nowhere.
    await age(server, chat_id, 1, -3600)
    await changes.edit_message(server.database, ada, chat_id, 1, "hello!")
    assert [row.text for row in await rows_of(server, bob, chat_id)] == ["hello!"] * 3


async def test_a_message_can_be_edited_for_15_minutes(server: Server) -> None:
    ada, _ = await people(server, "Ada", "Bob")
    chat_id = (await server.send(ada, "x", to="Bob")).chat_id
    await age(server, chat_id, 1, changes.EDIT_SECONDS - 60)
    await changes.edit_message(server.database, ada, chat_id, 1, "in time")
    await age(server, chat_id, 1, 61)
    with pytest.raises(EditTooLate):
        await changes.edit_message(server.database, ada, chat_id, 1, "late")
    assert (await row_of(server, ada, chat_id, 1)).text == "in time"
    # Deleting has no such window.
    assert (await changes.delete_message(server.database, ada, chat_id, 1)).seq == 3


async def test_a_caption_may_be_taken_away_and_a_text_not(server: Server) -> None:
    ada, _ = await people(server, "Ada", "Bob")
    picture = SendMessage(to="Bob", message_type="image", media_url="https://example.com/cat.jpg", text="my cat")
    chat_id = (await send_message(server.database, server.writer, ada, picture)).chat_id
    text_seq = (await server.send(ada, "words", chat_id=chat_id)).seq
    await changes.edit_message(server.database, ada, chat_id, 1, "")
    row = await row_of(server, ada, chat_id, 1)
    assert (row.text, row.media_url) == (None, "https://example.com/cat.jpg")
    for text in ("", "nul\x00", "x" * 65_537):
        with pytest.raises(ValidationFailed) as caught:
            await changes.edit_message(server.database, ada, chat_id, text_seq, text)
        assert [error.path for error in caught.value.errors] == ["text"]


async def test_what_is_deleted_for_everyone_is_nowhere(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    chat_id = (await server.send(ada, "secret one", to="Bob")).chat_id
    await server.send(ada, "stays", chat_id=chat_id)
    await changes.edit_message(server.database, ada, chat_id, 1, "secret two")
    await changes.put_reaction(server.database, bob, chat_id, 1, "👍")
    assert (await chats.get_chat(server.database, bob, chat_id)).unread == 2
    assert await changes.delete_message(server.database, ada, chat_id, 1) == Change(chat_id, 5)
    assert await changes.delete_message(server.database, ada, chat_id, 1) == Change(chat_id, None)
    message, *_, event = await rows_of(server, bob, chat_id)
    assert (message.text, message.media_url, message.reactions) == (None, None, ())
    assert (event.kind, event.target_seq, event.text) == ("delete", 1, None)
    assert message.deleted_at_us == event.created_at_us
    assert (await chats.get_chat(server.database, bob, chat_id)).unread == 1
    kept = await server.database.fetch("SELECT count(*) FROM messages WHERE to_jsonb(messages)::text LIKE '%secret%'")
    assert kept[0][0] == 0
    for act in (
        changes.edit_message(server.database, ada, chat_id, 1, "back"),
        changes.put_reaction(server.database, bob, chat_id, 1, "👍"),
    ):
        with pytest.raises(MessageNotFound):
            await act
    assert await changes.remove_reaction(server.database, bob, chat_id, 1, "👍") == Change(chat_id, None)
    assert (await changes.hide_message(server.database, bob, chat_id, 1)).seq is not None


async def test_a_reaction_is_one_a_user_and_idempotent(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    chat_id = (await server.send(ada, "x", to="Bob")).chat_id
    database = server.database
    assert (await changes.put_reaction(database, bob, chat_id, 1, "👍")).seq == 2
    assert (await changes.put_reaction(database, bob, chat_id, 1, "👍")).seq is None
    assert (await changes.put_reaction(database, ada, chat_id, 1, "❤️")).seq == 3
    assert (await row_of(server, bob, chat_id, 1)).reactions == (Reaction("❤️", (ada,)), Reaction("👍", (bob,)))
    assert (await changes.put_reaction(database, bob, chat_id, 1, "❤️")).seq == 4
    assert (await row_of(server, bob, chat_id, 1)).reactions == (Reaction("❤️", (ada, bob)),)
    assert (await changes.remove_reaction(database, bob, chat_id, 1, "👍")).seq is None
    assert (await changes.remove_reaction(database, bob, chat_id, 1, "❤️")).seq == 5
    assert (await changes.remove_reaction(database, bob, chat_id, 1, "❤️")).seq is None
    assert (await changes.remove_reaction(database, ada, chat_id, 1, "❤️")).seq == 6
    assert (await row_of(server, bob, chat_id, 1)).reactions == ()
    events = [(row.from_id, row.target_seq, row.detail) for row in (await rows_of(server, bob, chat_id))[1:]]
    assert events == [
        (bob, 1, {"action": "added", "emoji": "👍"}),
        (ada, 1, {"action": "added", "emoji": "❤️"}),
        (bob, 1, {"action": "added", "emoji": "❤️"}),
        (bob, 1, {"action": "removed", "emoji": "❤️"}),
        (ada, 1, {"action": "removed", "emoji": "❤️"}),
    ]


async def test_reactions_at_once_are_all_kept_and_numbered_without_gaps(server: Server) -> None:
    users = await people(server, *(f"u{number}" for number in range(12)))
    chat_id = (await groups.create_group(server.database, users[0], "team", [f"u{n}" for n in range(1, 12)])).chat_id
    seq = (await server.send(users[0], "x", chat_id=chat_id)).seq
    made = await asyncio.gather(
        *(changes.put_reaction(server.database, user, chat_id, seq, "👍") for user in users),
        *(changes.put_reaction(server.database, user, chat_id, seq, "👍") for user in users),
    )
    assert sorted(change.seq for change in made if change.seq is not None) == list(range(3, 15))
    assert (await row_of(server, users[0], chat_id, seq)).reactions == (Reaction("👍", tuple(sorted(users))),)


ROLES = ("sender", "member", "chair", "late", "former", "stranger")
ALLOWED: dict[str, tuple[object, ...]] = {
    # What a group's message, sent by a plain member, says to each of ROLES.
    "edit": ("ok", Forbidden, Forbidden, MessageNotFound, NotAMember, ChatNotFound),
    "delete": ("ok", Forbidden, "ok", MessageNotFound, NotAMember, ChatNotFound),
    "hide": ("ok", "ok", "ok", MessageNotFound, "ok", ChatNotFound),
    "react": ("ok", "ok", "ok", MessageNotFound, NotAMember, ChatNotFound),
    "unreact": ("ok", "ok", "ok", MessageNotFound, NotAMember, ChatNotFound),
}


async def do(server: Server, act: str, user_id: int, chat_id: int, seq: int) -> None:
    if act == "edit":
        await changes.edit_message(server.database, user_id, chat_id, seq, "other")
    elif act == "delete":
        await changes.delete_message(server.database, user_id, chat_id, seq)
    elif act == "hide":
        await changes.hide_message(server.database, user_id, chat_id, seq)
    elif act == "react":
        await changes.put_reaction(server.database, user_id, chat_id, seq, "👍")
    else:
        await changes.remove_reaction(server.database, user_id, chat_id, seq, "👍")


@pytest.mark.parametrize("act", ALLOWED)
async def test_who_may_do_what_in_a_group(server: Server, act: str) -> None:
    ids = dict(zip(ROLES, await people(server, *ROLES), strict=True))
    database, admin = server.database, ids["chair"]
    chat_id = (await groups.create_group(database, admin, "team", ["sender", "member", "former"])).chat_id
    said = [(await server.send(ids["sender"], f"m{n}", chat_id=chat_id)).seq for n in range(len(ROLES))]
    await groups.remove_member(database, admin, chat_id, ids["former"])
    await groups.add_member(database, admin, chat_id, ids["late"])
    for seq, role, expected in zip(said, ROLES, ALLOWED[act], strict=True):
        outcome: object = "ok"
        before = len(await rows_of(server, admin, chat_id))
        try:
            await do(server, act, ids[role], chat_id, seq)
        except ChatError as error:
            outcome = type(error)
            assert len(await rows_of(server, admin, chat_id)) == before
        assert outcome == expected, role
    # Rows that are no messages, and none at all.
    for seq in (1, 10**6, 0):
        with pytest.raises(MessageNotFound):
            await changes.hide_message(database, admin, chat_id, seq)
        with pytest.raises(MessageNotFound):
            await changes.delete_message(database, admin, chat_id, seq)


@pytest.mark.parametrize("act", ALLOWED)
async def test_a_message_from_while_somebody_was_out_of_the_group_is_none_of_theirs(server: Server, act: str) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    chat_id = (await groups.create_group(server.database, ada, "team", ["Bob"])).chat_id
    await groups.remove_member(server.database, ada, chat_id, bob)
    seq = (await server.send(ada, "meanwhile", chat_id=chat_id)).seq
    await groups.add_member(server.database, ada, chat_id, bob)
    with pytest.raises(MessageNotFound):
        await do(server, act, bob, chat_id, seq)
    await groups.remove_member(server.database, ada, chat_id, bob)
    with pytest.raises(MessageNotFound if act == "hide" else NotAMember):
        await do(server, act, bob, chat_id, seq)


async def test_in_a_direct_chat_only_the_sender_deletes_for_everyone(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    chat_id = (await server.send(ada, "x", to="Bob")).chat_id
    with pytest.raises(Forbidden):
        await changes.delete_message(server.database, bob, chat_id, 1)


async def test_who_joins_later_gets_nothing_about_what_they_cannot_see(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    chat_id = (await groups.create_group(database, ada, "team", ["Bob"])).chat_id
    seq = (await server.send(ada, "before", chat_id=chat_id)).seq
    await groups.add_member(database, ada, chat_id, cy)
    edited = (await changes.edit_message(database, ada, chat_id, seq, "before!")).seq
    await changes.put_reaction(database, bob, chat_id, seq, "👍")
    last = (await server.send(ada, "after", chat_id=chat_id)).seq
    seen = [row.seq for row in await rows_of(server, cy, chat_id)]
    assert seen == [3, last]
    assert [row.seq for row in (await feed.read_feed(database, cy, events=True)).rows] == seen
    assert [row.seq for row in (await sync.sync_user(database, cy, {})).rows] == seen
    delivered = await sync.rows_for(database, [SeqRange(chat_id, 1, last)], [bob, cy])
    assert [item.row.seq for item in delivered if cy in item.user_ids] == seen
    assert [item.row.seq for item in delivered if bob in item.user_ids] == list(range(1, last + 1))
    assert edited in [row.seq for row in await rows_of(server, bob, chat_id)]


async def test_what_is_deleted_for_me_is_hidden_from_me_alone_everywhere(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "one", to="Bob")).chat_id
    await server.send(ada, "two", chat_id=chat_id)
    await changes.put_reaction(database, ada, chat_id, 2, "👍")
    since = (await feed.read_feed(database, bob, events=True)).next_since
    assert (await chats.get_chat(database, bob, chat_id)).unread == 2

    hidden = await changes.hide_message(database, bob, chat_id, 2)
    assert hidden.seq == 1
    assert await changes.hide_message(database, bob, chat_id, 2) == Change(hidden.chat_id, None)
    with pytest.raises(MessageNotFound):
        await changes.put_reaction(database, bob, chat_id, 2, "👍")

    # Bob's devices hear of it by the feed and by a sync, in his own chat; Ada and hers do not.
    (event,) = (await feed.read_feed(database, bob, since=since, events=True)).rows
    assert (event.chat_id, event.kind, event.target_seq, event.detail) == (
        hidden.chat_id,
        "hide",
        2,
        {"target_chat_id": chat_id},
    )
    frame = json.loads(frame_of_row(event))
    assert {key: frame[key] for key in ("type", "kind", "by", "chat_id", "target_chat_id", "target_seq")} == {
        "type": "event", "kind": "hide", "by": bob, "chat_id": hidden.chat_id, "target_chat_id": chat_id,
        "target_seq": 2,
    }  # fmt: skip
    synced = await sync.sync_user(database, bob, {chat_id: 3})
    assert [(row.chat_id, row.kind) for row in synced.rows] == [(hidden.chat_id, "hide")]
    assert hidden.chat_id in {chat.chat_id for chat in synced.chats}
    assert [d.user_ids for d in await sync.rows_for(database, [SeqRange(hidden.chat_id, 1, 1)], [ada, bob])] == [(bob,)]
    with pytest.raises(ChatNotFound):
        await chats.read_history(database, ada, hidden.chat_id)

    # It, and what is about it, is gone for him, and there for her.
    assert [row.seq for row in await rows_of(server, bob, chat_id)] == [1]
    assert [row.seq for row in await rows_of(server, ada, chat_id)] == [1, 2, 3]
    rows = (await feed.read_feed(database, bob, events=True)).rows
    assert [(row.chat_id, row.seq) for row in rows] == [(chat_id, 1), (hidden.chat_id, 1)]
    assert [(row.chat_id, row.seq) for row in (await sync.sync_user(database, bob, {})).rows] == [
        (hidden.chat_id, 1),
        (chat_id, 1),
    ]
    chat = await chats.get_chat(database, bob, chat_id)
    assert (chat.unread, chat.last_message and chat.last_message.seq, chat.last_seq) == (1, 1, 3)
    await Receipts(database).mark(bob, {chat_id: ReceiptMark(read_seq=3)})
    assert (await row_of(server, ada, chat_id, 2)).status == "read"

    # His own chat is in no list, and takes no messages.
    assert [chat.chat_id for chat in (await chats.list_chats(database, bob)).chats] == [chat_id]
    assert (await chats.get_chat(database, bob, hidden.chat_id)).kind == "self"
    with pytest.raises(ChatNotFound):
        await server.send(bob, "to nobody", chat_id=hidden.chat_id)
