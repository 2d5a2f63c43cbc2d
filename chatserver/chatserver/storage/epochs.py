"""The epoch of cursors: read only once it is known whether a promotion has changed it.

Beside a new leader an agent finds out whether anything was lost, and makes an entry in `meta` for the new timeline
(docs/decisions/0073). Until then the epoch would be that of the timeline, and every client that connects would sync
afresh.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from chatserver.errors import ServiceUnavailable

if TYPE_CHECKING:
    from chatserver.storage.database import Database

log = structlog.get_logger()

UNDECIDED_SECONDS: Final = 15.0
"""How long a server waits for the entry; an agent makes it within a few seconds. Where there is none, as in a database
that was restored from a dump of another one, the server makes it then."""

# An entry for another timeline means that there is an agent, or was. Without any there has never been one.
_EPOCH = """
SELECT chat_epoch(), here.timeline, coalesce(m.timeline <> here.timeline, false)
FROM (SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline) here CROSS JOIN meta m
"""


class Undecided:
    """Since when the epoch has not been known, as one server sees it."""

    def __init__(self) -> None:
        self._since: float | None = None

    def waits(self, *, undecided: bool) -> bool:
        """Take what was read; returns whether to wait on."""
        if not undecided:
            self._since = None
            return False
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        return now - self._since < UNDECIDED_SECONDS


async def read_epoch(database: Database) -> str:
    """Return the epoch of the database's history.

    Raises:
        ServiceUnavailable: it is not known yet, or the database is unavailable.
    """
    record = await database.fetchrow(_EPOCH)
    epoch, timeline, undecided = record or ("", "", False)
    if database.undecided.waits(undecided=undecided):
        raise ServiceUnavailable(retry_after_seconds=1)
    if undecided:
        log.warning("epoch_not_decided", timeline=timeline)
        # Only for this timeline: an entry that came meanwhile stays.
        await database.execute(
            "UPDATE meta SET timeline = $1::text, epoch_timeline = $1::text WHERE timeline <> $1::text", timeline
        )
    return str(epoch)
