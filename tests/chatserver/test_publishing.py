"""Publication of hints: at once when idle, together under load, again after a failure, and never forgotten before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatserver.errors import ServiceUnavailable
from chatserver.hints import Hint
from chatserver.model import SeqRange
from chatserver.storage import publishing
from chatserver.storage.outages import Contended, StatementFailed
from chatserver.storage.publishing import HintPublisher

if TYPE_CHECKING:
    from collections.abc import Sequence


class Gate:
    """A bus that takes hints when the test says so."""

    def __init__(self) -> None:
        self.sent: list[list[Hint]] = []
        self.trying = asyncio.Event()
        self._answers: asyncio.Queue[Exception | None] = asyncio.Queue()

    def answer(self, *answers: Exception | None) -> None:
        for each in answers:
            self._answers.put_nowait(each)

    async def publish(self, hints: Sequence[Hint]) -> None:
        self.trying.set()
        error = await self._answers.get()
        if error is not None:
            raise error
        self.sent.append(list(hints))


def rows(chat_id: int, seq: int) -> Hint:
    return Hint("server", ranges=(SeqRange(chat_id, seq, seq),))


def store(publisher: HintPublisher, hint: Hint) -> int:
    slot = publisher.slots.take()
    publisher.committed(slot, hint)
    return slot.number


async def until_published(publisher: HintPublisher) -> None:
    async with asyncio.timeout(10):
        while publisher.unpublished_since() is not None:
            await asyncio.sleep(0)


async def test_hints_that_come_while_one_is_published_go_together_as_one() -> None:
    gate = Gate()
    publisher = HintPublisher("server", gate.publish)
    assert publisher.unpublished_since() is None
    store(publisher, rows(1, 1))
    await gate.trying.wait()
    for seq in (2, 3, 4):
        store(publisher, rows(1, seq))
    publisher.say(Hint("server", typing=((1, 7),)))
    since = publisher.unpublished_since()
    assert since is not None
    gate.answer(None, None)
    await until_published(publisher)
    assert gate.sent == [[rows(1, 1)], [Hint("server", ranges=(SeqRange(1, 2, 4),), typing=((1, 7),))]]
    await publisher.close()


async def test_a_slot_is_free_when_its_hint_is_published_and_not_before() -> None:
    gate = Gate()
    publisher = HintPublisher("server", gate.publish)
    first = store(publisher, rows(1, 1))
    await gate.trying.wait()
    assert publisher.slots.take().number != first
    gate.answer(None)
    await until_published(publisher)
    assert publisher.slots.take().number == first
    await publisher.close()


@pytest.mark.parametrize("error", [ServiceUnavailable(), RuntimeError(), MemoryError()])
async def test_a_failed_publication_is_repeated_with_what_is_stored_alone(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "RETRY_SECONDS", 0)
    gate = Gate()
    publisher = HintPublisher("server", gate.publish)
    first = store(publisher, rows(1, 1))
    # Whoever types has stopped by the next try.
    publisher.say(Hint("server", typing=((1, 7),)))
    gate.answer(error, error, None)
    await until_published(publisher)
    assert gate.sent == [[rows(1, 1)]]
    assert publisher.slots.take().number == first
    await publisher.close()


async def test_closing_publishes_what_waits_and_leaves_in_its_slot_what_cannot_be_published() -> None:
    gate = Gate()
    publisher = HintPublisher("server", gate.publish)
    store(publisher, rows(1, 1))
    store(publisher, rows(2, 1))
    gate.answer(None)
    await publisher.close()
    assert gate.sent == [[Hint("server", ranges=(SeqRange(1, 1, 1), SeqRange(2, 1, 1)))]]
    left = store(publisher, rows(3, 1))
    gate.answer(ServiceUnavailable())
    await publisher.close()
    assert publisher.unpublished_since() is not None
    assert left not in publisher.slots.take_published()


@pytest.mark.parametrize(
    ("error", "is_known"),
    [
        (ServiceUnavailable(), False),
        (asyncio.CancelledError(), False),
        (RuntimeError(), False),
        (Contended(), True),
        (StatementFailed("23514", None), True),
    ],
)
def test_the_slot_of_an_unknown_outcome_is_not_written_again(error: BaseException, is_known: bool) -> None:  # noqa: FBT001
    publisher = HintPublisher("server", Gate().publish)
    slot = publisher.slots.take()
    publisher.failed(slot, error)
    assert publisher.uncertain.is_set() is not is_known
    assert (publisher.slots.take().number == slot.number) is is_known
    assert publisher.slots.take_uncertain() == (set() if is_known else {slot.number})
