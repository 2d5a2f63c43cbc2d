"""What kubelet hears: a standby lives, and of the leader the age of its last sweep tells."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import aiohttp
import pytest

from chatoperator import health
from chatoperator.controller import SILENT_MAX_SECONDS, SWEEP_AGE_MAX_SECONDS, Controller
from chatoperator.errors import KubeError, OperatorError


class Cache:
    """Watches nothing, and heard of it so long ago."""

    def __init__(self) -> None:
        self.silent = 0.0

    def silent_seconds(self) -> float:
        return self.silent

    async def run(self, _: Any) -> None:
        await asyncio.Event().wait()


class Reconciler:
    """No ChatClusters; the API server answers or not."""

    known = 0

    def __init__(self) -> None:
        self.away = False
        self.cache = Cache()

    async def keys(self) -> list[tuple[str, str]]:
        if self.away:
            raise KubeError("away")
        return []

    async def turned(self) -> list[tuple[str, str]]:
        return []


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_a_standby_lives_for_ever_and_a_leader_by_its_sweeps() -> None:
    clock, reconciler = Clock(), Reconciler()
    controller = Controller(cast("Any", reconciler), monotonic=clock, unix_time=lambda: 0)
    clock.seconds = 100_000
    assert controller.check_alive() == "standing by"
    reconciler.away = True
    controller.start()
    try:
        # Its first sweep has all the time that later ones have.
        clock.seconds += SWEEP_AGE_MAX_SECONDS
        await asyncio.sleep(0)
        assert controller.check_alive() == f"the last sweep was {SWEEP_AGE_MAX_SECONDS} s ago"
        reconciler.cache.silent = SILENT_MAX_SECONDS + 1
        with pytest.raises(OperatorError, match="a watch was silent for 151 s"):
            controller.check_alive()
        clock.seconds += 1
        with pytest.raises(OperatorError, match="the last sweep was 91 s ago"):
            controller.check_alive()
    finally:
        await controller.stop()


async def test_kubelet_is_told_by_status_and_in_words() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words: list[str | OperatorError] = ["standing by", OperatorError("the last sweep was 91 s ago")]

    def check() -> str:
        told = words.pop(0)
        if isinstance(told, OperatorError):
            raise told
        return told

    heard = []
    async with health.serving(port, check), aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                heard.append((answer.status, (await answer.text()).strip()))
    assert heard == [(200, "standing by"), (503, "the last sweep was 91 s ago")]
