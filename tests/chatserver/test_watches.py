"""Presence is read only of users whose changes this server is sent from before on."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from chatserver.fanout.connection import ClientConnection
from chatserver.fanout.hub import Hub
from chatserver.fanout.watches import Watches
from chatserver.storage import presence

if TYPE_CHECKING:
    from collections.abc import Collection

    from chatserver.storage.database import Database
    from chatserver.storage.presence import Watched
    from chatserver.storage.relations import Pair

ANA, BEN, EVE = 1, 2, 3


@pytest.mark.parametrize("why", ["subscription", "doubt", "recovery"])
async def test_users_are_registered_before_their_presence_is_read(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, set[int]]] = []

    async def register(user_ids: Collection[int]) -> None:
        events.append(("register", set(user_ids)))

    async def watched(_database: Database, pairs: Collection[Pair]) -> dict[Pair, Watched]:
        events.append(("read", {user_id for _, user_id in pairs}))
        return {}

    monkeypatch.setattr(presence, "watched", watched)
    hub = Hub()
    watches = Watches(cast("Database", None), hub, register)
    connection = ClientConnection("ana", ANA, ANA)
    hub.add(connection)
    hub.watching.watch(connection, frozenset({BEN, EVE}))
    assert sorted(hub.watching.users()) == [BEN, EVE]
    if why == "subscription":
        await watches.subscribe(connection, connection.watched)
    elif why == "doubt":
        watches.doubt_users([ANA])
        await watches.settle()
    else:
        await watches.recover()
    assert events == [("register", {BEN, EVE}), ("read", {BEN, EVE})]
    hub.remove(connection, 0.0)
    assert hub.watching.users() == []
