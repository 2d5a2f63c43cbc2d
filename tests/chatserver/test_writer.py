"""Batches of the writer: started about 4 ms apart, unless many rows wait; the first after a pause at once."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from chatserver.messaging import writer as writers
from chatserver.messaging.pacing import (
    EAGER_ROWS,
    MOST_PACE_SECONDS,
    PACE_SECONDS,
    PATIENCE_SECONDS,
    TIMER_SECONDS,
    pace_of,
    seconds_to_wait,
)
from chatserver.messaging.writer import MessageWriter
from chatserver.storage.messages import AppendResult, NewMessage
from tests.support import virtualtime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from chatserver.storage.database import Database

STORE_SECONDS = 0.0015
"""Seconds that the database takes for a batch."""


@pytest.mark.parametrize(
    ("rows", "oldest_at", "started_at", "running", "seconds"),
    [
        pytest.param(1, 10.0, float("-inf"), False, 0.0, id="the first row of all"),
        pytest.param(1, 10.0, 9.0, False, 0.0, id="the first row after a pause"),
        pytest.param(1, 10.0, 9.999, False, PACE_SECONDS - 0.001, id="soon after the last batch, which is done"),
        pytest.param(EAGER_ROWS - 1, 10.0, 9.999, False, PACE_SECONDS - 0.001, id="some rows, soon after it"),
        pytest.param(EAGER_ROWS, 10.0, 9.999, False, 0.0, id="many rows, soon after it"),
        pytest.param(1, 10.0, 9.0, True, PATIENCE_SECONDS, id="beside a batch under way"),
        pytest.param(1, 10.0 - PATIENCE_SECONDS, 9.0, True, 0.0, id="beside one that may be stuck"),
        pytest.param(1, 10.0 - PATIENCE_SECONDS, 9.999, True, PACE_SECONDS - 0.001, id="soon after another beside it"),
        pytest.param(EAGER_ROWS, 10.0, 9.999, True, 0.0, id="many rows beside it"),
        pytest.param(1, 10.0, 10.0 - PACE_SECONDS + TIMER_SECONDS / 2, False, 0.0, id="less than a timer measures"),
    ],
)
def test_a_batch_is_due(rows: int, oldest_at: float, started_at: float, *, running: bool, seconds: float) -> None:
    wait = seconds_to_wait(
        10.0, rows=rows, oldest_at=oldest_at, started_at=started_at, running=running, pace_seconds=PACE_SECONDS
    )
    assert wait == pytest.approx(seconds)


def test_servers_that_share_a_database_start_their_batches_further_apart() -> None:
    assert [pace_of(servers) for servers in (1, 2, 4, 64)] == [
        PACE_SECONDS,
        2 * PACE_SECONDS,
        MOST_PACE_SECONDS,
        MOST_PACE_SECONDS,
    ]


@dataclass
class Storing:
    """Stands in for `store_messages`.

    Attributes:
        started: of each batch, when it was started, in seconds rounded to a microsecond, and its rows.
        seconds: that a batch takes.
    """

    started: list[tuple[float, int]] = field(default_factory=list)
    seconds: float = STORE_SECONDS

    async def store(self, _database: Database, batch: Sequence[NewMessage], _call: object) -> list[AppendResult]:
        self.started.append((round(asyncio.get_running_loop().time(), 6), len(batch)))
        await asyncio.sleep(self.seconds)
        return [AppendResult("stored", 1, 1, 0) for _ in batch]


@pytest.fixture
def storing(monkeypatch: pytest.MonkeyPatch) -> Storing:
    """A database that takes its time on the virtual clock."""
    storing = Storing()
    monkeypatch.setattr(writers, "store_messages", storing.store)
    return storing


def message(chat_id: int) -> NewMessage:
    fields: dict[str, Any] = {"chat_id": chat_id, "sender_id": 1, "client_id": str(uuid.uuid4()), "client_hash": b""}
    return NewMessage(text="x", client_timestamp=None, **fields)


def run(act: Callable[[MessageWriter], Awaitable[object]]) -> None:
    """Run a writer on a virtual clock, and close it."""

    async def running() -> None:
        writer = MessageWriter(cast("Database", None), monotonic=asyncio.get_running_loop().time)
        writer.start()
        await act(writer)
        await writer.close()

    virtualtime.run(running())


def test_a_row_after_a_pause_is_written_at_once(storing: Storing) -> None:
    async def act(writer: MessageWriter) -> None:
        for number in range(3):
            await asyncio.sleep(1 - asyncio.get_running_loop().time() % 1)
            await writer.write(message(number))

    run(act)
    assert storing.started == [(1.0, 1), (2.0, 1), (3.0, 1)]


def test_at_a_thousand_rows_a_second_batches_start_four_milliseconds_apart(storing: Storing) -> None:
    async def act(writer: MessageWriter) -> None:
        async with asyncio.TaskGroup() as sends:
            for number in range(1000):
                sends.create_task(writer.write(message(number)))
                await asyncio.sleep(0.001)

    run(act)
    starts = [at for at, _ in storing.started]
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert min(gaps) >= PACE_SECONDS - TIMER_SECONDS
    assert max(gaps) <= PACE_SECONDS + 0.001
    assert sum(rows for _, rows in storing.started) == 1000
    assert max(rows for _, rows in storing.started) <= 5


def test_with_four_servers_each_starts_a_quarter_of_the_batches(storing: Storing) -> None:
    async def act(writer: MessageWriter) -> None:
        writer.pace_seconds = pace_of(4)
        async with asyncio.TaskGroup() as sends:
            for number in range(250):
                sends.create_task(writer.write(message(number)))
                await asyncio.sleep(0.004)

    run(act)
    starts = [at for at, _ in storing.started]
    assert min(after - before for before, after in itertools.pairwise(starts)) >= MOST_PACE_SECONDS - TIMER_SECONDS
    assert sum(rows for _, rows in storing.started) == 250
    assert len(starts) <= 250 / 4 + 2


def test_a_sender_who_waits_for_each_ack_gets_it_within_the_pace(storing: Storing) -> None:
    async def act(writer: MessageWriter) -> None:
        for _ in range(10):
            await writer.write(message(1))
        assert asyncio.get_running_loop().time() == pytest.approx(9 * PACE_SECONDS + STORE_SECONDS)

    run(act)
    assert [rows for _, rows in storing.started] == [1] * 10


def test_many_rows_wait_for_nothing(storing: Storing) -> None:
    async def act(writer: MessageWriter) -> None:
        async with asyncio.TaskGroup() as sends:
            sends.create_task(writer.write(message(0)))
            await asyncio.sleep(0.0001)
            for number in range(EAGER_ROWS):
                sends.create_task(writer.write(message(1 + number)))

    run(act)
    assert storing.started == [(0.0, 1), (0.0001, EAGER_ROWS)]


def test_a_commit_that_is_stuck_keeps_no_other_chat_waiting(storing: Storing) -> None:
    storing.seconds = 1.0

    async def act(writer: MessageWriter) -> None:
        async with asyncio.TaskGroup() as sends:
            sends.create_task(writer.write(message(1)))
            await asyncio.sleep(0.001)
            sends.create_task(writer.write(message(1)))
            sends.create_task(writer.write(message(2)))

    run(act)
    assert storing.started == [(0.0, 1), (0.001 + PATIENCE_SECONDS, 1), (1.0, 1)]


def test_closing_writes_what_waits_for_the_pace(storing: Storing) -> None:
    async def act(writer: MessageWriter) -> None:
        await writer.write(message(1))
        last = asyncio.create_task(writer.write(message(1)))
        await asyncio.sleep(0)
        await writer.close()
        assert (await last).seq == 1

    run(act)
    assert [rows for _, rows in storing.started] == [1, 1]
