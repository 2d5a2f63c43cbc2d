"""What is given to a turn of the loop is done once, later, in order, whatever one of its calls does."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from chatserver.transport.write_coalescing import WriteCoalescer


async def test_a_call_that_fails_is_logged_and_the_others_are_made() -> None:
    turn, made = WriteCoalescer(), []
    turn.add(lambda: made.append(1))
    turn.add(lambda: made.append(1 // 0))
    turn.add(lambda: made.append(2))
    with capture_logs() as logs:
        await asyncio.sleep(0)
    assert made == [1, 2]
    assert [entry["event"] for entry in logs] == ["call_failed"]


async def test_what_a_call_adds_waits_for_the_next_turn() -> None:
    turn, made = WriteCoalescer(), []
    turn.add(lambda: turn.add(lambda: made.append("added")))
    turn.add(lambda: made.append("first"))
    await asyncio.sleep(0)
    assert made == ["first"]
    await asyncio.sleep(0)
    assert made == ["first", "added"]
