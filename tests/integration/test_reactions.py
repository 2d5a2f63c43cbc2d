"""One emoji is one reaction, however it is spelled, and what was stored before that can still be removed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from chatserver.errors import ValidationFailed
from chatserver.messaging import changes, chats
from chatserver.model import Reaction
from tests.support.people import sign_in

if TYPE_CHECKING:
    from tests.support.people import Server

pytestmark = pytest.mark.integration

HEART = "❤\ufe0f"


async def reactions(server: Server, user_id: int, chat_id: int) -> tuple[Reaction, ...]:
    return (await chats.read_history(server.database, user_id, chat_id, limit=100)).rows[0].reactions


async def store_as_before(server: Server, chat_id: int, stored: dict[int, str]) -> None:
    """Store reactions and their events as servers did that kept each spelling."""
    await server.database.execute(
        "UPDATE messages SET reactions = $2::text::jsonb WHERE chat_id = $1 AND seq = 1", chat_id, json.dumps(stored)
    )


@pytest.mark.parametrize(
    ("put", "other", "kept"),
    [("👍", "👍\ufe0f", "👍"), ("👍\ufe0f", "👍", "👍"), ("❤", HEART, HEART), (HEART, "❤\ufe0e", HEART)],
)
async def test_either_spelling_is_the_same_reaction(server: Server, put: str, other: str, kept: str) -> None:
    ada, bob = [(await sign_in(server.database, name)).user.user_id for name in ("Ada", "Bob")]
    chat_id = (await server.send(ada, "x", to="Bob")).chat_id
    assert (await changes.put_reaction(server.database, ada, chat_id, 1, put)).seq == 2
    assert (await changes.put_reaction(server.database, ada, chat_id, 1, other)).seq is None
    assert (await changes.put_reaction(server.database, bob, chat_id, 1, other)).seq == 3
    assert await reactions(server, ada, chat_id) == (Reaction(kept, (ada, bob)),)
    assert (await changes.remove_reaction(server.database, ada, chat_id, 1, other)).seq == 4
    assert (await changes.remove_reaction(server.database, bob, chat_id, 1, put)).seq == 5
    assert await reactions(server, ada, chat_id) == ()
    rows = (await chats.read_history(server.database, ada, chat_id, limit=100)).rows
    assert {(row.detail or {})["emoji"] for row in rows[1:]} == {kept}


@pytest.mark.parametrize(
    ("stored", "removed"), [("❤", HEART), (HEART, "❤"), ("👍\ufe0f", "👍"), ("—", "—"), ("★", "★")]
)
async def test_what_was_stored_before_can_be_removed(server: Server, stored: str, removed: str) -> None:
    ada, _ = [(await sign_in(server.database, name)).user.user_id for name in ("Ada", "Bob")]
    chat_id = (await server.send(ada, "x", to="Bob")).chat_id
    await store_as_before(server, chat_id, {ada: stored})
    assert len(await reactions(server, ada, chat_id)) == 1
    assert (await changes.remove_reaction(server.database, ada, chat_id, 1, "🎉")).seq is None
    assert (await changes.remove_reaction(server.database, ada, chat_id, 1, removed)).seq == 2
    assert await reactions(server, ada, chat_id) == ()
    # Once removed, it is refused like any other text that is none.
    if removed in "—★":
        with pytest.raises(ValidationFailed):
            await changes.remove_reaction(server.database, ada, chat_id, 1, removed)


async def test_spellings_from_before_count_together_and_replay_to_what_is_fetched(server: Server) -> None:
    ada, bob = [(await sign_in(server.database, name)).user.user_id for name in ("Ada", "Bob")]
    chat_id = (await server.send(ada, "x", to="Bob")).chat_id
    await changes.put_reaction(server.database, ada, chat_id, 1, "❤")
    await changes.put_reaction(server.database, bob, chat_id, 1, HEART)
    await store_as_before(server, chat_id, {ada: "❤", bob: HEART})
    await server.database.execute(
        "UPDATE messages SET detail = jsonb_set(detail, '{emoji}', '\"❤\"') WHERE chat_id = $1 AND seq = 2", chat_id
    )
    assert await reactions(server, ada, chat_id) == (Reaction(HEART, (ada, bob)),)
    rows = (await chats.read_history(server.database, ada, chat_id, limit=100)).rows
    assert [(row.detail or {})["emoji"] for row in rows[1:]] == [HEART, HEART]
