"""Whether PostgreSQL's volume has room for another write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chatserver.storage.outages import VolumeFull

if TYPE_CHECKING:
    from chatserver.storage.database import Database

_FIND_ROOM: Final = """
    SET LOCAL work_mem = '64kB';
    SELECT count(*) FROM (
        SELECT repeat(chr(65 + n % 26), 8000) AS page FROM generate_series(1, 132) AS n ORDER BY page OFFSET 0) AS pages
"""
"""132 pages of 8,000 characters, a MiB: PostgreSQL makes a table longer by up to half of this at once."""


async def find_room(database: Database) -> None:
    """Check that PostgreSQL's volume has room for what a write may need: a MiB.

    Where an agent watches the volume, its word counts too: it refuses writes while there is still some room.

    A sort that does not fit into its memory goes to a file on the volume, which leaves nothing behind: no WAL, no
    row, no dead version of one. A row would prove nothing, as there may be room for it in a page that exists.

    Raises:
        VolumeFull: it has not.
        ServiceUnavailable: the database is unavailable.
    """
    async with database.connection() as connection:
        # One message of several statements is one transaction, which SET LOCAL ends with.
        await connection.execute(_FIND_ROOM)
        if await connection.fetchval("SELECT current_setting('chatcluster.volume_full', true)") == "on":
            raise VolumeFull
