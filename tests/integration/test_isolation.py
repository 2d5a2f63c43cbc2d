"""One row, chat or loop that fails costs itself only: everybody else is served, and the server stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.devices import sign_in
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

SPOIL = """
    CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.message_text LIKE 'unrenderable%' THEN NEW.kind := 'member'; NEW.detail := '[1]'; END IF;
        IF NEW.message_text LIKE 'undecodable%' THEN NEW.edited_at := '20000-01-01'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER spoil BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION spoil()
"""
"""Rows as a defect or a newer release could leave them: one that no code renders, one that the driver cannot read."""


async def test_a_row_that_nobody_can_read_or_render_costs_its_own_chat_at_most(
    postgres: PostgresCluster, read_dsn: Callable[[], str]
) -> None:
    database = read_dsn().rsplit("/", 1)[1]
    with ServerProcess(read_dsn(), "one") as one, ServerProcess(read_dsn(), "two") as two:
        one.wait_ready()
        two.wait_ready()
        ana, ben, cyd, dan = [await sign_in(one, name) for name in ("ana", "ben", "cyd", "dan")]
        async with ana.socket(one) as a, ben.socket(two) as b, cyd.socket(two) as c, dan.socket(two) as d:
            for socket, name in ((b, "ben"), (c, "cyd"), (d, "dan")):
                await a.message("first", to=name)
                await socket.text("first")
            postgres.sql(SPOIL, database)
            # The undecodable one holds up its chat until it is repaired; the unrenderable one is left out.
            await a.message("undecodable", to="ben")
            await a.message("unrenderable", to="cyd")
            for number in range(3):
                for name in ("ben", "cyd", "dan"):
                    await a.message(f"after {number}", to=name)
            for number in range(3):
                await c.text(f"after {number}")
                await d.text(f"after {number}")
            # Whoever connects now gets all of the other chats, by a sync that is answered with others' and by REST.
            async with dan.socket(two) as again:
                await again.send(type="sync", chats={})
                await again.of_type("synced", more=False)
                await again.text("after 2")
            async with cyd.socket(two) as again, cyd.http(two) as http:
                await again.send(type="sync", chats={})
                await again.of_type("synced", more=False)
                await again.text("after 2")
                page = await http.get("/api/messages", params={"events": "true", "limit": 1000})
                assert [row["text"] for row in page.json()][-1] == "after 2"
                assert (await http.get("/api/chats")).status_code == 200
            postgres.sql("UPDATE messages SET edited_at = NULL WHERE edited_at > now()", database)
            assert (await b.text("undecodable"))["seq"] < (await b.text("after 2"))["seq"]
            assert not {"drain_begins", "loop_failed"} & {event["event"] for event in two.events()}
            assert two.metric('chatserver_defects_total{event="rows_not_delivered"}') >= 1
            assert two.metric('chatserver_defects_total{event="row_unreadable"}') >= 1


async def test_a_loop_that_can_never_work_is_counted_and_costs_its_own_work_only(
    postgres: PostgresCluster, read_dsn: Callable[[], str]
) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_HEARTBEAT_SECONDS=0.2) as server:
        server.wait_ready()
        ana, ben = await sign_in(server), await sign_in(server, "ben")
        async with ana.socket(server) as a, ben.socket(server) as b:
            # No outage, which every loop outlives: a statement that can never work.
            postgres.sql("DROP TABLE servers", read_dsn().rsplit("/", 1)[1])
            for number in range(1_000):
                await a.message(str(number), to="ben")
                await b.text(str(number))
                if server.metric('chatserver_defects_total{event="loop_failed"}') >= 2:
                    break
            failed = [event for event in server.events() if event["event"] == "loop_failed"]
            # These two read that table.
            assert {"heartbeat"} <= {event["loop"] for event in failed} <= {"heartbeat", "presence"}
            assert len(failed) >= 2
            assert "drain_begins" not in server.log_text()
