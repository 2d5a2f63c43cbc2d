"""SQL of the hints that wait in slots: leaving one, those of servers that ended before they published, and clearing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Sequence

    from chatserver.storage.database import Connection, Database

CLAIM_SECONDS = 2.0
"""Seconds for which a server has hints to itself that it publishes for another one."""

MOST_SLOTS = 500
"""Slots that are read at once."""


class Looks:
    """What the probes of the listening connection see beside the clock: whether hints were left.

    A server that has nothing to do has only these probes, and no sweeps.

    Args:
        wake: set at each look.

    Attributes:
        stale_seconds: age at which any slot counts as left; None: nobody sweeps, and the table may not be there.
    """

    def __init__(self, wake: asyncio.Event) -> None:
        self.stale_seconds: float | None = None
        self._wake = wake
        self._are_none_left = False

    def saw(self, *, left: bool) -> None:
        """Take what a probe has seen."""
        self._are_none_left = not left
        self._wake.set()

    def take(self) -> bool:
        """Return whether there was a look since the last call, and the last one saw no hint that was left."""
        taken, self._are_none_left = self._are_none_left, False
        return taken


class LeftHint(NamedTuple):
    """A hint that was left in a slot.

    Attributes:
        payload: the hint, as `hints.Hint.decode` reads it.
    """

    owner: str
    slot: int
    batch: int
    payload: str


# Only the database's clock decides what is old.
_CLAIM = """
UPDATE hint_slots SET written_at = now() - make_interval(secs => $1 - $2)
WHERE (owner, slot) IN (
    SELECT s.owner, s.slot FROM hint_slots s
    WHERE s.written_at < now() - make_interval(secs => $1) OR (s.owner = $3 AND s.slot = ANY ($4::integer[]))
    LIMIT $5 FOR UPDATE SKIP LOCKED)
RETURNING owner, slot, batch, hint
"""


async def leave(connection: Connection, place: tuple[str, int | None, int], hint: str) -> None:
    """Leave the hint of the connection's transaction in a slot, or have it sent by the commit.

    Args:
        connection: of the transaction.
        place: as of `Leaving`.
        hint: as `Hint.encode_whole` returns it.
    """
    await connection.execute("SELECT leave_hint($1, $2, $3, $4)", *place, hint)


async def claim(database: Database, owner: str, numbers: Collection[int], *, stale_seconds: float) -> list[LeftHint]:
    """Return hints that nobody seems to publish, for this server to publish; the other servers leave them alone.

    Args:
        database: where they are.
        owner: of this server's slots.
        numbers: of slots of this server that are read at any age.
        stale_seconds: age at which any slot is read.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    records = await database.fetch(_CLAIM, stale_seconds, CLAIM_SECONDS, owner, list(numbers), MOST_SLOTS)
    return [LeftHint(*record) for record in records]


async def remove(database: Database, published: Sequence[LeftHint]) -> None:
    """Delete hints that are published; a slot that has been written since keeps its new one.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    await database.execute(
        "DELETE FROM hint_slots s USING unnest($1::text[], $2::integer[], $3::bigint[]) AS p (owner, slot, batch) "
        "WHERE s.owner = p.owner AND s.slot = p.slot AND s.batch = p.batch",
        [left.owner for left in published],
        [left.slot for left in published],
        [left.batch for left in published],
    )


async def clear(database: Database, owner: str, numbers: Collection[int]) -> None:
    """Delete the rows of slots whose hints are published and that nobody writes.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    await database.execute(
        "DELETE FROM hint_slots WHERE owner = $1 AND slot = ANY ($2::integer[])", owner, list(numbers)
    )
