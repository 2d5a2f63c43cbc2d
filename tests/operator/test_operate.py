"""A leader that does not keep its Lease ends at once, whatever the reason."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator import operate
from chatoperator.operate import EXIT_LEASE_LOST
from tests.support.chatclusters import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable


class Ended(Exception):
    """In place of the end of the process."""


class FakeLease:
    """A Lease whose renewal ends as the test says.

    Attributes:
        released: Whether it was given back.
    """

    def __init__(self, fault: Callable[[], BaseException] | None) -> None:
        self._fault = fault
        self.released = False

    async def keep(self) -> None:
        """Lost, or failed."""
        if self._fault is not None:
            raise self._fault()

    async def release(self) -> None:
        """Note it."""
        self.released = True


class HeldLease(FakeLease):
    """A Lease that is renewed for as long as anybody asks."""

    async def keep(self) -> None:
        """Never lost."""
        await asyncio.Event().wait()


def _end(code: int) -> None:
    raise Ended(code)


@pytest.mark.parametrize(
    "fault",
    [None, RuntimeError, asyncio.CancelledError, MemoryError, lambda: ExceptionGroup("several", [TypeError()])],
    ids=["lost", "RuntimeError", "CancelledError", "MemoryError", "ExceptionGroup"],
)
async def test_the_process_ends_however_the_renewal_of_its_lease_ends(
    fault: Callable[[], BaseException] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    operating = asyncio.Event()

    async def operate_for_ever(*_: Any) -> None:
        operating.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(operate, "_operate", operate_for_ever)
    monkeypatch.setattr("os._exit", _end)
    lease = FakeLease(fault)
    with pytest.raises(Ended, match=str(EXIT_LEASE_LOST)):
        await operate._lead(lease, None, SETTINGS)  # type: ignore[arg-type] # nothing of the controller is used
    assert operating.is_set()
    assert not lease.released, "another process may hold it by now"


async def test_a_process_whose_work_ends_gives_its_lease_back_and_ends_with_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("of the framework")

    monkeypatch.setattr(operate, "_operate", fail)
    lease = HeldLease(None)
    with pytest.raises(RuntimeError, match="of the framework"):
        await operate._lead(lease, None, SETTINGS)  # type: ignore[arg-type] # nothing of the controller is used
    assert lease.released
