"""One runs at a time, the newest waits, and the last that came is always done."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from chatserver.socket.newest import Newest


async def test_of_what_comes_meanwhile_the_newest_is_done() -> None:
    done: list[int] = []
    go_on = asyncio.Event()

    async def work(item: int) -> None:
        await go_on.wait()
        done.append(item)

    tasks: list[asyncio.Task[None]] = []
    newest = Newest(lambda running: tasks.append(asyncio.create_task(running)), work)
    assert not newest.put(1)
    await asyncio.sleep(0)
    assert [newest.put(item) for item in (2, 3, 4)] == [False, True, True]
    go_on.set()
    await asyncio.wait(tasks)
    assert done == [1, 4]
    assert not newest.put(5)
    await asyncio.wait(tasks)
    assert (done, len(tasks)) == ([1, 4, 5], 2)


async def test_a_failure_is_logged_and_the_next_one_is_done() -> None:
    done: list[int] = []

    async def work(item: int) -> None:
        done.append(1 // item)

    tasks: list[asyncio.Task[None]] = []
    newest = Newest(lambda running: tasks.append(asyncio.create_task(running)), work)
    with capture_logs() as logs:
        newest.put(0)
        await asyncio.sleep(0)
        newest.put(1)
        await asyncio.wait(tasks)
    assert done == [1]
    assert [entry["event"] for entry in logs] == ["connection_work_failed"]
