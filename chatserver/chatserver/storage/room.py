"""Whether PostgreSQL takes writes, and its volume has room for another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, LiteralString

from chatserver.errors import ServiceUnavailable
from chatserver.storage.outages import VolumeFull
from chatserver.storage.session import REJECTS_WRITES

if TYPE_CHECKING:
    from chatserver.storage.database import Database

_FIND_ROOM: Final[LiteralString] = (
    "SELECT "
    + REJECTS_WRITES
    + """ AS rejects_writes, current_setting('chatcluster.volume_full', true) = 'on' AS is_full, (
        SELECT sum(octet_length(page)) FROM (SELECT set_config('work_mem', '64kB', true) AS setting OFFSET 0) s
        CROSS JOIN LATERAL unnest(array_fill(repeat(s.setting, 8192), ARRAY[33])) AS page) AS written"""
)
"""33 rows of 32 KiB, a MiB: PostgreSQL extends a table by up to half of this at once. The function's result exceeds its
memory, whose size is set for this transaction before the function is called, since it depends on that."""


async def find_room(database: Database) -> None:
    """Check that PostgreSQL takes writes, and its volume has room for one, which may need a MiB.

    Where an agent watches the volume, its setting counts too: it rejects writes while there is still some room.

    A result that exceeds its memory is written to a temporary file on the volume and leaves no WAL, row or dead tuple.
    A test row would prove nothing: an existing page may have room for it.

    Raises:
        VolumeFull: it has no room.
        ServiceUnavailable: the database is unavailable, read-only or a standby.
    """
    row = await database.fetchrow(_FIND_ROOM)
    if row is None or row["rejects_writes"]:
        raise ServiceUnavailable("The database is read-only or a standby.")
    if row["is_full"]:
        raise VolumeFull
