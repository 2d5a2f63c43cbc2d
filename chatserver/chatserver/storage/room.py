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
"""132 pages of 8,000 characters, a MiB: PostgreSQL extends a table by up to half of this at once."""


async def find_room(database: Database) -> None:
    """Check that PostgreSQL's volume has room for a write, which may need a MiB.

    Where an agent watches the volume, its setting counts too: it rejects writes while there is still some room.

    A sort that exceeds its memory writes a temporary file on the volume and leaves no WAL, row or dead tuple. A test
    row would prove nothing: an existing page may have room for it.

    Raises:
        VolumeFull: it has no room.
        ServiceUnavailable: the database is unavailable.
    """
    async with database.connection() as connection:
        # Several statements in one message are one transaction, at whose end SET LOCAL ends.
        await connection.execute(_FIND_ROOM)
        if await connection.fetchval("SELECT current_setting('chatcluster.volume_full', true)") == "on":
            raise VolumeFull
