"""Whether the registry in Valkey is the truth: each server to which a user is connected gets the user's hints.

The truth is what servers write to the database about presence, which no bus carries.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tests.support.postgres import PostgresCluster
    from tests.support.valkey import ValkeyProcess

TRUE_SECONDS = 60.0
"""Far beyond what servers take to connect again, register everybody and write who is connected."""

POLL_SECONDS = 0.2

Place = tuple[str, int]
"""(server, user); a server that was started again has the same name."""


def registered(valkeys: Sequence[ValkeyProcess]) -> set[Place]:
    """Return what is registered of the servers that listen now."""
    found: set[Place] = set()
    for valkey in valkeys:
        listening = {channel.removeprefix("chat:to:") for channel in valkey.call("PUBSUB", "CHANNELS", "chat:to:*")}
        for user_id, names in valkey.registry().items():
            found.update((name.rpartition(".")[0], user_id) for name in names & listening)
    return found


def connected(postgres: PostgresCluster, database: str) -> set[Place]:
    """Return where users are connected, as the servers have written it."""
    lines = postgres.sql("SELECT server_name, user_id FROM presence", database).splitlines()
    places = (line.rpartition("|") for line in lines)
    return {(name, int(user_id)) for name, _, user_id in places}


async def registry_is_true(
    valkeys: Sequence[ValkeyProcess], postgres: PostgresCluster, database: str, user_ids: Collection[int]
) -> None:
    """Return when users are connected and registered wherever they are connected; at once where there is no Valkey.

    Users who have just left stay registered for a while, as those of long polls do.

    Raises:
        AssertionError: they are not, after TRUE_SECONDS.
    """
    if not valkeys:
        return
    deadline = asyncio.get_running_loop().time() + TRUE_SECONDS
    while wrong := await asyncio.to_thread(_wrong, valkeys, postgres, database, frozenset(user_ids)):
        assert asyncio.get_running_loop().time() < deadline, wrong
        await asyncio.sleep(POLL_SECONDS)


def _wrong(valkeys: Sequence[ValkeyProcess], postgres: PostgresCluster, database: str, user_ids: frozenset[int]) -> str:
    places = connected(postgres, database)
    if away := user_ids - {user_id for _, user_id in places}:
        return f"users {sorted(away)} are not connected"
    if missing := places - registered(valkeys):
        return f"connected, and not registered there: {sorted(missing)}"
    return ""
