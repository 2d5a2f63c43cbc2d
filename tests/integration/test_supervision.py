"""An exception at each await of each loop of a server is counted, costs its own work, and the loop goes on."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from chatserver import loops, supervision
from chatserver.accounts import webhook
from chatserver.messaging import writer
from tests.support.findings import tell
from tests.support.injection import Injector
from tests.support.serverloops import END, looped_server
from tests.support.valkey import running_bus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.injection import Place
    from tests.support.serverloops import LoopedServer

    Fault = Callable[[], BaseException]

pytestmark = pytest.mark.integration

DEFECTS: dict[str, Fault] = {
    # No ValueError: code that parses takes it for a wrong value.
    "RuntimeError": RuntimeError,
    "CancelledError": asyncio.CancelledError,
    "MemoryError": MemoryError,
    "ExceptionGroup": lambda: ExceptionGroup("several", [RuntimeError(), KeyError()]),
}
OUTAGES: dict[str, Fault] = {"TimeoutError": TimeoutError, "OSError": OSError}
"""What may also mean that something took too long, or that the database is unavailable: not counted everywhere."""

IN_TURN = "one after the other"
"""Another defect at each place."""

SHARE = 3
"""`make test` takes the first of three places; `make soak` all, with each fault."""


async def _inject_everywhere(
    server: LoopedServer, injector: Injector, loop: str, faults: Iterator[Fault], *, counted: bool
) -> int:
    """Throw at each place of a loop, one by one, until its work meets no further one; returns how many there were."""
    places: dict[Place, None] = {}
    again = False
    while True:
        before, known = sum(supervision.defects().values()), len(places)
        injector.arm(loop, next(faults), again=again)
        with capture_logs() as logs:
            try:
                await server.works[loop]()
            except TimeoutError as error:
                raise AssertionError(f"{loop} goes on no more after {injector.thrown}: {logs}") from error
        places |= dict.fromkeys(injector.thrown)
        failed = [entry for entry in logs if entry["log_level"] == "error"]
        thrown = [" > ".join(place) for place in injector.thrown]
        caught = sum(supervision.defects().values()) - before
        assert len(failed) == caught, thrown
        assert {entry["loop"] for entry in failed if entry["event"] == "loop_failed"} <= {loop}, thrown
        if counted:
            assert caught == len(thrown), thrown
        if len(places) == known and again:
            injector.disarm()
            return len(places)
        # Some are passed only when the loop begins again.
        again |= len(places) == known


@pytest.mark.parametrize(
    "fault", [IN_TURN, *(pytest.param(name, marks=pytest.mark.soak) for name in DEFECTS | OUTAGES)]
)
async def test_each_await_of_each_loop_may_fail(
    fault: str, read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = itertools.cycle([(DEFECTS | OUTAGES)[fault]] if fault != IN_TURN else DEFECTS.values())
    injector = _injector(monkeypatch, share=SHARE if fault == IN_TURN else 1)
    thrown: dict[str, int] = {}
    with injector.points():
        async with looped_server(read_dsn, monkeypatch, "ana", "ben") as server:
            assert loops.loops_of(server.context).keys() <= server.works.keys()
            for loop in server.works:
                thrown[loop] = await _inject_everywhere(server, injector, loop, faults, counted=fault not in OUTAGES)
    assert all(thrown.values())
    counts = ", ".join(f"{name} {places}" for name, places in thrown.items())
    tell(f"awaits of a server's loops at which exceptions were thrown ({fault}): {counts}")


@pytest.mark.parametrize("loop", ["bus", "limits"])
async def test_each_await_of_the_loops_of_valkey_may_fail(
    loop: str, read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    injector, faults = _injector(monkeypatch, share=SHARE), itertools.cycle(DEFECTS.values())
    with running_bus("Valkey") as valkeys, injector.points():
        async with looped_server(read_dsn, monkeypatch, "ana", "ben", valkeys=valkeys) as server:
            assert loops.loops_of(server.context).keys() <= server.works.keys()
            places = await _inject_everywhere(server, injector, loop, faults, counted=True)
    tell(f"awaits of the loop {loop} with Valkey at which exceptions were thrown: {places}")
    assert places


def _injector(monkeypatch: pytest.MonkeyPatch, share: int) -> Injector:
    # asyncpg takes a connection back whatever happens to whoever gives it back.
    injector = Injector("chatserver", late={"_release"}, share=share)
    for module in (supervision, writer, webhook):
        monkeypatch.setattr(module, "keep", injector.named(supervision.keep))
    return injector


async def test_each_await_of_the_end_may_fail_and_the_rest_of_it_is_done(
    read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    injector = Injector("chatserver")
    for module in (supervision, writer, webhook):
        monkeypatch.setattr(module, "keep", injector.named(supervision.keep))
    faults = itertools.cycle(DEFECTS.values())
    places: list[str] = []
    with injector.points():
        while True:
            before = supervision.defects().get("end_failed", 0)
            async with looped_server(read_dsn, monkeypatch) as server:
                await server.works["presence"]()
                injector.arm(END, next(faults))
            counted = supervision.defects().get("end_failed", 0) - before
            assert counted == len(injector.thrown), injector.thrown
            assert server.context.database._pool is None
            running = {task.get_name() for task in asyncio.all_tasks()} & {*server.works, "writer-expiry"}
            assert not running, injector.thrown
            if not injector.thrown:
                break
            places.append(injector.thrown[0][-1])
    assert {place.split()[-1] for place in places} >= {"running", "finish", "close"}
