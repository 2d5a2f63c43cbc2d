"""The plans that PostgreSQL really used, of statements inside of functions too: by auto_explain, from its log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresCluster


class Access(msgspec.Struct, frozen=True):
    """How a plan reads a table.

    Attributes:
        index: None: the whole table, row by row.
        bounded: the index is entered with a condition, not read from end to end.
        alias: what the statement calls the table.
    """

    table: str
    index: str | None
    bounded: bool
    alias: str


class PlanLog:
    """The plans of one application in one database; make it before the application connects."""

    def __init__(self, postgres: PostgresCluster, database: str, application: str) -> None:
        self._path = postgres.folder / "postgres.log"
        self._mark = f"{application}|{database}|LOG:  duration: "
        self._offset = 0
        for setting in (
            "session_preload_libraries = 'auto_explain'",
            "auto_explain.log_min_duration = 0",
            "auto_explain.log_nested_statements = on",
            "auto_explain.log_format = 'json'",
        ):
            postgres.sql(f"LOAD 'auto_explain'; ALTER DATABASE {database} SET {setting}")
        self.forget()

    def forget(self) -> None:
        """Look at plans from here on."""
        self._offset = self._path.stat().st_size

    def accesses(self) -> set[Access]:
        """Return how tables were read since, without those that were planned but never needed."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            # Further lines of a plan begin with a tab.
            lines = log.read().decode().replace("\n\t", " ").splitlines()
        said = [line for line in lines if line.startswith(self._mark) and "plan: {" in line]
        return {found for line in said for found in _walk(json.loads(line.split("plan: ", 1)[1])["Plan"], {})}


def _walk(node: dict[str, Any], heap: dict[str, Any]) -> Iterator[Access]:
    kind = node["Node Type"]
    # The index of a bitmap does not say of which table it is.
    named = node if "Relation Name" in node else heap
    table, alias = str(named.get("Relation Name")), str(named.get("Alias"))
    if kind in ("Index Scan", "Index Only Scan", "Bitmap Index Scan"):
        yield Access(table, node["Index Name"], "Index Cond" in node, alias)
    elif kind not in ("Bitmap Heap Scan", "ModifyTable", "LockRows") and "Relation Name" in node:
        yield Access(table, None, bounded=False, alias=alias)
    for child in node.get("Plans", ()):
        yield from _walk(child, named if kind.startswith("Bitmap") else {})
