"""What kubelet hears: a standby lives, and of the leader its sweeps, its queue and its watches tell."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, cast

import aiohttp
import pytest

from chatoperator import controller as controller_module
from chatoperator import health, supervision
from chatoperator.controller import OLDEST_MAX_SECONDS, SILENT_MAX_SECONDS, Controller
from chatoperator.errors import OperatorError
from chatoperator.kube import lanes


class Cache:
    """Watches nothing, and heard of it so long ago."""

    def __init__(self) -> None:
        self.silent = 0.0

    def silent_seconds(self) -> float:
        return self.silent

    async def run(self, _: Any) -> None:
        await asyncio.Event().wait()


class Reconciler:
    """Of one ChatCluster, whose reconcile lasts until the test lets it go."""

    known = 0

    def __init__(self) -> None:
        self.cache = Cache()
        self.defects: list[Exception] = []
        self.release = asyncio.Event()
        self.began = asyncio.Event()

    def chatclusters(self) -> list[tuple[str, str]]:
        if self.defects:
            raise self.defects.pop()
        return [("chat", "demo")]

    async def turned(self, *, ready: bool) -> list[tuple[str, str]]:  # noqa: ARG002 - none has
        return []

    async def read_drains(self) -> None:
        """None drains."""

    def withdraw(self) -> None:
        """There is nothing to withdraw."""

    async def reconcile(self, _: tuple[str, str]) -> None:
        self.began.set()
        await self.release.wait()


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_a_standby_lives_for_ever_and_a_leader_by_its_sweeps_and_watches() -> None:
    clock, reconciler = Clock(), Reconciler()
    controller = Controller(cast("Any", reconciler), monotonic=clock, unix_time=lambda: 0)
    clock.seconds = 100_000
    assert controller.check_alive() == "standing by"
    controller.start()
    try:
        # Its first sweep has all the time that later ones have.
        clock.seconds += OLDEST_MAX_SECONDS
        assert controller.check_alive().startswith(f"the last sweep was {OLDEST_MAX_SECONDS} s ago")
        reconciler.cache.silent = SILENT_MAX_SECONDS + 1
        with pytest.raises(OperatorError, match="a watch of the API server has received nothing for 151 s"):
            controller.check_alive()
        clock.seconds += 1
        with pytest.raises(OperatorError, match="the last sweep was 91 s ago"):
            controller.check_alive()
    finally:
        await controller.stop()


async def test_a_sweep_that_fails_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "RESTART_SECONDS", (0,))
    reconciler = Reconciler()
    reconciler.defects = [RecursionError("deep"), ValueError("a ChatCluster of another shape")]
    controller = Controller(cast("Any", reconciler), monotonic=Clock(), unix_time=lambda: 0)
    controller.start()
    try:
        async with asyncio.timeout(10):
            await reconciler.began.wait()
        assert reconciler.defects == []
    finally:
        await controller.stop()


async def test_a_chatcluster_that_was_due_for_long_and_not_tried_ends_the_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "QUICK_RUNS", 0)
    monkeypatch.setattr(controller_module, "OLDEST_MAX_SECONDS", 0)
    reconciler = Reconciler()
    controller = Controller(cast("Any", reconciler), monotonic=Clock(), unix_time=lambda: 0)
    controller.start()
    try:

        async def due() -> None:
            with contextlib.suppress(OperatorError):
                while "has waited 0 s" in controller.check_alive():
                    await asyncio.sleep(0.01)

        async with asyncio.timeout(10):
            await due()
        with pytest.raises(OperatorError, match=r"has waited \d+ s to be reconciled"):
            controller.check_alive()
        assert not reconciler.began.is_set()
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
