"""Counts the statements that a server sends, where they arrive: in PostgreSQL's own log."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.postgres import PostgresCluster


class StatementLog:
    """The statements of one application in one database, from the moment this is made on.

    Make it before the application connects: a session takes the setting with it when it begins.
    """

    def __init__(self, postgres: PostgresCluster, database: str, application: str) -> None:
        self._path = postgres.folder / "postgres.log"
        self._mark = f"{application}|{database}|LOG:  "
        self._offset = 0
        postgres.sql(f"ALTER DATABASE {database} SET log_statement = 'all'")
        self.forget()

    def forget(self) -> None:
        """Count from here on."""
        self._offset = self._path.stat().st_size

    def statements(self) -> list[str]:
        """Return the statements since, each on one line, BEGIN and COMMIT among them."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            # Further lines of a statement begin with a tab.
            lines = log.read().decode().replace("\n\t", " ").splitlines()
        said = [line.removeprefix(self._mark) for line in lines if line.startswith(self._mark)]
        return [text.split(": ", 1)[1] for text in said if text.startswith(("execute ", "statement: "))]
