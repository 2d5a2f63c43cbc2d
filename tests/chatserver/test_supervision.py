"""An unexpected exception is logged and counted, and costs its own work only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from chatserver import supervision
from chatserver.batches import Batches
from chatserver.errors import ServiceUnavailable
from chatserver.metrics import Metrics
from chatserver.supervision import apart, defects, isolated, keep, start
from chatserver.transport.upkeep import Sockets
from chatserver.transport.websocket import Socket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


async def fails() -> None:
    raise RuntimeError("the text of a message")


async def leaks_a_cancellation() -> None:
    other: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    other.cancel()
    await other


@pytest.mark.parametrize("fail", [fails, leaks_a_cancellation])
async def test_a_loop_that_fails_is_logged_counted_and_begun_again(
    fail: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "RESTART_SECONDS", 0.001)
    begun = 0
    before = defects().get("loop_failed", 0)

    async def loop() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            await fail()

    with capture_logs() as logs:
        await keep("mine", loop)
    assert begun == 3
    assert defects()["loop_failed"] == before + 2
    assert [(entry["event"], entry["loop"]) for entry in logs] == [("loop_failed", "mine")] * 2


async def test_a_loop_that_is_cancelled_ends() -> None:
    task = asyncio.create_task(keep("mine", asyncio.Event().wait))  # type: ignore[arg-type] # returns True
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_that_fails_while_it_is_cancelled_ends_and_is_counted() -> None:
    before = defects().get("loop_failed", 0)
    begun = 0

    async def loop() -> None:
        nonlocal begun
        begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            await fails()

    task = asyncio.create_task(keep("mine", loop))
    while not begun:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=20)
    assert done
    assert task.cancelled()
    assert (begun, defects()["loop_failed"]) == (1, before + 1)


async def test_what_was_caught_is_logged_without_its_text_and_published() -> None:
    with capture_logs() as logs, isolated("mine_failed", chat_id=7):
        await fails()
    assert (logs[0]["event"], logs[0]["error"], logs[0]["chat_id"]) == ("mine_failed", "RuntimeError", 7)
    assert "the text of a message" not in str(logs)
    assert Metrics().registry.get_sample_value("chatserver_defects_total", {"event": "mine_failed"}) == 1


async def test_an_outage_is_no_defect() -> None:
    with pytest.raises(ServiceUnavailable), isolated("mine_failed"):
        raise ServiceUnavailable


async def test_what_fails_with_others_is_done_apart_and_only_the_culprit_is_left() -> None:
    done: list[int] = []

    async def work(items: Sequence[int]) -> None:
        if 3 in items:
            raise RuntimeError
        done.extend(items)

    assert await apart("mine_failed", [1, 2, 3, 4], work) == [3]
    assert done == [1, 2, 4]


async def test_work_that_nobody_awaits_is_logged_when_it_fails() -> None:
    tasks: set[asyncio.Task[None]] = set()
    with capture_logs() as logs:
        start("mine_failed", fails(), tasks)
        await asyncio.wait(tasks)
        await asyncio.sleep(0)
    assert [entry["event"] for entry in logs] == ["mine_failed"]
    assert not tasks


async def test_a_question_that_cannot_be_answered_fails_nobody_else() -> None:
    async def answer(questions: Sequence[int]) -> list[int]:
        if 3 in questions:
            raise RuntimeError
        return [question * 10 for question in questions]

    batches = Batches(answer, most=10)
    answers = await asyncio.gather(*(batches.submit(number) for number in range(1, 5)), return_exceptions=True)
    assert [str(a) if isinstance(a, int) else type(a).__name__ for a in answers] == ["10", "20", "RuntimeError", "40"]


async def test_a_batch_whose_answer_leaks_a_cancellation_holds_up_no_later_one() -> None:
    async def answer(questions: Sequence[int]) -> list[int]:
        if 1 in questions:
            await leaks_a_cancellation()
        return list(questions)

    batches = Batches(answer, most=1)
    first, second = asyncio.create_task(batches.submit(1)), asyncio.create_task(batches.submit(2))
    with pytest.raises(ServiceUnavailable):
        await first
    assert await second == 2


class _Looked(Socket):
    """A socket that notes being looked after, and fails when asked to."""

    def __init__(self, open_sockets: Sockets, *, fail: bool, cuttable: bool = True) -> None:
        super().__init__(None, open_sockets)  # type: ignore[arg-type] # nobody talks over it
        self.looked = asyncio.Event()
        self.was_cut = False
        self._fail, self._cuttable = fail, cuttable
        open_sockets.add(self)

    def look_after(self, now: float) -> None:  # noqa: ARG002 - as of Socket
        self.looked.set()
        if self._fail:
            raise RuntimeError

    def cut(self) -> None:
        if not self._cuttable:
            raise RuntimeError
        self.was_cut = True


async def test_a_socket_whose_upkeep_fails_is_cut_and_the_others_are_looked_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chatserver.transport.upkeep.SWEEP_SECONDS", 0.001)
    sockets = Sockets()
    bad, worse = _Looked(sockets, fail=True), _Looked(sockets, fail=True, cuttable=False)
    good = [_Looked(sockets, fail=False) for _ in range(5)]
    running = asyncio.create_task(sockets.run())
    for socket in (*good, bad, worse):
        await asyncio.wait_for(socket.looked.wait(), 20)
    for socket in good:
        socket.looked.clear()
    for socket in good:
        await asyncio.wait_for(socket.looked.wait(), 20)
    assert bad.was_cut
    running.cancel()
