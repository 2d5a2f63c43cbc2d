"""Receipts that many mark at once: whoever marks is answered, whatever has just ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from chatserver.messaging import receipts
from chatserver.storage.receipts import WatermarkRaise

if TYPE_CHECKING:
    import pytest

    from chatserver.storage.database import Database


async def test_who_was_answered_may_mark_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stored(_: Database, raises: list[WatermarkRaise]) -> list[WatermarkRaise]:
        return raises

    monkeypatch.setattr(receipts, "raise_watermarks", stored)
    monkeypatch.setattr(receipts, "BATCHES_IN_FLIGHT", 1)
    marking = receipts.Receipts(cast("Database", None))
    async with asyncio.timeout(5):
        for seq in range(5):
            mark = WatermarkRaise(1, 2, seq, seq)
            assert len(await marking._store([mark])) == 1
    assert not marking._batches
