"""A crowd is let in a few at a time, in its order; nobody's stay keeps the others out."""

from __future__ import annotations

import asyncio

from chatserver.http.admission import Admission


class Waiter:
    def __init__(self) -> None:
        self.is_inside = False

    def admitted(self) -> None:
        assert not self.is_inside
        self.is_inside = True


def arrive(admission: Admission, count: int) -> list[Waiter]:
    comers = [Waiter() for _ in range(count)]
    for comer in comers:
        comer.is_inside = admission.enter(comer)
    return comers


def inside(comers: list[Waiter]) -> list[int]:
    return [number for number, comer in enumerate(comers) if comer.is_inside]


async def turn() -> None:
    await asyncio.sleep(0)


async def test_those_for_whom_there_is_no_place_follow_in_their_order() -> None:
    waits: list[float] = []
    admission = Admission(at_once=2, place_seconds=60, on_let_in=waits.append)
    comers = arrive(admission, 5)
    assert len(waits) == 2
    assert inside(comers) == [0, 1]
    admission.leave(comers[1])
    assert inside(comers) == [0, 1], "not before what else has come is served"
    await turn()
    assert inside(comers) == [0, 1, 2]
    admission.leave(comers[0])
    admission.leave(comers[2])
    await turn()
    assert inside(comers) == [0, 1, 2, 3, 4]
    assert len(waits) == 5
    assert all(wait > 0 for wait in waits[2:])


async def test_whoever_gives_up_takes_no_place() -> None:
    admission = Admission(at_once=1, place_seconds=60)
    comers = arrive(admission, 3)
    admission.leave(comers[1])
    admission.leave(comers[0])
    await turn()
    assert inside(comers) == [0, 2]


async def test_leaving_twice_makes_one_place() -> None:
    admission = Admission(at_once=1, place_seconds=60)
    comers = arrive(admission, 3)
    admission.leave(comers[0])
    admission.leave(comers[0])
    await turn()
    assert inside(comers) == [0, 1]
    for comer in comers:
        admission.leave(comer)
    assert admission.enter(Waiter()), "all places are free again"


async def test_a_handshake_that_waits_for_something_else_keeps_nobody_out() -> None:
    admission = Admission(at_once=1, place_seconds=0.001)
    comers = arrive(admission, 4)
    async with asyncio.timeout(10):
        while inside(comers) != [0, 1, 2, 3]:
            await asyncio.sleep(0.001)
