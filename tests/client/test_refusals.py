"""A client whose connection is refused comes back when the server says, and not all of them at one moment."""

from __future__ import annotations

import asyncio
import logging

import pytest

from chatcluster_client.backoff import Backoff
from chatcluster_client.model import named_seconds
from tests.support.scripted import WAIT_SECONDS, scripted


def test_a_wait_is_never_shorter_than_what_the_server_names_and_spread_beyond_it() -> None:
    backoff = Backoff()
    assert [backoff.seconds(0, draw, named_seconds=7) for draw in (0, 1, 0.5, 1)] == [7, 7.5, 7.5, 9]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("7", 7), ("0", 0), ("-1", None), ("1.5", None), ("soon", None), ("9" * 400, 300),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)  # fmt: skip
def test_a_retry_after_that_is_no_number_names_nothing_and_none_is_for_ever(
    header: str | None, seconds: float | None
) -> None:
    assert named_seconds(header) == seconds


async def test_a_refused_client_comes_back_when_the_server_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "chatcluster_client")

    def waits() -> list[float]:
        texts = [record.getMessage() for record in caplog.records]
        return [float(text.split()[3]) for text in texts if text.startswith("connecting again in")]

    async with scripted() as (script, live), asyncio.timeout(WAIT_SECONDS):
        await script.hear("sync")
        script.away, script.retry_after = True, "1"
        await script.hang_up()
        while len(waits()) < 2:
            await asyncio.sleep(0.01)
        script.away = False
        await script.hear("sync")
        await live.wait_connected()
    assert waits()[0] < 1, "nothing was named when the connection ended"
    assert all(wait >= 1 for wait in waits()[1:])
