"""What Citus runs on a distributed schema: which functions are volatile is asked of a real PostgreSQL."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from chatserver.storage.migrate import read_migrations
from tests.support.parsedsql import Uses, schema_of, uses
from tests.support.shardrules import VOLATILE
from tests.support.storagesql import stored_statements

if TYPE_CHECKING:
    from tests.support.people import Server

pytestmark = pytest.mark.integration


async def test_no_new_statement_computes_what_differs_between_nodes(server: Server) -> None:
    rows = await server.database.fetch(
        "SELECT proname, bool_or(provolatile = 'v'), bool_or(provolatile <> 'i') FROM pg_proc GROUP BY 1"
    )
    volatile = {name for name, is_volatile, _ in rows if is_volatile}
    mutable = {name for name, _, is_mutable in rows if is_mutable}
    assert {"clock_timestamp", "nextval", "store_messages"} <= volatile
    assert "now" in mutable - volatile

    where: dict[str, Uses] = defaultdict(Uses)
    for statement in stored_statements():
        where[statement.place] |= uses(statement.sql)
    for name, bodies in schema_of(read_migrations()).functions.items():
        for body in bodies.values():
            where[f"{name}()"] |= body
    found = {place: used.updating & volatile | used.conflicting & mutable for place, used in where.items()}
    assert {place: names for place, names in found.items() if names} == VOLATILE
