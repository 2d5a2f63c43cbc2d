"""The migration runner: numbered SQL files, each once, in order, in a transaction, under one lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SchemaRefused(Exception):
    """The database's schema cannot be used by this code; the text says why and what to do."""


async def migrate(read_dsn: Callable[[], str], wait_seconds: float) -> list[str]:
    """Bring the schema up to this code's, waiting for the database up to `wait_seconds`.

    Safe to run from several places at once, and again.

    Returns:
        The names of the migrations that were applied now.

    Raises:
        ServiceUnavailable: the database did not answer in time.
        SchemaRefused: an applied migration was edited, or the schema is newer and says that this code is too old.
    """
    raise NotImplementedError
